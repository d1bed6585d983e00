"""Queries each vector index for nearest neighbours, and compares the result with an exact scan.

The parts of an index (expression, predicate, operator, casts) come from a user's script and may run any code. So the
queries run as the table's owner, in a function that can't leave that role (`recall_ask.sql`), and all is rolled back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import psycopg
from psycopg import Connection, sql

from pgvector_stacks.common import queries
from pgvector_stacks.connections.connection import format_server_message

SAMPLE = 5  # queries per index
NEIGHBOURS = 10
MOST_ROWS = 200_000  # with more rows, the exact scan takes too long
# With the widest search (`WIDE`), an intact index finds nearly all neighbours. This isn't the recall of the
# application's own search settings.
RECALL_FLOOR = 0.9
# Where all vectors are about equally distant from each other, as random ones are, no HNSW index finds the exact
# neighbours reliably (68 % of them with 60,000 × 384). So slightly more distant rows count as found, too: up to this
# fraction of the way from the last exact neighbour to a random row.
SLACK = 0.25
AT_RANDOM = 100
MOST_SAME = 1000  # vectors that are checked for duplicates
NAMES = """
SELECT i.oid::int8, format('%I.%I', n.nspname, i.relname), t.relowner::regrole::text
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
  JOIN pg_namespace n ON n.oid = i.relnamespace JOIN pg_am am ON am.oid = i.relam
 WHERE am.amname IN ('hnsw', 'ivfflat') AND x.indisvalid AND i.relkind = 'i' AND i.relpersistence <> 't'
 ORDER BY 2
"""
LACKS_USAGE = """
SELECT extnamespace::regnamespace::text FROM pg_extension
 WHERE extname = 'vector' AND NOT has_schema_privilege(%(owner)s::regrole::oid, extnamespace, 'USAGE')
"""
WIDE = ("hnsw.ef_search = 400", "ivfflat.probes = 32768")


@dataclass(frozen=True, slots=True)
class Recall:
    """The share of the exact neighbours that an index finds. `near`: also counts rows nearly as close (`SLACK`)."""

    exact: float
    near: float


def compute_recall(pairs: Sequence[tuple[Sequence[float], Sequence[float], Sequence[float]]]) -> Recall | None:
    """Return the recall over several queries; None if there is nothing to find. Pure.

    `pairs`: per query, the distances of the exact neighbours (ascending), of what the index found, and of random rows.
    """
    wanted = exactly = nearly = 0
    for exact, found, others in pairs:
        if not exact:
            continue
        wanted += len(exact)
        limit = exact[-1] + 1e-6
        exactly += min(len(exact), sum(distance <= limit for distance in found))
        limit += SLACK * max(0.0, median(others or [0.0]) - exact[-1])
        nearly += min(len(exact), sum(distance <= limit for distance in found))
    return Recall(exactly / wanted, nearly / wanted) if wanted else None


@dataclass(slots=True)
class IndexReport:
    """The names of indexes, grouped by the result of the check; `wrong` has whole sentences instead."""

    agree: list[str] = field(default_factory=list)
    hard: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)
    large: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    not_asked: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def summarize(self) -> str:
        """Return a summary for the report, without `wrong`."""
        parts = [f"{len(self.agree)} agree with the exact scan"] if self.agree else []
        parts += [f"{len(self.empty)} of them empty"] if self.empty else []
        for words, names in (
            ("find others nearly as near, since the vectors hardly differ in distance", self.hard),
            ("not asked, no vector in it has a distance to others (all zero)", self.unlike),
            (f"not compared, over {MOST_ROWS} rows", self.large),
            ("not compared, the exact scan takes too long", self.late),
            ("not asked", self.not_asked),
            ("find too few, which pgvector:acceptedRecall accepts", self.accepted),
        ):
            parts += [f"{words}: {', '.join(names)}"] if names else []
        return "; ".join(parts) or "none yet"


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """A row of `vector_indexes.sql`."""

    oid: int
    name: str
    table: str
    owner: str
    kind: str
    expression: str
    operator: str
    predicate: str | None
    estimated_rows: int

    @property
    def where(self) -> str:
        """The condition for rows that the index contains: its predicate, and never NULL."""
        filled = f"({self.expression}) IS NOT NULL"
        return f"WHERE ({self.predicate}) AND {filled}" if self.predicate else f"WHERE {filled}"


def measure(connection: Connection[Any], accepted: Sequence[str], *, question_s: float, all_s: float) -> IndexReport:
    """Check all vector indexes. `connection`: the administrator's, autocommit. Raises psycopg.Error if it is lost.

    `accepted`: indexes whose low recall the stack file accepts; `question_s`, `all_s`: time limits for each and all.
    """
    found = IndexReport()
    deadline = time.monotonic() + all_s
    for oid, name, owner in connection.execute(NAMES).fetchall():
        left = min(question_s, deadline - time.monotonic())
        if left <= 0:
            found.late.append(name)
            continue
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(f"SET LOCAL statement_timeout = {max(1, round(left * 1000))}".encode())
                written = connection.execute(queries.get("recall_written_by_others"), {"index": oid}).fetchone()
                if written and written[0]:
                    found.not_asked.append(f"{name}, of {owner} (a superuser's table with code that others wrote)")
                    continue
                row = connection.execute(_one(oid)).fetchone()
                if row is not None:  # None: the index was dropped in the meantime
                    # the last column, the name without its schema, is for other users of the query
                    IndexProbe(connection, VectorIndex(*row[:-1])).sort_into(found, accepted)
        except psycopg.errors.QueryCanceled:
            found.late.append(name)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable) as error:
            # FORCE ROW LEVEL SECURITY, or no USAGE on a schema; or another session's ALTER TABLE holds the lock
            found.not_asked.append(f"{name}, of {owner} ({format_server_message(error)})")
        except psycopg.Error as error:
            if connection.closed:
                raise
            found.wrong.append(f"{name} can't be asked: {format_server_message(error)} ({error.sqlstate})")
    return found


def _one(oid: int) -> bytes:
    """Return the query for one index's definition. One at a time: for each, the server waits for the table's lock."""
    return f"SELECT * FROM (\n{queries.get('vector_indexes')}) AS one WHERE index_oid = {oid}".encode()


class IndexProbe:
    """The queries to one index, inside the open transaction."""

    def __init__(self, connection: Connection[Any], index: VectorIndex) -> None:
        self.connection, self.index = connection, index
        lacking = connection.execute(LACKS_USAGE, {"owner": index.owner}).fetchone()
        if lacking:  # needed for the extension's type; the transaction's rollback revokes it again
            connection.execute(f"GRANT USAGE ON SCHEMA {lacking[0]} TO {index.owner}".encode())
        connection.execute(queries.get("recall_ask"))
        connection.execute(f"ALTER FUNCTION pg_temp.pgstack_ask(text) OWNER TO {index.owner}".encode())

    def sort_into(self, found: IndexReport, accepted: Sequence[str]) -> None:
        """Check the index and add its name to the matching list of `found`."""
        index = self.index
        if index.estimated_rows > MOST_ROWS or self._rows(MOST_ROWS + 1) > MOST_ROWS:
            found.large.append(index.name)
            return
        itself = f"({index.expression}) {index.operator} ({index.expression})"
        samples = self._ask(
            f"SELECT ({index.expression})::text FROM {index.table} {index.where}"
            f" AND ({itself})::float8 <> 'NaN'::float8 LIMIT {SAMPLE}"
        )
        if not samples:
            some = self._ask(f"SELECT 'some' FROM {index.table} {index.where} LIMIT 1")
            (found.unlike if some else found.empty).append(index.name)
            return
        recall = compute_recall([self._answers(sample) for sample in samples])
        if recall is None:
            found.unlike.append(index.name)
        elif recall.near < RECALL_FLOOR and index.name in accepted:
            found.accepted.append(index.name)
        elif recall.near < RECALL_FLOOR:
            found.wrong.append(self._sentence(recall))
        else:
            (found.hard if recall.exact < RECALL_FLOOR else found.agree).append(index.name)

    def _answers(self, sample: str) -> tuple[list[float], list[float], list[float]]:
        """Return the distances from `sample`: of the exact neighbours, of what the index finds, and of random rows."""
        index = self.index
        literal = sql.Literal(sample).as_string(self.connection)
        distance = f"({index.expression}) {index.operator} {literal}::{index.kind}"
        some = f"SELECT ({distance})::float8::text FROM {index.table} {index.where}"
        nearest = f"{some} ORDER BY {distance} LIMIT {NEIGHBOURS}"
        return (
            self._distances(nearest, "enable_seqscan = on", "enable_indexscan = off"),
            self._distances(nearest, "enable_seqscan = off", "enable_indexscan = on", *WIDE),
            self._distances(f"{some} LIMIT {AT_RANDOM}", "enable_seqscan = on"),
        )

    def _distances(self, question: str, *settings: str) -> list[float]:
        """Run a query with these settings, and return the distances that it finds, without NaN."""
        numbers = [float(answer) for answer in self._ask(question, *settings)]
        return [number for number in numbers if number == number]

    def _rows(self, most: int) -> int:
        """Count the table's rows, up to `most`. A table that was never analysed has no estimate."""
        return int(self._ask(f"SELECT count(*)::text FROM (SELECT FROM {self.index.table} LIMIT {most}) AS bounded")[0])

    def _sentence(self, recall: Recall) -> str:
        """Return the message for an index that finds too few neighbours, with the remedy."""
        index = self.index
        said = f"{index.name} finds {recall.exact:.0%} of the neighbours that the exact scan finds"
        all_, same = self._ask(
            "SELECT unnest(ARRAY[coalesce(sum(n), 0), coalesce(sum(n) FILTER (WHERE n > 1), 0)]::text[]) FROM ("
            f"SELECT count(*) AS n FROM (SELECT ({index.expression})::text AS vector FROM {index.table} {index.where}"
            f" LIMIT {MOST_SAME}) AS looked_at GROUP BY vector) AS counted"
        )
        remedy = f"REINDEX INDEX CONCURRENTLY {index.name}"
        if int(same) * 10 < int(all_):
            return f"{said}: {remedy}"
        return (
            f"{said}: {same} of {all_} vectors looked at are not the only one of their value, which no such index is"
            f" made for. {remedy}  fixes it by luck, and not for long. Store each value once, or accept it:"
            f' pgvector:acceptedRecall: ["{index.name}"]'
        )

    def _ask(self, question: str, *settings: str) -> list[str]:
        """Run a query as the table's owner with these settings, then roll back. Return its values without NULL."""
        with self.connection.transaction(force_rollback=True):
            if settings:
                self.connection.execute("; ".join(f"SET LOCAL {setting}" for setting in settings).encode())
            rows = self.connection.execute("SELECT pg_temp.pgstack_ask(%s)", (question,)).fetchall()
        return [answer for (answer,) in rows if answer is not None]

"""Checks that a server really does what an application needs: each check is a row of `CHECKS`, bounded in time.

Runs after the scripts are committed, and again whenever the server's identity changes. Leaves nothing behind: what it
makes is temporary. `indisvalid` proves nothing (tscibilia/home-ops#3343: all indexes valid, every query failed), so
indexes are asked real questions. Results carry no times and no random values: an output must not change by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import psycopg
from psycopg import Connection, sql

from postgres import effective_settings, queries

TIMEOUT_S = 30
PROBE_ROWS = 200
SAMPLE = 5  # queries an existing index is asked
NEIGHBOURS = 10
MOST_ROWS = 200_000  # above that the exact scan to compare with takes too long
# With the search as wide as it goes, an intact index finds nearly everything; a tuned recall is another matter.
RECALL_FLOOR = 0.9
# Vectors that are all about as far from each other, such as random ones, hide their neighbours from any HNSW index (68%
# found of 60,000 × 384): what it finds instead counts, this part of the way from the neighbours to a row at random.
SLACK = 0.25
AT_RANDOM = 100
# An adopted database may have the extension in a schema of its own, which no path names.
REACHABLE = """
SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''),
                                           extnamespace::regnamespace::text), false)
  FROM pg_catalog.pg_extension WHERE extname = 'vector'
"""


@dataclass(frozen=True, slots=True)
class Demands:
    """What the environment asks for: the least version of pgvector, and the settings it derived from its limits."""

    pgvector_minimum: str = "0.8.0"
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """What each check found, in words; `failures` are the ones that fail the `up`."""

    results: dict[str, str]
    failures: dict[str, str]


class CheckFailed(Exception):
    """A check's own verdict; the message is for the report."""


def validate(connection: Connection[Any], demands: Demands) -> Report:
    """Run every check. `connection`: the administrator's, autocommit. Never raises for what it finds."""
    results: dict[str, str] = {}
    failures: dict[str, str] = {}
    connection.execute(sql.SQL("SET statement_timeout = {}").format(TIMEOUT_S * 1000))
    connection.execute(REACHABLE)
    for name, check in CHECKS.items():
        try:
            results[name] = f"ok: {check(connection, demands)}"
        except CheckFailed as failure:
            results[name] = failures[name] = str(failure)
        except psycopg.errors.QueryCanceled:
            results[name] = failures[name] = f"took longer than {TIMEOUT_S} s"
        except psycopg.Error as error:
            text = error.diag.message_primary or str(error)
            results[name] = failures[name] = f"{text} ({error.sqlstate})"
            if connection.closed:
                break
    return Report(results, failures)


def version_tuple(text: str) -> tuple[int, ...]:
    """`0.8.5` → (0, 8, 5), of equal length for comparing."""
    numbers = [int(part) for part in text.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def _version(connection: Connection[Any], demands: Demands) -> str:
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    if row is None:
        raise CheckFailed("the extension vector is not installed")
    if version_tuple(row[0]) < version_tuple(demands.pgvector_minimum):
        raise CheckFailed(
            f"pgvector is {row[0]}, this environment demands {demands.pgvector_minimum} (pgvector:pgvectorMinimum);"
            " 0.8.3 and 0.8.4 mend corrupted HNSW indexes: use a newer image"
        )
    return f"pgvector {row[0]}"


def _document_test(connection: Connection[Any], _: Demands) -> str:
    return document_test(connection)


def document_test(connection: Connection[Any]) -> str:
    """The document's own validation: a vector stored and read. Nothing of it stays. Raises CheckFailed."""
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE TEMPORARY TABLE vector_test (id serial PRIMARY KEY, embedding vector(3))")
        connection.execute("INSERT INTO vector_test (embedding) VALUES ('[1,2,3]')")
        row = connection.execute("SELECT embedding::text FROM vector_test").fetchone()
    if row is None or row[0] != "[1,2,3]":
        raise CheckFailed(f"stored [1,2,3], read {row}")
    return "[1,2,3] stored and read"


def _operators(connection: Connection[Any], _: Demands) -> str:
    """Each distance against its value by hand."""
    expected = (
        ("'[1,2,3]'::vector <-> '[4,6,3]'", 5.0), ("'[1,2,3]'::vector <#> '[4,5,6]'", -32.0),
        ("'[1,0]'::vector <=> '[0,1]'", 1.0), ("'[1,2,3]'::vector <+> '[4,6,3]'", 7.0),
        ("B'1010' <~> B'1001'", 2.0), ("B'1110' <%> B'0111'", 0.5),
        ("'[1,2]'::halfvec <-> '[4,6]'", 5.0), ("'{1:3,2:4}/2'::sparsevec <-> '{}/2'", 5.0),
    )  # fmt: skip
    for expression, distance in expected:
        row = connection.execute(f"SELECT {expression}".encode()).fetchone()
        if row is None or abs(row[0] - distance) > 1e-6:
            raise CheckFailed(f"{expression} is {row and row[0]}, not {distance}")
    return f"{len(expected)} distances as computed by hand"


def _index_is_used(method: str) -> Callable[[Connection[Any], Demands], str]:
    def check(connection: Connection[Any], _: Demands) -> str:
        # Not in one transaction: an index is hidden from the transaction that changed its table (indcheckxmin).
        connection.execute("DROP TABLE IF EXISTS pg_temp.pgstack_probe")
        connection.execute("CREATE TEMPORARY TABLE pgstack_probe (id int, embedding vector(3))")
        connection.execute(
            "INSERT INTO pgstack_probe SELECT i, format('[%%s,%%s,%%s]', i, i %% 7, i %% 11)::vector"
            " FROM generate_series(1, %s) AS i",
            (PROBE_ROWS,),
        )
        options = " WITH (lists = 4)" if method == "ivfflat" else ""
        connection.execute(f"CREATE INDEX ON pgstack_probe USING {method} (embedding vector_l2_ops){options}".encode())
        question = "SELECT id FROM pgstack_probe ORDER BY embedding <-> '[50,1,6]' LIMIT 1"
        try:
            connection.execute("SET enable_seqscan = off")
            plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {question}".encode()).fetchall())
            row = connection.execute(question.encode()).fetchone()
        finally:
            connection.execute("RESET enable_seqscan")
            connection.execute("DROP TABLE pg_temp.pgstack_probe")
        if "Index Scan using" not in plan:
            raise CheckFailed(f"built, but the planner does not use it:\n{plan}")
        if row is None or row[0] != 50:
            raise CheckFailed(f"the nearest row to row 50 is {row and row[0]}")
        return "built, used by the planner, finds the nearest row"

    return check


def _existing_indexes(connection: Connection[Any], _: Demands) -> str:
    """Ask each vector index for the neighbours of some of its own rows, and compare with the exact scan."""
    asked, empty, large, hard = 0, 0, [], []
    for row in connection.execute(queries.get("vector_indexes")).fetchall():
        index = VectorIndex(*row)
        if index.estimated_rows > MOST_ROWS:
            large.append(index.name)
            continue
        recall = index.recall(connection)
        if recall is None:
            empty += 1
        elif recall.near < RECALL_FLOOR:
            raise CheckFailed(
                f"{index.name} finds {recall.exact:.0%} of the neighbours that the exact scan finds:"
                f" REINDEX INDEX CONCURRENTLY {index.name}"
            )
        elif recall.exact < RECALL_FLOOR:
            hard.append(index.name)
        else:
            asked += 1
    parts = [f"{asked} agree with the exact scan"] if asked else []
    parts += (
        [f"find others nearly as near, since the vectors hardly differ in distance: {', '.join(hard)}"] if hard else []
    )
    parts += [f"{empty} of them empty"] if empty else []
    parts += [f"not compared, over {MOST_ROWS} rows: {', '.join(large)}"] if large else []
    return "; ".join(parts) or "none yet"


@dataclass(frozen=True, slots=True)
class Recall:
    """Share of the exact neighbours that an index finds. `near`: of those, or of others as good as they (`SLACK`)."""

    exact: float
    near: float


def compared(pairs: Sequence[tuple[Sequence[float], Sequence[float], Sequence[float]]]) -> Recall | None:
    """Of several questions: distances of the exact neighbours, of what the index found, of rows at random; ascending
    the first. None where there is nothing to find. Pure.
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


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """A row of `vector_indexes.sql`."""

    oid: int
    name: str
    table: str
    method: str
    expression: str
    operator: str
    predicate: str | None
    estimated_rows: int
    relation: str

    def recall(self, connection: Connection[Any]) -> Recall | None:
        """How the index answers some of its own rows; None for an empty table."""
        where = f"WHERE ({self.predicate})" if self.predicate else f"WHERE {self.expression} IS NOT NULL"
        samples = connection.execute(
            f"SELECT ({self.expression})::text FROM {self.table} {where} LIMIT {SAMPLE}".encode()
        ).fetchall()
        kind = connection.execute(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s AND attnum = 1", (self.oid,)
        ).fetchone()
        if not samples or kind is None:
            return None
        pairs = []
        for (sample,) in samples:
            literal = sql.Literal(sample).as_string(connection)
            distance = f"{self.expression} {self.operator} {literal}::{kind[0]}"
            some = f"SELECT {distance} FROM {self.table} {where}"
            select = f"{some} ORDER BY {distance} LIMIT {NEIGHBOURS}"
            exact = self._distances(connection, select, "enable_indexscan = off")
            near = self._distances(connection, select, "enable_seqscan = off")
            pairs.append((exact, near, self._distances(connection, f"{some} LIMIT {AT_RANDOM}", "enable_seqscan = on")))
        return compared(pairs)

    def _distances(self, connection: Connection[Any], select: str, setting: str) -> list[float]:
        with connection.transaction(force_rollback=True):
            connection.execute(f"SET LOCAL {setting}".encode())
            connection.execute("SET LOCAL hnsw.ef_search = 400; SET LOCAL ivfflat.probes = 32768")
            return [row[0] for row in connection.execute(select.encode()).fetchall() if row[0] == row[0]]


def _collations(connection: Connection[Any], _: Demands) -> str:
    stale = connection.execute(queries.get("collation_versions")).fetchall()
    if stale:
        raise CheckFailed(
            "sorted by another version of the collations: "
            + ", ".join(f"{what} ({recorded}, now {actual})" for what, recorded, actual in stale)
            + "; sort the indexes anew:  pgstack upgrade reindex STACK"
        )
    return "collation versions agree"


def _settings(connection: Connection[Any], demands: Demands) -> str:
    """What the server really uses against what was derived from the limits."""
    found = effective_settings.compare(connection, demands.settings)
    if found.different:
        raise CheckFailed("; ".join(found.different))
    return "; ".join([f"{found.equal} settings as derived from the limits", *found.hidden])


CHECKS: dict[str, Callable[[Connection[Any], Demands], str]] = {
    "version": _version,
    "vector round trip": _document_test,
    "distance operators": _operators,
    "hnsw index": _index_is_used("hnsw"),
    "ivfflat index": _index_is_used("ivfflat"),
    "existing vector indexes": _existing_indexes,
    "collations": _collations,
    "settings": _settings,
}

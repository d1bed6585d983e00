"""Checks that a server does what an application needs. Each check is a row of `CHECKS` and has a time limit.

The validation runs after the scripts are committed, and again whenever the server's identity changes. It creates only
temporary objects. `indisvalid` proves nothing (tscibilia/home-ops#3343: all indexes were valid, and every query
failed), so the checks run real queries on the indexes. Results contain no times and no random values: they become an
output, which must not change by itself.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Connection, sql

from pgvector_stacks.common import queries
from pgvector_stacks.connections.connection import format_server_message
from pgvector_stacks.inspection import effective_settings, recall

TIMEOUT_S = 30
PROBE_ROWS = 200
BUDGET_S = 120  # for all queries to the existing indexes together
SCHEMA = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
OPERATOR, TYPE = re.compile(r"(<[-#=+~%]+>)"), re.compile(r"::(\w+)")
MISSING = "the extension vector is not installed"


@dataclass(frozen=True, slots=True)
class ServerRequirements:
    """What the environment requires: the least version of pgvector, and the settings derived from its limits."""

    pgvector_minimum: str = "0.8.0"
    settings: Mapping[str, str] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()  # indexes whose low recall the stack file accepts


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What each check found, as text. `failures`: the results that make the `up` fail."""

    results: dict[str, str]
    failures: dict[str, str]


class CheckFailed(Exception):
    """A check found a fault; the message goes into the report."""


def validate(connection: Connection[Any], demands: ServerRequirements) -> ValidationReport:
    """Run every check. `connection`: the administrator's, autocommit. Never raises because a check fails."""
    results: dict[str, str] = {}
    failures: dict[str, str] = {}
    connection.execute(sql.SQL("SET statement_timeout = {}").format(TIMEOUT_S * 1000))
    for name, check in CHECKS.items():
        try:
            results[name] = f"ok: {check(connection, demands)}"
        except CheckFailed as failure:
            results[name] = failures[name] = str(failure)
        except psycopg.errors.QueryCanceled:
            results[name] = failures[name] = f"took longer than {TIMEOUT_S} s"
        except psycopg.Error as error:
            results[name] = failures[name] = f"{format_server_message(error)} ({error.sqlstate})"
            if connection.closed:
                break
        except Exception as error:  # a bug in a check: report it, and run the other checks
            logging.getLogger(__name__).debug("check %s", name, exc_info=True)
            words = " ".join(str(error).split())
            results[name] = failures[name] = f"the check itself went wrong ({type(error).__name__}: {words})"
    return ValidationReport(results, failures)


def version_tuple(text: str) -> tuple[int, ...]:
    """Parse `0.8.5` as (0, 8, 5); missing parts are 0, so that versions compare."""
    numbers = [int(part) for part in text.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def _version(connection: Connection[Any], demands: ServerRequirements) -> str:
    """Check that pgvector is at least of the required version."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    if row is None:
        raise CheckFailed(MISSING)
    if version_tuple(row[0]) < version_tuple(demands.pgvector_minimum):
        raise CheckFailed(
            f"pgvector is {row[0]}, this environment demands {demands.pgvector_minimum} (pgvector:pgvectorMinimum);"
            " 0.8.3 and 0.8.4 fix corrupted HNSW indexes: use a newer image"
        )
    return f"pgvector {row[0]}"


def _schema(connection: Connection[Any]) -> str:
    """Return the extension's schema, quoted. Raises CheckFailed if the extension is missing."""
    row = connection.execute(SCHEMA).fetchone()
    if row is None:
        raise CheckFailed(MISSING)
    return str(row[0])


def _document_test(connection: Connection[Any], _: ServerRequirements) -> str:
    return document_test(connection)


def document_test(connection: Connection[Any]) -> str:
    """Store a vector and read it back, in a transaction that is rolled back. Raises CheckFailed."""
    with connection.transaction(force_rollback=True):
        connection.execute(
            f"CREATE TEMPORARY TABLE vector_test (id serial, embedding {_schema(connection)}.vector(3))".encode()
        )
        connection.execute("INSERT INTO pg_temp.vector_test (embedding) VALUES ('[1,2,3]')")
        row = connection.execute("SELECT embedding::text FROM pg_temp.vector_test").fetchone()
    if row is None or row[0] != "[1,2,3]":
        raise CheckFailed(f"stored [1,2,3], read {row}")
    return "[1,2,3] stored and read"


def _operators(connection: Connection[Any], _: ServerRequirements) -> str:
    """Compare each distance operator with a value that was computed by hand."""
    expected = (
        ("'[1,2,3]'::vector <-> '[4,6,3]'", 5.0), ("'[1,2,3]'::vector <#> '[4,5,6]'", -32.0),
        ("'[1,0]'::vector <=> '[0,1]'", 1.0), ("'[1,2,3]'::vector <+> '[4,6,3]'", 7.0),
        ("B'1010' <~> B'1001'", 2.0), ("B'1110' <%> B'0111'", 0.5),
        ("'[1,2]'::halfvec <-> '[4,6]'", 5.0), ("'{1:3,2:4}/2'::sparsevec <-> '{}/2'", 5.0),
    )  # fmt: skip
    schema = _schema(connection)
    for expression, distance in expected:
        question = OPERATOR.sub(rf"OPERATOR({_plain(schema)}.\1)", TYPE.sub(rf"::{_plain(schema)}.\1", expression))
        row = connection.execute(f"SELECT {question}".encode()).fetchone()
        if row is None or abs(row[0] - distance) > 1e-6:
            raise CheckFailed(f"{expression} is {row and row[0]}, not {distance}")
    return f"{len(expected)} distances as computed by hand"


def _plain(text: str) -> str:
    """Escape a text for the replacement of `re.sub`."""
    return text.replace("\\", r"\\")


def _index_is_used(method: str) -> Callable[[Connection[Any], ServerRequirements], str]:
    """Return a check that builds an index of this kind, and searches with it."""

    def check(connection: Connection[Any], _: ServerRequirements) -> str:
        schema = _schema(connection)
        # Not in one transaction: an index is hidden from the transaction that changed its table (indcheckxmin).
        connection.execute("DROP TABLE IF EXISTS pg_temp.pgstack_probe")
        connection.execute(f"CREATE TEMPORARY TABLE pgstack_probe (id int, embedding {schema}.vector(3))".encode())
        connection.execute(
            "INSERT INTO pg_temp.pgstack_probe"
            f" SELECT i, format('[%s,%s,%s]', i, i % 7, i % 11)::{schema}.vector"
            f" FROM generate_series(1, {PROBE_ROWS}) AS i".encode()
        )
        options = " WITH (lists = 4)" if method == "ivfflat" else ""
        connection.execute(
            f"CREATE INDEX ON pg_temp.pgstack_probe USING {method} (embedding {schema}.vector_l2_ops){options}".encode()
        )
        question = f"SELECT id FROM pg_temp.pgstack_probe ORDER BY embedding OPERATOR({schema}.<->) '[50,1,6]' LIMIT 1"
        try:
            connection.execute("SET enable_seqscan = off; SET enable_indexscan = on")
            plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {question}".encode()).fetchall())
            row = connection.execute(question.encode()).fetchone()
        finally:
            connection.execute("RESET enable_seqscan; RESET enable_indexscan")
            connection.execute("DROP TABLE pg_temp.pgstack_probe")
        if "Index Scan using" not in plan:
            raise CheckFailed(f"built, but the planner does not use it:\n{plan}")
        if row is None or row[0] != 50:
            raise CheckFailed(f"the nearest row to row 50 is {row and row[0]}")
        return "built, used by the planner, finds the nearest row"

    return check


def _existing_indexes(connection: Connection[Any], demands: ServerRequirements) -> str:
    """Query each vector index for the neighbours of some of its own rows, and compare with an exact scan."""
    found = recall.measure(connection, demands.accepted, question_s=TIMEOUT_S, all_s=BUDGET_S)
    if found.wrong:
        raise CheckFailed("; ".join(found.wrong))
    return found.summarize()


def _collations(connection: Connection[Any], _: ServerRequirements) -> str:
    """Check that no collation has changed its version since the indexes were sorted."""
    stale = connection.execute(queries.get("collation_versions")).fetchall()
    if stale:
        raise CheckFailed(
            "sorted by another version of the collations: "
            + ", ".join(f"{what} ({recorded}, now {actual})" for what, recorded, actual in stale)
            + "; sort the indexes again:  pgstack upgrade reindex STACK"
        )
    return "collation versions agree"


def _settings(connection: Connection[Any], demands: ServerRequirements) -> str:
    """Compare the server's settings with those derived from the limits."""
    found = effective_settings.compare(connection, demands.settings)
    if found.different:
        raise CheckFailed("; ".join(found.different))
    return "; ".join([f"{found.equal} settings as derived from the limits", *found.hidden])


CHECKS: dict[str, Callable[[Connection[Any], ServerRequirements], str]] = {
    "version": _version,
    "vector round trip": _document_test,
    "distance operators": _operators,
    "hnsw index": _index_is_used("hnsw"),
    "ivfflat index": _index_is_used("ivfflat"),
    "existing vector indexes": _existing_indexes,
    "collations": _collations,
    "settings": _settings,
}

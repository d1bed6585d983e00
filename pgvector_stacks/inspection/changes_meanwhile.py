"""Finds what other sessions changed while a group of scripts ran, so that the record doesn't take it for the scripts'.

The scripts' transaction sees what others commit meanwhile. Whose a change is, the catalog's rows tell: each has the ID
of the transaction that wrote it last. What others dropped left no row, and counts as the scripts'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from pgvector_stacks.common import queries
from pgvector_stacks.common.difference import Difference
from pgvector_stacks.inspection import schema_drift


def read_snapshot(connection: Connection[Any]) -> str:
    """Return which transactions are over now, as `pg_snapshot`'s text."""
    row = connection.execute("SELECT pg_catalog.pg_current_snapshot()::text").fetchone()
    return str(row[0]) if row else ""


def add_changes(connection: Connection[Any], before: Sequence[Difference], since: str) -> tuple[Difference, ...]:
    """Return `before` with what other sessions changed since the snapshot `since`, and no script wrote afterwards.

    `before`: the drift when the scripts began. `connection`: in the scripts' transaction, at its end; this function
    changes its settings.
    """
    connection.execute("SET LOCAL statement_timeout = 0")  # the environment's timeout is for scripts
    with connection.transaction(force_rollback=True):
        schema_drift.qualify_names(connection)
        changed = set(connection.execute(queries.get("changed_by_others"), {"since": since}).fetchall())
    if not changed:
        return tuple(before)
    others = [each for each in schema_drift.compare(connection) if (each.kind, each.identity) in changed]
    return (*(each for each in before if (each.kind, each.identity) not in changed), *others)

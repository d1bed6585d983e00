"""Completes the planner's statistics after an upgrade while the new server serves, so that they add no downtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from psycopg import sql

from pgvector_stacks.common import queries
from pgvector_stacks.connections.connection import Address, connect


def analyze_missing(address: Address) -> int:
    """ANALYZE all tables with missing or rough statistics, and return their number. Raises ConnectionFailed.

    pg_upgrade transfers statistics from PostgreSQL 18 on, except those of CREATE STATISTICS.
    """
    with connect(replace(address, database="postgres")) as connection:
        found: Sequence[tuple[str]] = connection.execute(
            "SELECT datname FROM pg_database WHERE datallowconn ORDER BY oid"
        ).fetchall()
    count = 0
    for (database,) in found:
        with connect(replace(address, database=database)) as connection:
            for schema, table in connection.execute(queries.get("upgrade_statistics")).fetchall():
                connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table)))
                count += 1
    return count

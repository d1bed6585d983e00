"""The planner's statistics after an upgrade, once the new server serves: they take time that is no downtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from psycopg import sql

from pgvector_stacks.common import queries
from pgvector_stacks.connections.connection import Address, connect


def complete(address: Address) -> int:
    """ANALYZE in every database what has none or rough ones; returns how many tables. Raises ConnectionFailed.

    pg_upgrade carries statistics from PostgreSQL 18 on, except for those of CREATE STATISTICS.
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

"""Rebuilds indexes left in the order of the former C library, while the server serves (`upgradeReindex: after`).

PostgreSQL itself knows these indexes: the recorded version of their collation isn't the library's. The record is
refreshed only when all indexes of a database are rebuilt, so that the next run can continue after a kill.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.connections.connection import Address, connect, wrap_server_error
from pgvector_stacks.connections.up_lock import hold_up_lock
from pgvector_stacks.upgrade.decision import format_size
from pgvector_stacks.upgrade.facts import CollatedIndex, parse_collated_indexes

WAIT_S = 600.0  # for the lock, which another run may hold


def reindex_stale_indexes(address: Address, report: Callable[[str], object], *, remedy: str = "`up` again") -> int:
    """Rebuild the stale indexes of all databases and return their number. `address`: the administrator's, any database.

    Raises ServerError with the indexes that can't be rebuilt (duplicates in a unique index), ConnectionFailed.
    """
    with connect(replace(address, database="postgres")) as connection:
        names = [
            row[0] for row in connection.execute("SELECT datname FROM pg_database WHERE datallowconn ORDER BY oid")
        ]
    stale = [name for name in names if _find_changed_collations(replace(address, database=name))]
    if not stale:
        return 0
    count, failed = 0, []
    with hold_up_lock(address, WAIT_S):
        for name in stale:
            done, problems = _rebuild_in_database(replace(address, database=name), report)
            count += done
            failed += [f"{name}: {problem}" for problem in problems]
    if failed:
        listed = "\n  ".join(failed)
        raise ServerError(
            f"{len(failed)} indexes can't be rebuilt, and stay in the order of another C library:\n  {listed}\n"
            f"  remove the duplicates, then {remedy}"
        )
    return count


def _find_changed_collations(address: Address) -> list[DictRow]:
    with connect(address) as connection:
        return _run_query(connection, "upgrade_collations")


def _run_query(connection: psycopg.Connection[Any], query: str) -> list[DictRow]:
    return connection.cursor(row_factory=dict_row).execute(queries.get(query)).fetchall()


def _rebuild_in_database(address: Address, report: Callable[[str], object]) -> tuple[int, list[str]]:
    """Rebuild the stale indexes of one database. Return how many were rebuilt, and the failures."""
    failed = []
    with connect(address) as connection:
        _drop_leftovers(connection)
        stale = [
            index
            for index in parse_collated_indexes(_run_query(connection, "upgrade_collation_indexes"))
            if index.stale
        ]
        for number, index in enumerate(stale, 1):
            report(
                f"rebuilds {index.name} of {address.database}, {number} of {len(stale)} ({format_size(index.bytes)})"
            )
            try:
                connection.execute(reindex_statement(index).encode())
            except (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation) as error:
                failed.append(f"{index.name}: {str(wrap_server_error(error)).removeprefix('the server says: ')}")
                _drop_leftovers(connection)
        if not failed:
            for row in _run_query(connection, "upgrade_collations"):
                connection.execute(row["refresh"].encode())
    return len(stale) - len(failed), failed


def reindex_statement(index: CollatedIndex) -> str:
    """Return the REINDEX statement. It blocks writes for an exclusion constraint, which has no concurrent rebuild."""
    return f"REINDEX INDEX {'' if index.exclusion else 'CONCURRENTLY '}{index.name}"


def _drop_leftovers(connection: psycopg.Connection[Any]) -> None:
    """Drop the invalid indexes of a killed or failed run. The caller holds the lock, so no other run uses them."""
    for row in _run_query(connection, "upgrade_reindex_leftovers"):
        connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {row['index']}".encode())

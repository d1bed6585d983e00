"""Checks whether a deployed server suits an application, with the application's own URL. Changes nothing.

Each check is a function that returns what it found, or raises CheckFailed with the problem and the remedy. To add a
check, add a row to CHECKS.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import psycopg
from psycopg import Connection

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import ConnectionFailed
from pgvector_stacks.common.image_names import MAJORS
from pgvector_stacks.connections.connection import Address, connect, format_server_message, server_version
from pgvector_stacks.connections.roles import OWNER
from pgvector_stacks.inspection.validation import CheckFailed, document_test, version_tuple

ROUNDS = 7
TIMEOUT = "-c statement_timeout=15000"


@dataclass(frozen=True, slots=True)
class CheckedServer:
    """The server to check, and what the environment requires of it."""

    address: Address
    pgvector_minimum: str = "0.5.0"
    tls_required: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the report."""

    check: str
    good: bool
    found: str


def examine(target: CheckedServer) -> Iterator[Result]:
    """Yield one result per check, or only one if the server can't be reached. Never raises because a check fails."""
    try:
        connection = _connect(target.address)
    except ConnectionFailed as error:
        yield Result("connection", False, str(error))
        return
    with connection:
        yield Result("connection", True, target.address.where)
        for name, check in CHECKS.items():
            try:
                yield Result(name, True, check(connection, target))
            except CheckFailed as failure:
                yield Result(name, False, str(failure))
            except psycopg.Error as error:
                yield Result(name, False, f"{format_server_message(error)} ({error.sqlstate})")
                if connection.closed:
                    return


def _connect(address: Address) -> Connection[Any]:
    """Connect with the application's search_path; a superuser gets a safe one, without functions of other roles."""
    connection = connect(address, options=TIMEOUT, own_path=True)
    if connection.info.parameter_status("is_superuser") != "on":
        return connection
    connection.close()
    connection = connect(address, options=TIMEOUT)
    connection.execute(queries.get("extension_path"))
    return connection


def _check_server(connection: Connection[Any], _: CheckedServer) -> str:
    """Check that pgstack supports the server's major version."""
    version, major = server_version(connection), connection.info.server_version // 10000
    if major not in MAJORS:
        raise CheckFailed(f"PostgreSQL {version}; supported are {', '.join(map(str, MAJORS))}")
    return f"PostgreSQL {version}"


def _check_available(connection: Connection[Any], target: CheckedServer) -> str:
    """Check that the server offers a pgvector that is new enough."""
    row = connection.execute(queries.get("vector_available")).fetchone()
    if row is None:
        raise CheckFailed("the server has no extension vector: use an image with pgvector (pgvector/pgvector)")
    if version_tuple(row[0]) < version_tuple(target.pgvector_minimum):
        raise CheckFailed(f"the server has pgvector {row[0]}, {target.pgvector_minimum} is demanded: use a newer image")
    return f"pgvector {row[0]} available"


def _check_installed(connection: Connection[Any], _: CheckedServer) -> str:
    """Check that the database has pgvector, in the version that the server offers."""
    row = connection.execute(queries.get("vector_available")).fetchone()
    if row is None or row[1] is None:
        raise CheckFailed("the extension vector is not installed in this database: CREATE EXTENSION vector")
    if version_tuple(row[1]) < version_tuple(row[0]):
        raise CheckFailed(f"pgvector {row[1]} is installed, the server has {row[0]}: ALTER EXTENSION vector UPDATE")
    return f"pgvector {row[1]} installed"


def _check_privileges(connection: Connection[Any], _: CheckedServer) -> str:
    """Check that the application's role can read and write rows, but can't change the schema."""
    role, powers, tables, missing, owner_powers, closed = connection.execute(
        queries.get("role_privileges"), {"owner": OWNER}
    ).fetchone() or ("", "", 0, "", "", "")
    if powers:
        raise CheckFailed(f"role {role} has more rights than an application needs: {powers}")
    if owner_powers:
        raise CheckFailed(f"role {OWNER}, as which the scripts run, has {owner_powers}")
    if closed:
        raise CheckFailed(f"role {role} may not use the schema {closed}: GRANT USAGE ON SCHEMA {closed} TO {role}")
    if missing:
        raise CheckFailed(f"role {role} can't read {missing}: GRANT SELECT ON {missing} TO {role}")
    return f"role {role}: no superuser, reads {tables} tables"


def _check_tls(connection: Connection[Any], target: CheckedServer) -> str:
    """Check that the connection is encrypted, if that is required or the server is on another machine."""
    row = connection.execute("SELECT ssl, version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    if row is not None and row[0]:
        return f"{row[1]}, {row[2]}"
    if target.tls_required:
        raise CheckFailed("the connection is not encrypted, the environment demands it (pgvector:tls)")
    if not _loopback(target.address.host):
        raise CheckFailed(f"the connection to {target.address.host} is not encrypted: pgvector:tls = require")
    return "not encrypted, but only on this machine"


def _loopback(host: str) -> bool:
    """Return True if the host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("/")


def _check_latency(connection: Connection[Any], _: CheckedServer) -> str:
    """Measure the median duration of several round trips."""
    taken = []
    for _round in range(ROUNDS):
        started = time.perf_counter()
        connection.execute("SELECT 1").fetchone()
        taken.append((time.perf_counter() - started) * 1000)
    return f"{median(taken):.1f} ms a round trip"


def _check_round_trip(connection: Connection[Any], _: CheckedServer) -> str:
    return document_test(connection)


CHECKS: dict[str, Callable[[Connection[Any], CheckedServer], str]] = {
    "server version": _check_server,
    "extension available": _check_available,
    "extension installed": _check_installed,
    "roles and privileges": _check_privileges,
    "TLS": _check_tls,
    "latency": _check_latency,
    "vector round trip": _check_round_trip,
}

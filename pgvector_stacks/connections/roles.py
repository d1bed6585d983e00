"""Creates the database and its roles, and opens the owner's connection while scripts run.

`schema_owner` owns the database and everything in it. It can log in only while scripts run, with a random password
that is shown to nobody. `app` reads and writes rows, `readonly` reads them; neither can change the schema.
The server receives passwords only as SCRAM verifiers computed here, so no log can contain one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.rows import TupleRow

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import SqlFailed, suggest_nearest
from pgvector_stacks.connections import single_user_mode
from pgvector_stacks.connections.connection import STEPS, Address, connect, wrap_server_error

OWNER, APP, READONLY = "schema_owner", "app", "readonly"
BACKUP = "pgstack_backup"  # exists only where backups are scheduled: inspection/backup_role.py
UNLOGGED = ("log_statement = none", "log_min_duration_statement = -1", "log_min_error_statement = panic",
            "log_min_duration_sample = -1", "log_transaction_sample_rate = 0")  # fmt: skip
MAKE_LARGE_OBJECTS = ("lo_creat", "lo_create", "lo_from_bytea")
# one statement with them can fill the server's lock table, and then nobody can log in
ADVISORY_LOCKS = tuple(
    f"pg_{tried}advisory_{kind}lock{shared}"
    for tried in ("", "try_")
    for kind in ("", "xact_")
    for shared in ("", "_shared")
)
# PUBLIC may execute these; roles that only read must not. Dumps name functions with their arguments, so one whose
# arguments differ between majors (pg_logical_emit_message) can't be listed here: it would fail an upgrade.
NOT_FOR_READERS = (*MAKE_LARGE_OBJECTS, *ADVISORY_LOCKS)
NO_POWERS = sql.SQL("NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")


def ensure_cluster(connection: Connection[Any], database: str, passwords: Mapping[str, str]) -> None:
    """Create the roles and the database where they are missing, and set their owner, rights and passwords.

    `connection`: the administrator's, in database postgres, autocommit. `passwords`: for `app` and `readonly`.
    """
    present = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
    for role in (OWNER, APP, READONLY):
        name = sql.Identifier(role)
        if role not in present:
            connection.execute(sql.SQL("CREATE ROLE {} {}").format(name, NO_POWERS))
        if role in passwords:
            set_password(connection, role, passwords[role])
    exists = connection.execute("SELECT FROM pg_database WHERE datname = %s", (database,)).fetchone()
    names = {"database": sql.Identifier(database), "owner": sql.Identifier(OWNER)}
    if exists is None:
        connection.execute(sql.SQL("CREATE DATABASE {database} OWNER {owner}").format(**names))
    connection.execute(sql.SQL("ALTER DATABASE {database} OWNER TO {owner}").format(**names))
    ensure_database_rights(connection, database)


def ensure_database_rights(connection: Connection[Any], database: str) -> None:
    """Grant CONNECT to our roles only. `connection`: the administrator's, in database postgres, autocommit."""
    names = {"database": sql.Identifier(database)}
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {database} FROM PUBLIC").format(**names))
    for role, privileges in ((OWNER, "ALL"), (APP, "CONNECT, TEMPORARY"), (READONLY, "CONNECT")):
        held = connection.execute(
            "SELECT has_database_privilege(%s, %s, 'CONNECT')", (role, database)
        ).fetchone()  # fmt: skip
        if held != (True,):  # a role that has CONNECT keeps the privileges that a script left it
            grant = sql.SQL("GRANT {privileges} ON DATABASE {database} TO {role}")
            connection.execute(grant.format(privileges=sql.SQL(privileges), role=sql.Identifier(role), **names))


def set_password(connection: Connection[Any], role: str, password: str) -> None:
    """Let `role` log in with `password`. The server receives only the SCRAM verifier, and does not log it.

    `connection`: an administrator's, in autocommit or in a transaction.
    """
    secret = sql.Literal(single_user_mode.compute_verifier(role, password))
    with connection.transaction():
        for setting in UNLOGGED:
            connection.execute(f"SET LOCAL {setting}".encode())
        connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), secret))


def find_unreachable_tables(connection: Connection[Any]) -> list[str]:
    """Return a line for each role that has rights on tables of a schema but no USAGE on that schema."""
    rows = connection.execute(queries.get("rights_unusable")).fetchall()
    return [
        f"{role} has rights on {count} table(s) of the schema {schema}, as {one}, and may not use the schema:"
        f" GRANT USAGE ON SCHEMA {schema} TO {role}, or revoke them too"
        for role, schema, count, one in rows
    ]


def drop_database(connection: Connection[Any], database: str) -> None:
    """Drop the database if it exists, and end the sessions in it. `connection`: as for `ensure_database_rights`."""
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def ensure_database(connection: Connection[Any]) -> None:
    """Create the ledger's schema. `connection`: the administrator's, in the stack's database, autocommit.

    Raises PgstackError where another role owns the schema pgstack or something in it.
    """
    try:
        with connection.transaction():
            connection.execute(queries.get("pgstack_owners"))
            connection.execute(queries.get("ledger_create"))
            close_functions(connection, READONLY, NOT_FOR_READERS)
    except psycopg.errors.InsufficientPrivilege as error:
        raise wrap_server_error(error) from None


def close_functions(connection: Connection[Any], role: str, functions: Sequence[str]) -> None:
    """Revoke EXECUTE on these functions from `role` in the connection's database. `connection`: the administrator's."""
    text = queries.get("functions_closed").replace("{role}", role)
    connection.execute(text.replace("{functions}", "{" + ",".join(functions) + "}").encode())


def ensure_extensions(connection: Connection[Any], names: tuple[str, ...]) -> str:
    """Create or update the extensions and return pgvector's version. Only a superuser may create vector."""
    available = [row[0] for row in connection.execute("SELECT name FROM pg_available_extensions").fetchall()]
    for name in names:
        if name not in available:
            raise SqlFailed(
                f"the server has no extension {name!r}{suggest_nearest(name, available)}\n"
                f"  it has: {', '.join(sorted(available))}; others need another image (pgvector:image)"
            )
    installed = connection.execute(queries.get("extensions")).fetchall()
    for name in names:
        if name not in (row[0] for row in installed):
            _create_extension(connection, name)
    for name, version, default in installed:
        if name in names and default is not None and version != default:
            connection.execute(sql.SQL("ALTER EXTENSION {} UPDATE").format(sql.Identifier(name)))
    versions = {row[0]: row[1] for row in connection.execute(queries.get("extensions")).fetchall()}
    return str(versions["vector"])


def explain_lost_extensions(connection: Connection[Any], names: tuple[str, ...]) -> str:
    """Return why scripts that dropped an extension of the stack can't commit; "" where all extensions exist.

    The next `up` would create the extension again, so a later script would find it or not depending on which scripts
    run in the same `up`.
    """
    rows = connection.execute("SELECT extname FROM pg_catalog.pg_extension").fetchall()
    lost = [name for name in names if (name,) not in rows]
    if not lost:
        return ""
    return (
        f"the scripts drop the extension {', '.join(lost)} (DROP SCHEMA … CASCADE drops what lies in the schema, too);"
        " all of them are undone\n"
        "  drop by name what is to go, or rename the schema"
    )


def _create_extension(connection: Connection[Any], name: str) -> None:
    """Create it in public, else in pgvector's schema; an extension that fixes its own schema goes there."""
    with connection.transaction():
        connection.execute(queries.get("extension_place"))
        connection.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name)))


@contextmanager
def open_owner_connection(
    admin: Connection[Any], address: Address, *, options: str = ""
) -> Iterator[Connection[TupleRow]]:
    """Open the owner's connection to `address`, without autocommit. The owner can log in only within this context.

    `admin`: the administrator's connection that holds the lock, so that no other `up` changes the password.
    """
    password = secrets.token_urlsafe(32)
    set_password(admin, OWNER, password)
    # as a startup option, since the session is reset after each script; servers before 17 do not have this setting
    timeout = "-c transaction_timeout=0" if admin.info.server_version >= 170000 else ""
    try:
        connection = connect(
            replace(address, user=OWNER, password=password), wait_s=5, options=f"{STEPS} {timeout} {options}",
            autocommit=False, own_path=True,
        )  # fmt: skip
        try:
            yield connection
        finally:
            connection.close()
    finally:
        try:
            admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(sql.Identifier(OWNER)))
            admin.execute(queries.get("orphans_end"))  # ends sessions that a script opened or allowed as the owner
        except psycopg.OperationalError:
            admin.close()  # the server is down; the owner keeps a random password that nobody knows

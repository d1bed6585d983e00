"""Makes the database and its roles, and lends the owner's connection for as long as scripts run.

`schema_owner` owns the database and everything in it and can't log in, except while scripts run: then with a
random password nobody sees. `app` reads and writes rows, `readonly` reads them; neither can change the schema.
Passwords go to the server as SCRAM verifiers computed here, so that no log ever holds one.
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
from pgvector_stacks.common.errors import SqlFailed, nearest
from pgvector_stacks.connections import single_user_mode
from pgvector_stacks.connections.connection import STEPS, Address, as_pgstack_error, connect

OWNER, APP, READONLY = "schema_owner", "app", "readonly"
BACKUP = "pgstack_backup"  # only where backups are scheduled: backup_role.py
UNLOGGED = ("log_statement = none", "log_min_duration_statement = -1", "log_min_error_statement = panic",
            "log_min_duration_sample = -1", "log_transaction_sample_rate = 0")  # fmt: skip
MAKE_LARGE_OBJECTS = ("lo_creat", "lo_create", "lo_from_bytea")
# one statement of them fills the server's lock table, and then nobody logs in
ADVISORY_LOCKS = tuple(
    f"pg_{tried}advisory_{kind}lock{shared}"
    for tried in ("", "try_")
    for kind in ("", "xact_")
    for shared in ("", "_shared")
)
# Everybody may run them, and who only reads may not. Dumps name them with their arguments: one whose arguments differ
# between majors (pg_logical_emit_message) would stop an upgrade.
NOT_FOR_READERS = (*MAKE_LARGE_OBJECTS, *ADVISORY_LOCKS)
NO_POWERS = sql.SQL("NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")


def ensure_cluster(connection: Connection[Any], database: str, passwords: Mapping[str, str]) -> None:
    """Roles and database. `connection`: the administrator's, in database postgres, autocommit.

    `passwords`: of the roles that log in, `app` and `readonly`.
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
    """Who may enter. `connection`: the administrator's, in database postgres, autocommit."""
    names = {"database": sql.Identifier(database)}
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {database} FROM PUBLIC").format(**names))
    for role, privileges in ((OWNER, "ALL"), (APP, "CONNECT, TEMPORARY"), (READONLY, "CONNECT")):
        held = connection.execute(
            "SELECT has_database_privilege(%s, %s, 'CONNECT')", (role, database)
        ).fetchone()  # fmt: skip
        if held != (True,):  # else it has what a script left of them
            grant = sql.SQL("GRANT {privileges} ON DATABASE {database} TO {role}")
            connection.execute(grant.format(privileges=sql.SQL(privileges), role=sql.Identifier(role), **names))


def set_password(connection: Connection[Any], role: str, password: str) -> None:
    """Let `role` log in with `password`. The server sees the verifier alone, and logs not even that.

    `connection`: an administrator's, in autocommit or in a transaction.
    """
    secret = sql.Literal(single_user_mode.verifier(role, password))
    with connection.transaction():
        for setting in UNLOGGED:
            connection.execute(f"SET LOCAL {setting}".encode())
        connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), secret))


def unreachable(connection: Connection[Any]) -> list[str]:
    """A line for each role and schema in which it has rights that it can't use: it lacks the schema's USAGE."""
    rows = connection.execute(queries.get("rights_unusable")).fetchall()
    return [
        f"{role} has rights on {count} table(s) of the schema {schema}, as {one}, and may not use the schema:"
        f" GRANT USAGE ON SCHEMA {schema} TO {role}, or revoke them too"
        for role, schema, count, one in rows
    ]


def ensure_database(connection: Connection[Any]) -> None:
    """The ledger. `connection`: the administrator's, in the database, autocommit.

    Raises PgstackError where the schema pgstack, or something in it, is somebody else's.
    """
    try:
        with connection.transaction():
            connection.execute(queries.get("pgstack_owners"))
            connection.execute(queries.get("ledger_create"))
            close_functions(connection, READONLY, NOT_FOR_READERS)
    except psycopg.errors.InsufficientPrivilege as error:
        raise as_pgstack_error(error) from None


def close_functions(connection: Connection[Any], role: str, functions: Sequence[str]) -> None:
    """Take these functions from `role`, in the connection's database. `connection`: the administrator's."""
    text = queries.get("functions_closed").replace("{role}", role)
    connection.execute(text.replace("{functions}", "{" + ",".join(functions) + "}").encode())


def ensure_extensions(connection: Connection[Any], names: tuple[str, ...]) -> str:
    """Create or update the extensions (vector is none that an owner may create) and return pgvector's version."""
    available = [row[0] for row in connection.execute("SELECT name FROM pg_available_extensions").fetchall()]
    for name in names:
        if name not in available:
            raise SqlFailed(
                f"the server has no extension {name!r}{nearest(name, available)}\n"
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


def lost_extensions(connection: Connection[Any], names: tuple[str, ...]) -> str:
    """Why scripts can't commit that took away extensions which an `up` makes; empty where all are there.

    Their next `up` would make them again, so what a later script finds would depend on how the `up`s are cut.
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
    """Into public, or where there is none beside pgvector; an extension with a schema of its own lies there."""
    with connection.transaction():
        connection.execute(queries.get("extension_place"))
        connection.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name)))


@contextmanager
def owner_connection(admin: Connection[Any], address: Address, *, options: str = "") -> Iterator[Connection[TupleRow]]:
    """The owner's connection to `address`, not in autocommit. It can log in for as long as this lasts.

    `admin`: the administrator's connection that holds the lock, so that no other `up` changes the password.
    """
    password = secrets.token_urlsafe(32)
    set_password(admin, OWNER, password)
    # an option, since a script's end resets what is set; servers before 17 know no such setting
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
            admin.execute(queries.get("orphans_end"))  # a script may have let somebody in
        except psycopg.OperationalError:
            admin.close()  # the server is gone; a random password nobody knows stays behind

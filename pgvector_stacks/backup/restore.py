"""Restores one database of a backup into a running server.

Steps, under the same lock as an `up`: drop what a killed restore left → create roles that the server lacks → create a
new database beside the live one, load it and compare it with the manifest → set its privileges and settings → rename
both databases in one transaction. Until that transaction commits, the live database serves clients, and a failure or a
kill leaves it unchanged. The former database is kept under another name and is never dropped here. Existing roles keep
their passwords.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql

from pgvector_stacks.backup.contents import describe_differences, describe_older_extensions
from pgvector_stacks.backup.manifest import BackupFailed, BackupRefused, DumpedDatabase, Manifest, read_globals
from pgvector_stacks.backup.restoring import libraries, owner_login, restore_database, role_statements
from pgvector_stacks.backup.restoring.role_statements import RoleStatement
from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.connections import roles, setting_values
from pgvector_stacks.connections.connection import Address, connect, format_server_message, wrap_server_error
from pgvector_stacks.connections.up_lock import hold_up_lock
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.toolbox.interface import ServerConnection, Toolbox, passfile_line

NEW_PREFIX, FORMER_PREFIX = "pgstack_restoring_", "pgstack_before_"
STAMP = "%Y%m%dt%H%M%Sz"
ATTEMPTS = 3
PROVIDERS = {"c": " LOCALE_PROVIDER libc", "i": " LOCALE_PROVIDER icu ICU_LOCALE {}",
             "b": " LOCALE_PROVIDER builtin BUILTIN_LOCALE {}"}  # fmt: skip
POLL_S = 0.05


def restore(
    toolbox: Toolbox, server: ServerConnection, admin: Address, backup: Path, manifest: Manifest, database: str, *,
    jobs: int = 2, lock_wait_s: float = 30.0, superusers: bool = False, report: Callable[[str], None] = lambda _: None,
) -> str | None:  # fmt: skip
    """Replace `admin.database` by `database` of a verified backup. Return the former one's new name, None without one.

    `superusers`: the backup may create superusers, and the superuser creates the whole schema, whoever owns it.
    Raises BackupRefused, BackupFailed, ConnectionFailed. The live database is unchanged then.
    """
    source = manifest.find_database(database)
    if manifest.major > server.major:
        raise BackupRefused(
            f"the backup is of PostgreSQL {manifest.major}, the server is {server.major}: an older one can't read it\n"
            f"  restore into a stack of PostgreSQL {manifest.major} or newer:  pgstack backup restore … --into STACK"
        )
    statements = role_statements.parse(read_globals(backup, manifest))
    wrong = [word for each in source.settings if (word := libraries.explain_unsafe_setting(each.name, [each.value]))]
    if wrong and not superusers:
        raise BackupRefused(
            f"a setting of the backup's database {source.name} is refused:\n  {wrong[0]}\n"
            "  if it is meant, ask for it:  --superusers"
        )
    now = f"{datetime.now(UTC):{STAMP}}"
    new, before = f"{NEW_PREFIX}{now}", f"{FORMER_PREFIX}{now}"
    with _reporting_sql_errors(), hold_up_lock(admin, lock_wait_s) as cluster:
        for name in _list_leftovers(cluster):
            report(f"drops {name}, which a restore that was killed left")
            roles.drop_database(cluster, name)
        create_missing_roles(cluster, statements, report, superusers=superusers)
        _create_database(cluster, new, source)
        try:
            report(f"database {source.name}, {source.contents.row_count} rows, beside the live one")
            dump = f"{toolbox.provide(backup)}/{source.folder}"
            with _creating_login(cluster, toolbox, server) as login:
                restore_database.restore_dump(
                    toolbox, server, dump, new, source.contents.vector_indexes, jobs=jobs, vector_indexes=True,
                    login=login, by_superuser=superusers,
                )  # fmt: skip
            report("compares it with the backup's manifest")
            found = restore_database.query_contents(toolbox, server, new)
            problems = describe_differences(source.contents, source.sequences_after, found, vector_indexes=True)
            if problems:
                raise BackupFailed(
                    "what was restored differs from the backup:\n" + "\n".join(f"  {p}" for p in problems)
                )
            for line in describe_older_extensions(source.contents, found):
                report(f"{line}: this server has no newer one")
            restore_database_properties(cluster, new, source)
            with connect(replace(admin, database=new)) as restored:
                schema_drift.renew_restored(restored, source.drifted)
            report(f"renames it to {admin.database}, in one transaction")
            return swap_databases(admin, new, before)
        except BaseException:
            with suppress(psycopg.Error):
                roles.drop_database(cluster, new)
            raise


@contextmanager
def _creating_login(cluster: Connection[Any], toolbox: Toolbox, server: ServerConnection) -> Iterator[ServerConnection]:
    """Create the login that loads rows, and drop it at the end. Replace a login that a killed restore left."""
    password = secrets.token_urlsafe(32)
    owner_login.drop(toolbox, server)
    cluster.execute(owner_login.CREATE.encode())
    roles.set_password(cluster, owner_login.ROLE, password)
    try:
        passfile = toolbox.put("passfile-loading", passfile_line(password))
        yield replace(server, user=owner_login.ROLE, passfile=passfile, superuser=False)
    finally:
        with suppress(ServerError):  # if the server is down, the next restore drops the login
            owner_login.drop(toolbox, server)


@contextmanager
def _reporting_sql_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise BackupFailed(f"the restore failed, the live database is as it was: {wrap_server_error(error)}") from None


def _list_leftovers(cluster: Connection[Any]) -> list[str]:
    rows = cluster.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (NEW_PREFIX,))
    return [row[0] for row in rows.fetchall()]


def create_missing_roles(
    cluster: Connection[Any], statements: Sequence[RoleStatement], report: Callable[[str], None], *, superusers: bool
) -> None:
    """Create the roles that the server lacks, in one transaction, with their password hashes and memberships.

    Raises BackupRefused if a role would be a superuser and `superusers` is False.
    """
    present = cluster.execute(queries.get("roles_present")).fetchall()
    wanted = role_statements.select_missing(
        role_statements.remove_backup_role(statements), [name for name, _ in present]
    )
    role_statements.refuse_powers(wanted, [name for name, powerful in present if powerful], allowed=superusers)
    if not wanted:
        return
    report(f"makes roles: {', '.join(one_line(each.makes) for each in wanted if each.makes)}")
    with cluster.transaction():
        for setting in roles.UNLOGGED:  # keeps password hashes out of the server's log
            cluster.execute(f"SET LOCAL {setting}".encode())
        for statement in wanted:
            cluster.execute(statement.command)


def create_database_statement(name: str, source: DumpedDatabase) -> sql.Composed:
    """Return the CREATE DATABASE statement for an empty database like `source`. Pure."""
    return sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}{}").format(
        sql.Identifier(name), sql.Identifier(source.owner),
        *(sql.Literal(word) for word in (source.encoding, source.collate, source.ctype)),
        sql.SQL(PROVIDERS[source.provider]).format(sql.Literal(source.locale)),
    )  # fmt: skip


def _create_database(cluster: Connection[Any], name: str, source: DumpedDatabase) -> None:
    """Create an empty database that only superusers and its owner can connect to.

    Raises BackupRefused if the server lacks the locale.
    """
    try:
        cluster.execute(create_database_statement(name, source))
    except psycopg.errors.WrongObjectType as error:  # an invalid locale name
        raise BackupRefused(
            f"the server can't have a database like the backup's: {format_server_message(error)}\n"
            f"  it needs the locale {source.collate}: use the image, or a machine, that has it"
        ) from None
    cluster.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))


def restore_database_properties(cluster: Connection[Any], name: str, source: DumpedDatabase) -> None:
    """Set what a dump without CREATE DATABASE omits: privileges, settings, the connection limit, the comment."""
    database = sql.Identifier(name)
    with cluster.transaction():
        for right in source.privileges:
            if right.grantee in (source.owner, roles.BACKUP):
                continue
            who = sql.Identifier(right.grantee) if right.grantee else sql.SQL("PUBLIC")
            option = sql.SQL(" WITH GRANT OPTION" if right.grantable else "")
            kind = sql.SQL({"CREATE": "CREATE", "CONNECT": "CONNECT"}.get(right.privilege, "TEMPORARY"))
            cluster.execute(sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(kind, database, who, option))
        if cluster.execute("SELECT FROM pg_roles WHERE rolname = %s", (roles.BACKUP,)).fetchone() is not None:
            grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")  # a backup older than this role lacks the grant
            cluster.execute(grant.format(database, sql.Identifier(roles.BACKUP)))
        limit = sql.Literal(source.connection_limit)
        cluster.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, limit))
        cluster.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(source.comment)))
        for setting in source.settings:
            word = sql.Identifier(*setting.name.split("."))
            whose = sql.SQL("DATABASE {}").format(database)
            if setting.role:
                whose = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(setting.role), database)
            if setting.value:  # not SET in this session: the value may break this transaction, or be invalid here
                values = setting_values.split_setting(setting.name, setting.value)
                words = sql.SQL(", ").join(map(sql.Literal, values))
                cluster.execute(sql.SQL("ALTER {} SET {} TO {}").format(whose, word, words))
            else:  # SQL has no literal for an empty list
                cluster.execute("SELECT set_config(%s, '', true)", (setting.name,))
                cluster.execute(sql.SQL("ALTER {} SET {} FROM CURRENT").format(whose, word))


def swap_databases(admin: Address, new: str, before: str) -> str | None:
    """Rename `admin.database` to `before` and `new` to `admin.database` in one transaction, and end their sessions.

    New connections wait until the transaction ends. Raises BackupFailed if a session can't be ended.
    """
    live, to = admin.database, replace(admin, database="postgres")
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    with connect(to) as worker, connect(to) as ender:
        exists = worker.execute("SELECT FROM pg_database WHERE datname = %s", (live,)).fetchone() is not None
        done = threading.Event()

        def end_sessions() -> None:
            # RENAME waits up to five seconds for the sessions to end, and blocks new ones
            with suppress(psycopg.Error):
                while not done.wait(POLL_S):
                    ender.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN (%s, %s)", (live, new)
                    )

        thread = threading.Thread(target=end_sessions, daemon=True)
        thread.start()
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    with worker.transaction():
                        if exists:
                            worker.execute(rename.format(sql.Identifier(live), sql.Identifier(before)))
                        worker.execute(rename.format(sql.Identifier(new), sql.Identifier(live)))
                    break
                except psycopg.errors.ObjectInUse as error:
                    if attempt == ATTEMPTS:
                        raise BackupFailed(
                            f"sessions in {live} don't end: {one_line(error.diag.message_detail)}\n"
                            "  look for prepared transactions (pg_prepared_xacts), end them, then try again"
                        ) from None
        finally:
            done.set()
            thread.join()
    return before if exists else None

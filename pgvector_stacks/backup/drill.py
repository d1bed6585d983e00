"""Restores a backup into a throw-away server and compares the result with the backup's manifest.

The throw-away server doesn't listen on TCP, its socket is in a private folder, and the drill removes all of it. Where
the toolbox is this machine, its data directory is beside the stack's. In Docker, it is in the throw-away container.
Only a drill proves a backup: pg_dump can exit with 0, and the SHA-256 can be right, for a dump that doesn't restore.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from psycopg import sql

from pgvector_stacks.backup import restore
from pgvector_stacks.backup.contents import Contents, describe_differences, describe_older_extensions
from pgvector_stacks.backup.manifest import BackupRefused, Manifest, Trust, Untrusted, read_globals, verify
from pgvector_stacks.backup.restoring import owner_login, restore_database, role_statements
from pgvector_stacks.backup.restoring.role_statements import RoleStatement
from pgvector_stacks.backup.store import DrillResult, record_drill
from pgvector_stacks.common import shell
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.toolbox.interface import (
    SUPERUSER,
    ServerConnection,
    Toolbox,
    execute_sql,
    require_success,
    start_server,
    stop_server,
)

WORK = "drill"
CLEAR = 'pg_ctl stop -s -m immediate -D "$D" >/dev/null 2>&1 || true; rm -rf "$D" "$D.log"'
NO_KEY = Trust()
MOST_PROBLEMS = 20
AT_ONCE = 50  # statements that one psql runs
START_S = 120
LEAST_LOCKS = 256
OUT_OF_LOCKS = "out of shared memory"
# A crash of this server loses nothing. Parallel index builds are off, because they would need space in /dev/shm.
SETTINGS = {
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off", "wal_level": "minimal",
    "max_wal_senders": "0", "max_wal_size": "4GB", "shared_buffers": "128MB", "maintenance_work_mem": "128MB",
    "max_connections": "20", "max_parallel_maintenance_workers": "0",
    "log_min_messages": "error", "log_min_error_statement": "panic",
}  # fmt: skip


def drill(
    toolbox: Toolbox, backup: Path, *, jobs: int = 2, vector_indexes: bool = False, major: int | None = None,
    superusers: bool = False, by_superuser: bool = False, trust: Trust = NO_KEY,
    report: Callable[[str], None] = lambda _: None,
) -> DrillResult:  # fmt: skip
    """Restore the finished backup in the folder `backup`, and record the result beside it.

    `major`: the version of PostgreSQL's programs. `superusers`: the backup may create superusers in the drill's server.
    `by_superuser`: the superuser creates the whole schema, so functions that owners wrote may run with superuser
    rights. `trust`: what the backup must prove.

    A damaged backup is a result, not an exception. Raises Untrusted if the backup may come from somebody else,
    BackupRefused if it would create superusers and `superusers` is False, ServerError or DockerFailed if the throw-away
    server can't run. After an exception nothing is recorded.
    """
    at, begun = datetime.now(UTC).replace(microsecond=0), time.monotonic()
    try:
        manifest = verify(backup, trust=trust)
        statements = role_statements.parse(read_globals(backup, manifest))
    except Untrusted:
        raise
    except BackupRefused as refusal:
        problems = str(refusal).splitlines()
    else:
        if major is not None and major < manifest.major:
            raise ServerError(f"PostgreSQL {major} can't read a backup of {manifest.major}: nothing was tried")
        # initdb has created the administrator, who stays unchanged
        statements = [each for each in statements if each.names != {SUPERUSER}]
        statements = role_statements.remove_backup_role(statements, made=True)  # the databases name it
        role_statements.refuse_powers(statements, (SUPERUSER, *role_statements.POWERFUL), allowed=superusers)
        trial = _Trial(manifest, statements, major or manifest.major, jobs, vector_indexes, by_superuser)
        problems = _run_trial(toolbox, backup, trial, report)
    result = DrillResult(
        ok=not problems, at=at, seconds=round(time.monotonic() - begun, 1), vector_indexes=vector_indexes,
        problems=tuple(problems[:MOST_PROBLEMS]),
    )  # fmt: skip
    record_drill(backup, result, trust.key)
    return result


def lock_limit(databases: Iterable[Contents]) -> int:
    """Return max_locks_per_transaction for the drill's server. Its lock table holds at least that times 20 connections.

    Each table, index and constraint counts as one lock, so one transaction can touch them all.
    """
    most = max(map(_count_objects, databases), default=0)
    return max(LEAST_LOCKS, most // int(SETTINGS["max_connections"]))


def _count_objects(contents: Contents) -> int:
    return len(contents.rows) + len(contents.sequences) + len(contents.objects) + len(contents.vector_indexes)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What a drill restores, and how. `major`: the version of PostgreSQL's programs."""

    manifest: Manifest
    statements: Sequence[RoleStatement]
    major: int
    jobs: int
    vector_indexes: bool
    by_superuser: bool


def _run_trial(toolbox: Toolbox, backup: Path, trial: _Trial, report: Callable[[str], None]) -> list[str]:
    major, manifest = trial.major, trial.manifest
    directory = toolbox.sibling_path(major, WORK)
    handed = toolbox.provide(backup)
    require_success(
        "clearing away a former drill", toolbox.run(major, "sh", "-ec", CLEAR, environment={"D": directory})
    )
    guard = {"DIRECTORY": directory, "LEASH": toolbox.lifetime_fifo}
    require_success("guarding the drill", toolbox.run(major, "sh", "-ec", shell.get("drill_guard"), environment=guard))
    try:
        report("a throw-away server")
        require_success("making a folder", toolbox.sh('mkdir -p "$(dirname "$D")"', D=directory))
        made = toolbox.run(
            major, "initdb", "-D", directory, "-U", SUPERUSER, "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync"
        )
        require_success("initdb for the drill", made)
        room = str(lock_limit(database.contents for database in manifest.databases))
        settings = SETTINGS | {"shared_preload_libraries": manifest.preload, "max_locks_per_transaction": room}
        server = start_server(toolbox, major, directory, settings, wait_s=START_S)
        try:
            return _restore_all(toolbox, server, handed, trial, report)
        finally:
            stop_server(toolbox, major, directory)
    finally:
        toolbox.run(major, "sh", "-ec", CLEAR, environment={"D": directory})


def _make_roles(toolbox: Toolbox, server: ServerConnection, statements: Sequence[RoleStatement]) -> None:
    """Run the statements that create roles, without passwords because nobody logs in. Raises ServerError."""
    texts = [each.bare.as_string(None) for each in statements]
    for at in range(0, len(texts), AT_ONCE):
        first, *then = texts[at : at + AT_ONCE]
        execute_sql(toolbox, server, "postgres", first, then=then)


def _restore_all(
    toolbox: Toolbox, server: ServerConnection, handed: str, trial: _Trial, report: Callable[[str], None]
) -> list[str]:
    """Restore every database, even after one fails, and return the problems as lines of text."""
    manifest, jobs, vector_indexes = trial.manifest, trial.jobs, trial.vector_indexes
    report("roles")
    try:
        _make_roles(toolbox, server, trial.statements)
    except ServerError as error:
        return ["the roles can't be restored:", *str(error).splitlines()]
    owner_login.drop(toolbox, server)
    execute_sql(toolbox, server, "postgres", owner_login.CREATE)
    login = replace(server, user=owner_login.ROLE, superuser=False)
    problems = []
    for database in manifest.databases:
        report(f"database {database.name}, {database.contents.row_count} rows")
        try:
            # Created as a restore does it: pg_dump writes some settings of a database in a form that can't be read.
            made = restore.create_database_statement(database.name, database).as_string(None)
            gone = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(database.name)).as_string(None)
            execute_sql(toolbox, server, "template1", gone, then=(made,))
            restore_database.restore_dump(
                toolbox, server, f"{handed}/{database.folder}", database.name, database.contents.vector_indexes,
                jobs=jobs, vector_indexes=vector_indexes, login=login, by_superuser=trial.by_superuser,
            )  # fmt: skip
            found = restore_database.query_contents(toolbox, server, database.name)
        except ServerError as error:
            if OUT_OF_LOCKS in str(error):
                raise ServerError(
                    f"the drill's server has no room for the locks that database {database.name} takes: this says "
                    f"nothing about the backup, and nothing is recorded\n{error}\n"
                    "  restore it into another stack to try it:  pgstack backup restore STACK --into OTHER"
                ) from None
            problems += [f"database {database.name}: {line}" for line in str(error).splitlines()]
            continue
        differing = describe_differences(
            database.contents, database.sequences_after, found, vector_indexes=vector_indexes
        )
        differing += describe_older_extensions(database.contents, found)
        problems += [f"database {database.name}: {line}" for line in differing]
    return problems

"""Creates a backup while the server serves clients.

Steps: list the databases → dump the roles → for each database, psql opens a snapshot, counts rows in it, and runs
pg_dump on the same snapshot (`shell/dump.sh`) → copy everything to this machine → compute sizes and digests → write the
manifest → rename the folder to its final name. A failure or a kill leaves nothing under a final name. Each database has
its own snapshot, because a PostgreSQL snapshot covers one database only.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from pgvector_stacks.backup import manifest as manifests
from pgvector_stacks.backup import recorded_schema, shared_files
from pgvector_stacks.backup.contents import Contents, contents_query
from pgvector_stacks.backup.manifest import STAMP, BackupFailed, Manifest
from pgvector_stacks.backup.store import locking_folder, promote, remove_unfinished, staging
from pgvector_stacks.common import queries, shell
from pgvector_stacks.common.errors import PgstackError, ServerError
from pgvector_stacks.migrations.scripts.script_files import revision
from pgvector_stacks.toolbox.interface import HOUR_S, Report, ServerConnection, Toolbox, query_rows, require_success

LONG_S = 48 * HOUR_S
WORK = "backup"
FREE_WITHIN_S = 3.0  # two backups begin in one second, not in three


def create(
    toolbox: Toolbox, server: ServerConnection, into: Path, *, stack: str, database: str, jobs: int = 2, key: str = "",
    report: Report = lambda _: None,
) -> Manifest:  # fmt: skip
    """Create a backup in the folder `into`, named after the current time. `server`: connects as its superuser;
    `database`: the stack's own; `key`: signs the backup, "" for no signature.

    Raises BackupFailed. The server isn't changed.
    """
    with locking_folder(into):
        for name in remove_unfinished(into):
            report(f"removed {name}, which a run that was killed left")
        started = _wait_for_free_name(into)
        finished = into / f"{started:{STAMP}}"
        try:
            with staging(finished) as made:
                found = _write_backup(toolbox, server, made, started, stack, database, jobs, key, report)
                promote(made, finished)
        except (PgstackError, OSError, ValidationError) as error:
            if isinstance(error, ValidationError):  # a backup can't record this name of a database or library
                reason = manifests.describe_invalid_field(error)
            else:
                reason = str(error) if isinstance(error, PgstackError) else f"{finished}: {error.strerror}"
            raise BackupFailed(f"the backup failed, nothing of it is kept: {reason}") from None
        return found


def _wait_for_free_name(into: Path) -> datetime:
    """Return the current time. Wait for the next second if a backup already has this one's name.

    Raises BackupFailed if files have the names of the coming seconds too.
    """
    deadline = time.monotonic() + FREE_WITHIN_S
    while os.path.lexists(into / f"{(now := datetime.now(UTC)):{STAMP}}"):
        if time.monotonic() > deadline:
            raise BackupFailed(
                f"{into} has files named after the coming seconds, which no backup made\n"
                f"  look who may write there, and remove what has a later name than {now:{STAMP}}"
            )
        time.sleep(0.1)
    return now


def _write_backup(
    toolbox: Toolbox, server: ServerConnection, made: Path, started: datetime, stack: str, database: str, jobs: int,
    key: str, report: Report,
) -> Manifest:  # fmt: skip
    begun = time.monotonic()
    (server_facts,) = query_rows(
        toolbox, server, "postgres",
        "SELECT current_setting('server_version') AS version, current_setting('shared_preload_libraries') AS preload,"
        " (SELECT json_agg(datname) FROM pg_database) AS databases",
    )  # fmt: skip
    cluster = query_rows(toolbox, server, "postgres", queries.get("backup_cluster"))
    if database in server_facts["databases"] and database not in (row["name"] for row in cluster):
        raise ServerError(
            f"the database {database} is a template, or accepts no connections: the backup would lack it\n"
            "  pgstack up STACK  fixes that"
        )
    work = toolbox.sibling_path(server.major, WORK)
    require_success("making a folder", toolbox.sh('rm -rf "$WORK"; umask 077; mkdir -p "$WORK"', WORK=work))
    try:
        report("roles")
        globals_ = f"{work}/{manifests.GLOBALS}"
        words = 'umask 077; exec pg_dumpall -w --globals-only --no-tablespaces -f "$FILE"'
        done = toolbox.run(
            server.major, "sh", "-ec", words, environment=server.environment | {"FILE": globals_}, timeout_s=LONG_S
        )
        require_success("pg_dumpall", done)
        databases = [_dump_database(toolbox, server, row, work, jobs, report) for row in cluster]
        toolbox.move_out(work, made)
    finally:
        toolbox.sh('rm -rf "$WORK"', WORK=work)
    databases = [_move_contents(each, made) for each in databases]
    own = next((each for each in databases if each["name"] == database), None)
    manifest = Manifest.model_validate(
        {
            "stack": stack, "startedAt": started.replace(microsecond=0), "seconds": round(time.monotonic() - begun, 1),
            "serverVersion": str(server_facts["version"]).split(" ")[0], "major": server.major,
            "preload": server_facts["preload"],
            "database": database, "schemaRevision": revision(own["contents"].ledger) if own else "empty",
            "databases": databases, "files": manifests.list_files(made),
        }
    )  # fmt: skip
    manifests.write(manifest, made, key)
    shared_files.close_to_others(made)
    return manifest


def _dump_database(
    toolbox: Toolbox, server: ServerConnection, row: dict[str, Any], work: str, jobs: int, report: Report
) -> dict[str, Any]:
    report(f"database {row['name']}, {row['bytes'] / 2**20:.0f} MiB")
    folder = quote(row["name"], safe="")
    contents = toolbox.put("contents.sql", contents_query())
    variables = {"PGDATABASE": row["name"], "FOLDER": f"{work}/{folder}", "CONTENTS": contents, "JOBS": str(jobs),
                 "LEASH": toolbox.lifetime_fifo}  # fmt: skip
    done = toolbox.run(
        server.major,
        "sh",
        "-ec",
        shell.get("leash", "dump"),
        environment=server.environment | variables,
        timeout_s=LONG_S,
    )
    require_success(f"pg_dump of database {row['name']}", done)
    drifted = recorded_schema.find_drift(toolbox, server, row["name"])
    renamed = {"connection_limit": "connectionLimit"}
    return {renamed.get(key, key): value for key, value in row.items()} | {
        "folder": folder,
        "drifted": drifted,
    }


def _move_contents(database: dict[str, Any], made: Path) -> dict[str, Any]:
    """Move the two query results beside the dump into the manifest's entry of the database."""
    found = []
    for when in ("before", "after"):
        path = made / f"{database['folder']}.{when}"
        found.append(Contents.model_validate_json(path.read_text(encoding="utf-8")))
        path.unlink()
    return database | {"contents": found[0], "sequencesAfter": found[1].sequences}

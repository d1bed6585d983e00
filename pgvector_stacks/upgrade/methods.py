"""Moves the data into the new cluster: pg_upgrade with copy, clone or link, `--link` on a standby, or a dump."""

from __future__ import annotations

import shlex
import time
from contextlib import nullcontext

from pgvector_stacks.backup import recorded_schema
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.toolbox.interface import (  # fmt: skip
    ISOLATION_SETTINGS,
    ProgramResult,
    ServerConnection,
    Toolbox,
    execute_sql,
    isolated_session_options,
    query_rows,
    read_control_data,
    require_success,
    start_server,
    stop_server,
    write_trust_hba,
)
from pgvector_stacks.upgrade import as_owners, progress
from pgvector_stacks.upgrade.checks import quick_check
from pgvector_stacks.upgrade.context import Context

CATCH_UP_S = 3600.0
HANDED_OVER_S = 60.0
POLL_S = 0.1
JOBS = "2"
DUMP = "dump"
STATISTICS_KEPT = 18
FAST = {"maintenance_work_mem": "256MB", "fsync": "off", "max_wal_size": "4GB"}
# The walreceiver's own temporary slot ends with its connection, so no forgotten slot can fill the disk with WAL.
SLOT = {"wal_receiver_create_temp_slot": "on", "primary_slot_name": ""}
# Settings left by an earlier point-in-time restore would end this recovery at that point.
RECOVERY = dict.fromkeys(
    ("recovery_target", "recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_xid",
     "restore_command", "archive_cleanup_command", "recovery_end_command"), ""
) | {"recovery_min_apply_delay": "0", "hot_standby": "on"}  # fmt: skip


def make_standby(upgrade: Context) -> None:
    """Create a streaming standby of the live server, and wait until it has caught up. Raises ServerError."""
    toolbox = upgrade.toolbox
    upgrade.server.set_replication(allowed=True)
    with upgrade.reporting_growth("make the standby", upgrade.standby_directory):
        done = toolbox.run(
            upgrade.old, "pg_basebackup", "-D", upgrade.standby_directory, "-R", "-X", "stream", "--checkpoint=fast",
            "--no-sync", environment=upgrade.live.environment,
        )  # fmt: skip
    require_success("pg_basebackup", done)
    # A standby stops replaying WAL if one of these settings is lower than the primary's.
    settings = dict(upgrade.source.standby_settings) | SLOT | RECOVERY | upgrade.source.preloading
    standby = start_server(toolbox, upgrade.old, upgrade.standby_directory, settings, upgrade.source.superuser)
    log, deadline = f"{upgrade.standby_directory}.log", time.monotonic() + CATCH_UP_S
    while not _is_nearly_caught_up(upgrade, standby):
        said = toolbox.sh('tail -n 5 "$LOG"', LOG=log)
        if "has already been removed" in said.output:
            raise ServerError(
                "the server removed WAL that the standby had not got yet\n"
                "  `up` again; where it happens again:  pgvector:settings: {wal_keep_size: 4GB}"
            )
        if time.monotonic() > deadline:
            raise ServerError(f"the standby did not catch up within {CATCH_UP_S:.0f} s\n{said.tail()}")
        time.sleep(POLL_S)


def _is_nearly_caught_up(upgrade: Context, standby: ServerConnection) -> bool:
    """Return whether the standby streams and is less than a WAL segment behind. The rest is sent during shutdown."""
    now = execute_sql(upgrade.toolbox, upgrade.live, "postgres", "SELECT pg_current_wal_lsn()").strip()
    question = f"""SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'
                      AND pg_wal_lsn_diff('{now}', pg_last_wal_replay_lsn()) < {upgrade.source.wal_segment_bytes}"""
    return bool(query_rows(upgrade.toolbox, standby, "postgres", question))


def hand_over(upgrade: Context) -> quick_check.Fingerprint:
    """Wait for the last WAL of the stopped server, promote the standby, and stop it. Return its fingerprint.

    Raises ServerError.
    """
    toolbox = upgrade.toolbox
    left = _check_shut_down(upgrade)
    last = left["Latest checkpoint location"]
    standby = ServerConnection(upgrade.old, toolbox.sockets, user=upgrade.source.superuser)
    deadline = time.monotonic() + HANDED_OVER_S
    while not query_rows(toolbox, standby, "postgres", f"SELECT 1 WHERE pg_last_wal_replay_lsn() > '{last}'::pg_lsn"):
        if time.monotonic() > deadline:
            raise ServerError(f"the standby has not got the last WAL of the stopped server (its end is {last})")
        time.sleep(POLL_S)
    require_success(
        "promoting the standby", toolbox.run(upgrade.old, "pg_ctl", "promote", "-w", "-D", upgrade.standby_directory)
    )
    execute_sql(toolbox, standby, "postgres", "ALTER SYSTEM RESET primary_conninfo")
    found = quick_check.take_fingerprint(toolbox, standby, upgrade.source.databases, exact=False)
    upgrade.drifted = recorded_schema.find_drift_by_database(toolbox, standby, upgrade.source.databases)
    stop_server(toolbox, upgrade.old, upgrade.standby_directory)
    return found


def fingerprint_stopped_server(upgrade: Context) -> quick_check.Fingerprint:
    """Start the old server without clients, take its fingerprint, and stop it again. Raises ServerError."""
    _check_shut_down(upgrade)
    dump = upgrade.choice.method == "dump"
    server = start_server(
        upgrade.toolbox, upgrade.old, upgrade.old_directory,
        dict(upgrade.source.standby_settings) | upgrade.source.preloading,
        upgrade.source.superuser,
    )  # fmt: skip
    try:
        upgrade.drifted = recorded_schema.find_drift_by_database(upgrade.toolbox, server, upgrade.source.databases)
        return quick_check.take_fingerprint(upgrade.toolbox, server, upgrade.source.databases, exact=dump)
    finally:
        stop_server(upgrade.toolbox, upgrade.old, upgrade.old_directory)


def _check_shut_down(upgrade: Context) -> dict[str, str]:
    found = read_control_data(upgrade.toolbox, upgrade.old, upgrade.old_directory)
    state = found["Database cluster state"]
    if state != "shut down":
        raise ServerError(
            f"PostgreSQL {upgrade.old} was not shut down cleanly (pg_control says {state!r})\n"
            "  give it more time:  pgvector:stopGraceS"
        )
    return found


def transfer(upgrade: Context) -> None:
    """Move the data by the chosen method. Raises ServerError with the tool's output; the old directory is unchanged."""
    if upgrade.choice.method == "dump":
        _dump_and_restore(upgrade)
    else:
        _pg_upgrade(upgrade)


def _pg_upgrade(upgrade: Context) -> None:
    toolbox, method = upgrade.toolbox, upgrade.choice.method
    source = upgrade.standby_directory if method == "standby" else upgrade.old_directory
    mode = {"standby": "--link", "link": "--link", "clone": "--clone", "copy": "--copy"}[method]
    options = f"-c hba_file={write_trust_hba(toolbox)} -c logging_collector=off -c archive_mode=off"
    options += f" -c shared_preload_libraries={shlex.quote(upgrade.source.preload)}"
    options += "".join(f" -c {name}={shlex.quote(value)}" for name, value in ISOLATION_SETTINGS.items())
    words = ["pg_upgrade", mode, "-b", toolbox.bin_directory(upgrade.old), "-B", toolbox.bin_directory(upgrade.new),
             "-d", source, "-D", upgrade.unfinished_directory, "-U", upgrade.source.superuser, "-j", JOBS,
             "-o", options, "-O", options, "-p", "50432", "-P", "50433", "-s", toolbox.sockets]  # fmt: skip
    if upgrade.new >= STATISTICS_KEPT and upgrade.source.all("checked_domains"):
        # Restored statistics contain values, and the superuser would run their domains' CHECKs. ANALYZE replaces them.
        words.append("--no-statistics")
    copies = upgrade.reporting_growth("transfer", upgrade.unfinished_directory) if method == "copy" else nullcontext()
    with copies:  # pg_upgrade writes files into its working directory
        done = toolbox.run(
            upgrade.new, "sh", "-c", f"cd {shlex.quote(toolbox.sockets)} && exec {shlex.join(words)}",
            # No conversion, whatever client_encoding a database sets: both servers have the same encoding.
            environment={"PGOPTIONS": isolated_session_options(upgrade.old), "PGCLIENTENCODING": "SQL_ASCII"},
        )  # fmt: skip
    if done.code != 0:
        raise ServerError(f"pg_upgrade failed\n{done.tail(20)}{_read_reports(toolbox, upgrade.unfinished_directory)}")
    toolbox.sh(
        'rm -rf "$D/pg_upgrade_output.d" "$S"/delete_old_cluster.sh', D=upgrade.unfinished_directory, S=toolbox.sockets
    )


def _read_reports(toolbox: Toolbox, directory: str) -> str:
    """Return pg_upgrade's report files, which name the failing objects."""
    script = (
        'find "$D/pg_upgrade_output.d" -name "*.txt" -size +0 -exec head -n 10 {} + 2>/dev/null;'
        ' find "$D/pg_upgrade_output.d" -name "*.log" -exec grep -h -i -E "error|fatal" {} + 2>/dev/null | tail -n 10'
    )
    said = toolbox.sh(f"{script} || true", D=directory)
    return f"\n{said.tail(20)}" if said.output.strip() else ""


def _dump_and_restore(upgrade: Context) -> None:
    """Dump the old server, without clients, and restore. The programs are the new version's, as the manual requires."""
    toolbox, folder = upgrade.toolbox, upgrade.toolbox.sibling_path(upgrade.new, DUMP)
    preload = upgrade.source.preloading
    require_success("a folder for the dump", toolbox.sh('umask 077; mkdir "$D"', D=folder))
    old = start_server(toolbox, upgrade.old, upgrade.old_directory, preload, upgrade.source.superuser)
    try:
        globals_ = _run_new_program(
            upgrade, old, "pg_dumpall", "--globals-only", "--no-tablespaces", "-f", f"{folder}/globals.sql"
        )
        require_success("pg_dumpall --globals-only", globals_)
        for number, database in enumerate(upgrade.source.databases):
            upgrade.report(f"dumps database {database}")
            with progress.reporting_progress(
                "dump", progress.measure_dump(toolbox, old, database), upgrade.report, upgrade.pace
            ):
                # The name is in the environment: -d would parse a name with `=` as a connection string.
                done = upgrade.toolbox.run(
                    upgrade.new, "pg_dump", "-Fd", "-j", JOBS, "-f", f"{folder}/{number}",
                    environment=old.environment | {"PGDATABASE": database},
                )  # fmt: skip
            require_success(f"pg_dump of {database}", done)
    finally:
        stop_server(toolbox, upgrade.old, upgrade.old_directory)
    new = start_server(toolbox, upgrade.new, upgrade.unfinished_directory, preload | FAST, upgrade.source.superuser)
    with upgrade.reporting_growth("restore", upgrade.unfinished_directory):
        _restore(upgrade, new, folder)
    stop_server(toolbox, upgrade.new, upgrade.unfinished_directory)
    toolbox.sh('rm -rf "$D"', D=folder)


def _restore(upgrade: Context, new: ServerConnection, folder: str) -> None:
    toolbox, source = upgrade.toolbox, upgrade.source
    as_owners.create_roles(toolbox, new, f"{folder}/globals.sql", source.superuser)
    as_owners.restore_dumps(toolbox, new, folder, source.databases, jobs=int(JOBS), report=upgrade.report)


def _run_new_program(upgrade: Context, server: ServerConnection, *words: str) -> ProgramResult:
    """Run a program of the new version against a server."""
    return upgrade.toolbox.run(upgrade.new, *words, environment=server.environment)


def undo_link(toolbox: Toolbox, old_directory: str) -> None:
    """Undo pg_upgrade --link's rename of the old pg_control. Only safe if the new server has never started."""
    script = 'if [ -f "$C.old" ] && [ ! -f "$C" ]; then mv "$C.old" "$C"; fi'
    require_success(
        "giving the old directory its pg_control back", toolbox.sh(script, C=f"{old_directory}/global/pg_control")
    )

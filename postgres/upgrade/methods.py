"""How the data gets into the new cluster: the four ways of pg_upgrade, a standby in front of `--link`, or a dump."""

from __future__ import annotations

import shlex
import time
from contextlib import nullcontext

from postgres.errors import ServerError
from postgres.upgrade import as_owners, checks, progress, records
from postgres.upgrade.context import Context
from postgres.upgrade.workshop import (
    SECLUDED,
    Done,
    Server,
    Workshop,
    control,
    execute,
    must,
    rows,
    start,
    stop,
    trusting,
    undisturbed,
)  # fmt: skip

CATCH_UP_S = 3600.0
HANDED_OVER_S = 60.0
POLL_S = 0.1
JOBS = "2"
DUMP = "dump"
STATISTICS_KEPT = 18
FAST = {"maintenance_work_mem": "256MB", "fsync": "off", "max_wal_size": "4GB"}
# The walreceiver's own temporary slot: it goes with the connection, so that none can be forgotten and fill the disk.
SLOT = {"wal_receiver_create_temp_slot": "on", "primary_slot_name": ""}
# Left by an earlier restore to a point in time, they would end this recovery there.
RECOVERY = dict.fromkeys(
    ("recovery_target", "recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_xid",
     "restore_command", "archive_cleanup_command", "recovery_end_command"), ""
) | {"recovery_min_apply_delay": "0", "hot_standby": "on"}  # fmt: skip


def make_standby(upgrade: Context) -> None:
    """A streaming standby of the live server beside the new directory, caught up. Raises ServerError."""
    workshop = upgrade.workshop
    upgrade.server.replication(allowed=True)
    with upgrade.growing("make the standby", upgrade.standby):
        done = workshop.run(
            upgrade.old, "pg_basebackup", "-D", upgrade.standby, "-R", "-X", "stream", "--checkpoint=fast",
            "--no-sync", environment=upgrade.live.environment,
        )  # fmt: skip
    must("pg_basebackup", done)
    # a standby stops replaying where it may have fewer of these than its primary
    settings = dict(upgrade.source.standby_settings) | SLOT | RECOVERY | upgrade.source.preloading
    standby = start(workshop, upgrade.old, upgrade.standby, settings, upgrade.source.superuser)
    log, deadline = f"{upgrade.standby}.log", time.monotonic() + CATCH_UP_S
    while not _near(upgrade, standby):
        said = workshop.sh('tail -n 5 "$LOG"', LOG=log)
        if "has already been removed" in said.output:
            raise ServerError(
                "the server removed WAL that the standby had not got yet\n"
                "  `up` again; where it happens again:  pgvector:settings: {wal_keep_size: 4GB}"
            )
        if time.monotonic() > deadline:
            raise ServerError(f"the standby did not catch up within {CATCH_UP_S:.0f} s\n{said.tail()}")
        time.sleep(POLL_S)


def _near(upgrade: Context, standby: Server) -> bool:
    """Streaming, and less than a segment of WAL behind: the rest is sent while the server shuts down."""
    now = execute(upgrade.workshop, upgrade.live, "postgres", "SELECT pg_current_wal_lsn()").strip()
    question = f"""SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'
                      AND pg_wal_lsn_diff('{now}', pg_last_wal_replay_lsn()) < {upgrade.source.wal_segment_bytes}"""
    return bool(rows(upgrade.workshop, standby, "postgres", question))


def hand_over(upgrade: Context) -> checks.Fingerprint:
    """The standby has all of the stopped server's WAL; it becomes a cluster of its own, stopped. Raises ServerError."""
    workshop = upgrade.workshop
    left = _shut_down(upgrade)
    last = left["Latest checkpoint location"]
    standby = Server(upgrade.old, workshop.sockets, user=upgrade.source.superuser)
    deadline = time.monotonic() + HANDED_OVER_S
    while not rows(workshop, standby, "postgres", f"SELECT 1 WHERE pg_last_wal_replay_lsn() > '{last}'::pg_lsn"):
        if time.monotonic() > deadline:
            raise ServerError(f"the standby has not got the last WAL of the stopped server (its end is {last})")
        time.sleep(POLL_S)
    must("promoting the standby", workshop.run(upgrade.old, "pg_ctl", "promote", "-w", "-D", upgrade.standby))
    execute(workshop, standby, "postgres", "ALTER SYSTEM RESET primary_conninfo")
    found = checks.fingerprint(workshop, standby, upgrade.source.databases, exact=False)
    upgrade.drifted = records.drifted(workshop, standby, upgrade.source.databases)
    stop(workshop, upgrade.old, upgrade.standby)
    return found


def look(upgrade: Context) -> checks.Fingerprint:
    """The stopped server's fingerprint, from the old version behind closed doors; stopped again. Raises ServerError."""
    _shut_down(upgrade)
    dump = upgrade.choice.method == "dump"
    server = start(
        upgrade.workshop, upgrade.old, upgrade.old_directory,
        dict(upgrade.source.standby_settings) | upgrade.source.preloading,
        upgrade.source.superuser,
    )  # fmt: skip
    try:
        upgrade.drifted = records.drifted(upgrade.workshop, server, upgrade.source.databases)
        return checks.fingerprint(upgrade.workshop, server, upgrade.source.databases, exact=dump)
    finally:
        stop(upgrade.workshop, upgrade.old, upgrade.old_directory)


def _shut_down(upgrade: Context) -> dict[str, str]:
    found = control(upgrade.workshop, upgrade.old, upgrade.old_directory)
    state = found["Database cluster state"]
    if state != "shut down":
        raise ServerError(
            f"PostgreSQL {upgrade.old} was not shut down cleanly (pg_control says {state!r})\n"
            "  give it more time:  pgvector:stopGraceS"
        )
    return found


def transfer(upgrade: Context) -> None:
    """Raises ServerError with what the tool said; the old directory is as it was."""
    if upgrade.choice.method == "dump":
        _dump_and_restore(upgrade)
    else:
        _pg_upgrade(upgrade)


def _pg_upgrade(upgrade: Context) -> None:
    workshop, method = upgrade.workshop, upgrade.choice.method
    source = upgrade.standby if method == "standby" else upgrade.old_directory
    mode = {"standby": "--link", "link": "--link", "clone": "--clone", "copy": "--copy"}[method]
    options = f"-c hba_file={trusting(workshop)} -c logging_collector=off -c archive_mode=off"
    options += f" -c shared_preload_libraries={shlex.quote(upgrade.source.preload)}"
    options += "".join(f" -c {name}={shlex.quote(value)}" for name, value in SECLUDED.items())
    words = ["pg_upgrade", mode, "-b", workshop.programs(upgrade.old), "-B", workshop.programs(upgrade.new),
             "-d", source, "-D", upgrade.unfinished, "-U", upgrade.source.superuser, "-j", JOBS,
             "-o", options, "-O", options, "-p", "50432", "-P", "50433", "-s", workshop.sockets]  # fmt: skip
    if upgrade.new >= STATISTICS_KEPT and upgrade.source.all("checked_domains"):
        # a value that comes back is checked as its type demands, by the superuser; they are collected anew
        words.append("--no-statistics")
    copies = upgrade.growing("transfer", upgrade.unfinished) if method == "copy" else nullcontext()
    with copies:  # it writes into its working directory
        done = workshop.run(
            upgrade.new, "sh", "-c", f"cd {shlex.quote(workshop.sockets)} && exec {shlex.join(words)}",
            # bytes as they are, whatever encoding a database sets for its clients: both sides have the same
            environment={"PGOPTIONS": undisturbed(upgrade.old), "PGCLIENTENCODING": "SQL_ASCII"},
        )  # fmt: skip
    if done.code != 0:
        raise ServerError(f"pg_upgrade failed\n{done.tail(20)}{_reports(workshop, upgrade.unfinished)}")
    workshop.sh('rm -rf "$D/pg_upgrade_output.d" "$S"/delete_old_cluster.sh', D=upgrade.unfinished, S=workshop.sockets)


def _reports(workshop: Workshop, directory: str) -> str:
    """What pg_upgrade wrote into files: the failing objects."""
    script = (
        'find "$D/pg_upgrade_output.d" -name "*.txt" -size +0 -exec head -n 10 {} + 2>/dev/null;'
        ' find "$D/pg_upgrade_output.d" -name "*.log" -exec grep -h -i -E "error|fatal" {} + 2>/dev/null | tail -n 10'
    )
    said = workshop.sh(f"{script} || true", D=directory)
    return f"\n{said.tail(20)}" if said.output.strip() else ""


def _dump_and_restore(upgrade: Context) -> None:
    """With the new version's pg_dump, as its manual demands, from the old server behind closed doors."""
    workshop, folder = upgrade.workshop, upgrade.workshop.beside(upgrade.new, DUMP)
    preload = upgrade.source.preloading
    must("a folder for the dump", workshop.sh('umask 077; mkdir "$D"', D=folder))
    old = start(workshop, upgrade.old, upgrade.old_directory, preload, upgrade.source.superuser)
    try:
        globals_ = _program(
            upgrade, old, "pg_dumpall", "--globals-only", "--no-tablespaces", "-f", f"{folder}/globals.sql"
        )
        must("pg_dumpall --globals-only", globals_)
        for number, database in enumerate(upgrade.source.databases):
            upgrade.report(f"dumps database {database}")
            with progress.told("dump", progress.dump(workshop, old, database), upgrade.report, upgrade.pace):
                # its name in the environment: -d takes a `=` apart
                done = upgrade.workshop.run(
                    upgrade.new, "pg_dump", "-Fd", "-j", JOBS, "-f", f"{folder}/{number}",
                    environment=old.environment | {"PGDATABASE": database},
                )  # fmt: skip
            must(f"pg_dump of {database}", done)
    finally:
        stop(workshop, upgrade.old, upgrade.old_directory)
    new = start(workshop, upgrade.new, upgrade.unfinished, preload | FAST, upgrade.source.superuser)
    with upgrade.growing("restore", upgrade.unfinished):
        _restore(upgrade, new, folder)
    stop(workshop, upgrade.new, upgrade.unfinished)
    workshop.sh('rm -rf "$D"', D=folder)


def _restore(upgrade: Context, new: Server, folder: str) -> None:
    workshop, source = upgrade.workshop, upgrade.source
    as_owners.make_roles(workshop, new, f"{folder}/globals.sql", source.superuser)
    as_owners.restore(workshop, new, folder, source.databases, jobs=int(JOBS), report=upgrade.report)


def _program(upgrade: Context, server: Server, *words: str) -> Done:
    """Of the new version, against whichever server."""
    return upgrade.workshop.run(upgrade.new, *words, environment=server.environment)


def undo_link(workshop: Workshop, old_directory: str) -> None:
    """pg_upgrade --link renames the old pg_control so that nobody starts it; before the new one was, it may go back."""
    script = 'if [ -f "$C.old" ] && [ ! -f "$C" ]; then mv "$C.old" "$C"; fi'
    must("giving the old directory its pg_control back", workshop.sh(script, C=f"{old_directory}/global/pg_control"))

"""Runs the steps of an upgrade. `decision.py` chooses the method, and `methods.py` moves the data.

prepare → rehearse → back up → [make the standby] → stop → [hand over] → transfer → verify → keep. Until `stop`, the old
server serves clients and its data isn't changed. If a step from `stop` on fails, the old server is started again,
except after `link` has started the new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from pgvector_stacks.backup import recorded_schema
from pgvector_stacks.common.errors import PgstackError, ServerError
from pgvector_stacks.docker.container_spec import HBA_FILE
from pgvector_stacks.toolbox.interface import (
    Report,
    Toolbox,
    query_rows,
    read_control_data,
    require_success,
    start_server,
    stop_server,
)
from pgvector_stacks.upgrade import methods, rehearsal
from pgvector_stacks.upgrade.checks import finish, quick_check
from pgvector_stacks.upgrade.context import STANDBY, UNFINISHED, Context, do_nothing
from pgvector_stacks.upgrade.journal import Journal, Next, next_step

JOURNAL = "upgrade.json"
REHEARSAL = "rehearsal"
CHECKSUMS_BY_DEFAULT = 18
LEFTOVERS = (
    UNFINISHED, STANDBY, REHEARSAL, methods.DUMP, *(f"{name}.log" for name in (UNFINISHED, STANDBY, REHEARSAL)),
    f"{REHEARSAL}.dump", f"{REHEARSAL}.sql", f"{REHEARSAL}.sql.new",  # .sql: an earlier version's
)  # fmt: skip
R = TypeVar("R")


class Upgrade(Context):
    """One run of an upgrade, with its steps."""

    def carry_out(self) -> Journal:
        """Run all steps and return the journal. Afterwards no server runs. Raises PgstackError."""
        remove_leftovers(self.toolbox, self.old, self.new)
        try:
            self._step("prepare", self._prepare)
            self._step("rehearse", self._rehearse)
            if self.backup is not None:
                self._step("back up", self.backup)
            if self.choice.method == "standby":
                self._step("make the standby", lambda: methods.make_standby(self))
        except BaseException:
            self._remove_unfinished()
            raise
        self.stopped_at = time.monotonic()
        try:
            self._step("stop", self.server.stop)
            with self.server.locking_directories():
                journal = self._upgrade_stopped_server()
        except BaseException as error:
            self._restart_old_server(error)
            raise
        self._report_times(journal)
        return journal

    def _upgrade_stopped_server(self) -> Journal:
        if self.choice.method == "standby":
            before = self._step("hand over", lambda: methods.hand_over(self))
        else:
            before = self._step("look", lambda: methods.fingerprint_stopped_server(self))
        self._step("transfer", lambda: methods.transfer(self))
        self._step("verify", lambda: self._verify(before))
        return self._step("keep", self._keep)

    def _step(self, name: str, act: Callable[[], R]) -> R:
        self.before(name)
        began = time.monotonic()
        write_journal(self.toolbox, self._journal(step=name))
        self.report(f"upgrade {self.old} → {self.new}: {name}")
        found = act()
        self.seconds[name] = time.monotonic() - began
        return found

    def _journal(self, **more: Any) -> Journal:
        return Journal(
            old=self.old, new=self.new, method=self.choice.method, superuser=self.source.superuser,
            irreversible=self.irreversible, drifted=self.drifted, old_image=self.old_image, **more,
        )  # fmt: skip

    def _prepare(self) -> None:
        """Create an empty cluster of the new version, with the settings of the old one's initdb."""
        words = ["initdb", "-D", self.unfinished_directory, "-U", self.source.superuser, "-E", self.source.encoding,
                 f"--lc-collate={self.source.collate}", f"--lc-ctype={self.source.ctype}",
                 f"--wal-segsize={self.source.wal_segment_mb}"]  # fmt: skip
        if self.source.checksums:
            words.append("--data-checksums")
        elif self.new >= CHECKSUMS_BY_DEFAULT:
            words.append("--no-data-checksums")
        require_success(f"initdb of PostgreSQL {self.new}", self.toolbox.run(self.new, *words))
        # initdb writes `trust`; --auth=scram-sha-256 would make it ask for a password
        script = "sed -i -E 's/^((local|host).*[[:space:]])trust$/\\1scram-sha-256/' \"$FILE\""
        require_success("writing pg_hba.conf", self.toolbox.sh(script, FILE=f"{self.unfinished_directory}/{HBA_FILE}"))

    def _rehearse(self) -> None:
        copy = self.toolbox.sibling_path(self.new, REHEARSAL)
        require_success(
            "a copy of the new cluster", self.toolbox.sh('cp -a "$A" "$B"', A=self.unfinished_directory, B=copy)
        )
        try:
            self.known_path = rehearsal.rehearse(
                self.toolbox, self.source, self.new, self.live, copy, self.settings, self.report,
                method=self.choice.method,
            )  # fmt: skip
        finally:
            self.toolbox.sh('rm -rf "$A" "$A.log"', A=copy)

    def _verify(self, before: quick_check.Fingerprint) -> None:
        """Start the new server without clients, compare the data, finish what the new version needs, and stop."""
        finish.carry_settings(self.toolbox, self.source, self.unfinished_directory, self.known_path)
        if self.choice.method == "link":
            self.irreversible = True
            write_journal(self.toolbox, self._journal(step="verify"))
            self.report(f"link: from here on there is no way back to PostgreSQL {self.old}")
        server = start_server(self.toolbox, self.new, self.unfinished_directory, self.settings, self.source.superuser)
        databases = list(self.source.databases)
        exact = self.choice.method == "dump"
        quick_check.check_equal(before, quick_check.take_fingerprint(self.toolbox, server, databases, exact=exact))
        # the indexes of a restored dump were built with the new libraries
        known = {name: () if exact else each.text_indexes for name, each in self.source.databases.items()}
        finish.finish_databases(
            self.toolbox, server, databases, self.report, statistics=self.new < methods.STATISTICS_KEPT, known=known,
            reindex=self.reindex,
        )  # fmt: skip
        recorded_schema.record_again(self.toolbox, server, self.drifted)
        asked = quick_check.check_vector_indexes(self.toolbox, server, databases)
        stop_server(self.toolbox, self.new, self.unfinished_directory)
        self.report(f"the data is the same ({len(before)} things compared), {asked} vector indexes answer")

    def _keep(self) -> Journal:
        journal = promote(
            self.toolbox,
            self._journal(
                step="keep",
                # After `link` there is no rollback: the new server owns the files, and pg_upgrade disabled the old one.
                old_checkpoint=read_checkpoint(self.toolbox, self.old, self.old_directory)
                if self.choice.rollback
                else "",
                downtime_s=round(time.monotonic() - self.stopped_at, 1),
            ),
        )
        self._forbid_replication()
        remove_leftovers(self.toolbox, self.old, self.new)  # safe after link, too: its directory has the final name now
        return journal

    def _restart_old_server(self, why: BaseException) -> None:
        """Start the old server again after a failure, if there is a way back."""
        self._remove_unfinished()
        if self.irreversible:
            self.report(
                f"link gave the way back up: PostgreSQL {self.new} was started on the files of {self.old}, which can't"
                f" be started any more; the next `up` goes on from what {self.new} has"
            )
            return
        methods.undo_link(self.toolbox, self.old_directory)
        try:
            self.server.start()
        except PgstackError as error:
            raise ServerError(f"{why}\n  and PostgreSQL {self.old} doesn't start again: {error}") from None
        self.report(f"PostgreSQL {self.old} serves again: its data directory was not touched")

    def _remove_unfinished(self) -> None:
        """Remove what is unfinished, and forbid the standby's connection again."""
        self._forbid_replication()
        if not self.irreversible:
            remove_leftovers(self.toolbox, self.old, self.new)

    def _forbid_replication(self) -> None:
        if self.choice.method == "standby":
            self.server.set_replication(allowed=False)

    def _report_times(self, journal: Journal) -> None:
        lines = [f"{name:<18}{seconds:>8.1f} s" for name, seconds in self.seconds.items()]
        table = "\n  ".join(lines)
        self.report(f"upgraded {self.old} → {self.new} ({self.choice.method})\n  {table}\n"
                    f"  down until here   {journal.downtime_s:>8.1f} s")  # fmt: skip


def remove_leftovers(toolbox: Toolbox, old: int, new: int) -> None:
    """Remove what an interrupted run left: servers and unfinished directories. Never removes a finished directory.

    Raises ServerError if the unfinished directory has the only data: see `find_finished_upgrade`.
    """
    journal = read_journal(toolbox, new)
    if journal is not None and journal.irreversible and _can_start(toolbox, toolbox.sibling_path(new, UNFINISHED)):
        raise ServerError(
            f"{toolbox.sibling_path(new, UNFINISHED)} holds the data of PostgreSQL {old}, linked: `up` with {new} "
            "goes on"
        )
    for name, major in ((UNFINISHED, new), (REHEARSAL, new), (STANDBY, old)):
        stop_immediately(toolbox, major, toolbox.sibling_path(new, name))
    paths = "\n".join(toolbox.sibling_path(new, name) for name in LEFTOVERS)
    script = 'echo "$PATHS" | while IFS= read -r path; do rm -rf "$path"; done'
    require_success("removing what is left of an upgrade", toolbox.sh(script, PATHS=paths))


def stop_immediately(toolbox: Toolbox, major: int, directory: str) -> None:
    """Stop a server immediately, if one runs there. The directory is recovered at its next start, or removed."""
    if toolbox.sh('test -f "$D/postmaster.pid"', D=directory).code == 0:
        toolbox.run(major, "pg_ctl", "stop", "-w", "-m", "immediate", "-D", directory)


def _can_start(toolbox: Toolbox, directory: str) -> bool:
    """Return whether a server could start on the directory. pg_upgrade --link renames the old one's pg_control."""
    return toolbox.sh('test -f "$D/global/pg_control"', D=directory).code == 0


def read_checkpoint(toolbox: Toolbox, major: int, directory: str) -> str:
    """Return the last checkpoint's location and time, and the cluster's state. Every start of a server changes one."""
    return _format_checkpoint(read_control_data(toolbox, major, directory))


def _format_checkpoint(found: Mapping[str, str]) -> str:
    return (
        f"{found['Latest checkpoint location']} {found['Time of latest checkpoint']} {found['Database cluster state']}"
    )


def promote(toolbox: Toolbox, journal: Journal) -> Journal:
    """Write `verified` into the journal, then give the new directory its final name. Raises ServerError."""
    unfinished = toolbox.sibling_path(journal.new, UNFINISHED)
    made = read_control_data(toolbox, journal.new, unfinished)
    journal = journal.model_copy(
        update={
            "verified": True,
            "new_checkpoint": _format_checkpoint(made),
            "identifier": made["Database system identifier"],
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    write_journal(toolbox, journal)
    script = 'mv -T "$FROM" "$TO"; sync "$(dirname "$TO")"'
    done = toolbox.sh(script, FROM=unfinished, TO=toolbox.directory(journal.new))
    require_success("giving the new data directory its name", done)
    return journal


def write_journal(toolbox: Toolbox, journal: Journal) -> None:
    """Write the journal durably: sync, then rename. Raises ServerError."""
    script = """
        mkdir -p "$(dirname "$F")"
        printf %s "$T" >"$F.new"
        sync "$F.new"
        mv -T "$F.new" "$F"
        sync "$(dirname "$F")"
    """
    done = toolbox.sh(script, F=toolbox.sibling_path(journal.new, JOURNAL), T=journal.model_dump_json())
    require_success("writing the upgrade's journal", done)


def read_journal(toolbox: Toolbox, new: int) -> Journal | None:
    """Read the journal beside the new data directory; None if there is none. Raises ServerError."""
    done = toolbox.sh('if [ -f "$F" ]; then cat "$F"; fi', F=toolbox.sibling_path(new, JOURNAL))
    text = require_success("reading the upgrade's journal", done).strip()
    return Journal.model_validate_json(text) if text else None


def plan_next_run(toolbox: Toolbox, old: int, new: int, *, serves: bool) -> tuple[Next, Journal | None]:
    """Return how the next run will continue, and the journal; change nothing. `serves`: whether the old server runs.

    Raises ServerError if only the operator can decide.
    """
    journal = read_journal(toolbox, new)
    directories = {major: toolbox.directory(major) for major in (old, new)}
    last = {
        major: read_checkpoint(toolbox, major, directory) if _can_start(toolbox, directory) else ""
        for major, directory in directories.items()
    }
    step = next_step(
        journal, old_checkpoint="?" if serves else last[old], new_checkpoint=last[new],
        unfinished=_can_start(toolbox, toolbox.sibling_path(new, UNFINISHED)),
    )  # fmt: skip
    return step, journal


def find_finished_upgrade(
    toolbox: Toolbox, old: int, new: int, *, serves: bool, settings: Mapping[str, str] | None = None,
    report: Report = do_nothing,
) -> Journal | None:  # fmt: skip
    """Return the journal of an upgrade that a killed run has finished; None if the upgrade must start over.

    `serves`: whether the old server runs. An unfinished upgrade by `link` may have no way back. It is finished here,
    with `settings` for the new server. Raises ServerError.
    """
    step, journal = plan_next_run(toolbox, old, new, serves=serves)
    if journal is not None and step == "go on":
        remove_leftovers(toolbox, old, new)  # the killed run may have left its standby, which is as large as the data
        return journal
    if journal is not None and step == "finish":
        return _finish_linked(toolbox, journal, settings or {}, report)
    if _can_start(toolbox, toolbox.directory(new)):
        require_success("removing a new directory that never served",
             toolbox.sh('rm -rf "$D"', D=toolbox.directory(new)))  # fmt: skip
    return None


def _finish_linked(toolbox: Toolbox, journal: Journal, settings: Mapping[str, str], report: Report) -> Journal:
    """Run `verify` without the comparison, because the old data is gone, then `keep`. Raises ServerError."""
    unfinished = toolbox.sibling_path(journal.new, UNFINISHED)
    report(f"continues the interrupted upgrade {journal.old} → {journal.new}: link left no way back")
    stop_immediately(toolbox, journal.new, unfinished)
    server = start_server(toolbox, journal.new, unfinished, settings, journal.superuser)
    query = "SELECT datname AS name FROM pg_database WHERE datallowconn ORDER BY oid"
    databases = [row["name"] for row in query_rows(toolbox, server, "postgres", query)]
    finish.finish_databases(toolbox, server, databases, report, statistics=journal.new < methods.STATISTICS_KEPT)
    recorded_schema.record_again(toolbox, server, journal.drifted)
    quick_check.check_vector_indexes(toolbox, server, databases)
    stop_server(toolbox, journal.new, unfinished)
    journal = promote(toolbox, journal.model_copy(update={"step": "keep"}))
    remove_leftovers(toolbox, journal.old, journal.new)
    return journal

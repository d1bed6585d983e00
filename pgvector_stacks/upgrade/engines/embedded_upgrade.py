"""Upgrades the embedded engine, from the running old server to the running new one.

Steps: clean up after a killed run → accept an upgrade that a killed run has finished → start the old server if it is
down → query it, and refuse or upgrade it → start the new server. A guardian watches: see `embedded_guardian.py`.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pgvector_stacks.common.errors import PgstackError, ServerError
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.toolbox import embedded_toolbox
from pgvector_stacks.toolbox.interface import Report, ServerConnection, Toolbox, connect_with_password, require_success
from pgvector_stacks.upgrade import decision, facts, methods, rollback, run
from pgvector_stacks.upgrade.backup_first import BackupFirst
from pgvector_stacks.upgrade.checks import collations
from pgvector_stacks.upgrade.context import UNFINISHED, do_nothing
from pgvector_stacks.upgrade.engines import embedded_guardian
from pgvector_stacks.upgrade.engines.embedded_control import EmbeddedServerControl
from pgvector_stacks.upgrade.engines.embedded_guardian import Job
from pgvector_stacks.upgrade.journal import Journal
from pgvector_stacks.upgrade.no_drift import NoDrift
from pgvector_stacks.upgrade.progress import PACE, Pace

FICLONE = 0x40049409  # linux/fs.h
WAIT_S = 60.0
VERSION_KEY = "pgvector:postgresVersion"


@dataclass(frozen=True, slots=True)
class UpgradeOutcome:
    """The result of an upgrade. `downtime_s`: until the new server answered, None if an interrupted run did a part."""

    method: decision.Method
    downtime_s: float | None


def describe(
    job: Job, password: str, method: decision.Method | None, *, no_drift: NoDrift | None = None,
    reindex: decision.Reindex = "before",
) -> str:  # fmt: skip
    """Describe what `up` would do; change nothing. Raises PgstackError if `up` would refuse, psycopg.Error."""
    root, old = Path(job.root), job.directory(job.old)
    if not old.made:
        raise ServerError(f"{VERSION_KEY}: there is no data of PostgreSQL {job.old} in {old.path} to upgrade")
    serves = embedded_server.find_postmaster(old) is not None
    with embedded_toolbox.open_toolbox(root) as toolbox:
        step, _ = run.plan_next_run(toolbox, job.old, job.new, serves=serves)
    if step != "start over":
        return f"an interrupted `up` upgraded PostgreSQL {job.old} → {job.new}: this one continues from there"
    if not serves:
        return (
            f"PostgreSQL {job.old} is down: `up` starts it first, then asks it whether it can be upgraded to {job.new},"
            f" and upgrades it"
        )
    source, target, choice = _decide(job, password, method, no_drift)
    return collations.describe_upgrade(source, target, choice, reindex)


def upgrade(
    job: Job,
    password: str,
    method: decision.Method | None,
    report: Report,
    *,
    backup: BackupFirst | None = None,
    no_drift: NoDrift | None = None,
    reindex: decision.Reindex = "before",
    before: Callable[[str], None] = do_nothing,
    pace: Pace = PACE,
) -> UpgradeOutcome:
    """Run the upgrade, and return with the new server running. Raises PgstackError, psycopg.Error.

    After an exception the old server serves again. After `link` it may not be able to; the report says so then.
    """
    root, old = Path(job.root), job.directory(job.old)
    with embedded_toolbox.open_toolbox(root) as toolbox, embedded_guardian.guarding(job, toolbox.private):
        embedded_guardian.clean_up_after_kill(job, toolbox)
        serves = embedded_server.find_postmaster(old) is not None
        journal = run.find_finished_upgrade(
            toolbox, job.old, job.new, serves=serves, settings=job.settings, report=report
        )
        if journal is not None:
            embedded_guardian.start_new_server(job)
            return UpgradeOutcome(journal.method, None)
        port = embedded_server.start(old, job.old_settings)
        embedded_server.ensure_password(old, port, password)
        source, _, choice = _decide(job, password, method, no_drift)
        control = EmbeddedServerControl(old, job.directory(job.new), job.old_settings, port)
        live = connect_with_password(toolbox, job.old, embedded_server.HOST, port, _admin_address(port, password))
        here = nullcontext((toolbox, live)), nullcontext(toolbox)
        first = partial(backup.make, *here, report, pace) if backup else None
        made = run.Upgrade(
            toolbox, control, source, job.new, choice, live, job.settings, report, backup=first, before=before,
            pace=pace, reindex=reindex,
        )  # fmt: skip
        journal = made.carry_out()
        try:
            before("serve")
            embedded_guardian.start_new_server(job)
        except BaseException as error:
            _restart_old_server(job, toolbox, control, journal, error, report)
            raise
        downtime_s = round(time.monotonic() - made.stopped_at, 1)
        report(f"PostgreSQL {job.new} serves; down for {downtime_s} s")
        return UpgradeOutcome(journal.method, downtime_s)


@contextmanager
def open_toolbox_at_server(job: Job, password: str) -> Iterator[tuple[Toolbox, ServerConnection]]:
    """Open a toolbox that reaches the new server, once it runs."""
    port = embedded_server.read_last_port(job.directory(job.new)) or 0
    with embedded_toolbox.open_toolbox(Path(job.root)) as made:
        yield made, connect_with_password(made, job.new, embedded_server.HOST, port, _admin_address(port, password))


def _admin_address(port: int, password: str) -> Address:
    return Address(embedded_server.HOST, port, "postgres", embedded_server.ADMIN, password)


def is_rollback_requested(job: Job) -> bool:
    """Return whether a rollback from `job.old` to the lower `job.new` is requested. Raises ServerError."""
    with embedded_toolbox.open_toolbox(Path(job.root)) as toolbox:
        return bool(rollback.read_state(toolbox, job.new, job.old))


def roll_back(job: Job) -> None:
    """Stop the server and set its data directory aside. The kept directory's data is unchanged. Raises ServerError."""
    kept, served = job.directory(job.new), job.directory(job.old)
    port = embedded_server.read_last_port(served) if served.made else None
    if served.made:
        embedded_server.stop(served)
    with embedded_toolbox.open_toolbox(Path(job.root)) as toolbox:
        rollback.carry_out(toolbox, job.old)
    if port is not None:  # the applications use this port
        embedded_server.write_settings(kept, port, embedded_server.read_settings(kept))


def _restart_old_server(
    job: Job, toolbox: embedded_toolbox.EmbeddedToolbox, control: EmbeddedServerControl, journal: Journal,
    why: BaseException,
    report: Report,
) -> None:  # fmt: skip
    """Start the old server after the new one failed to start, unless `link` left no way back."""
    if embedded_server.find_postmaster(job.directory(job.new)) is not None:
        return  # the new server runs after all, and the next `up` finds it
    if not journal.rollback:
        report(f"link gave the way back up: the next `up` starts PostgreSQL {job.new}")
        return
    script = 'mv -T "$A" "$B"'
    unfinished = toolbox.sibling_path(job.new, UNFINISHED)
    require_success("setting the new directory aside", toolbox.sh(script, A=toolbox.directory(job.new), B=unfinished))
    try:
        control.start()
    except PgstackError as error:
        raise ServerError(f"{why}\n  and PostgreSQL {job.old} doesn't start again: {error}") from None
    run.remove_leftovers(toolbox, job.old, job.new)
    report(f"PostgreSQL {job.old} serves again: its data directory was not touched")


def _decide(
    job: Job, password: str, method: decision.Method | None, no_drift: NoDrift | None
) -> tuple[facts.SourceServer, facts.TargetVersion, decision.Choice]:
    """Query the old server and choose a method. Raises ServerError with all refusals, DriftRefused, psycopg.Error,
    ConnectionFailed.
    """
    port = embedded_server.read_last_port(job.directory(job.old)) or 0
    address = _admin_address(port, password)
    source, target = facts.query_source(address), read_target_of_wheel(job.new)
    if reasons := decision.find_refusals(source, target):
        listed = "\n".join(reasons)
        raise ServerError(f"{VERSION_KEY}: PostgreSQL {source.version} can't be upgraded to {target.version}\n{listed}")
    if no_drift is not None:
        no_drift.must_hold(address, source)
    return source, target, decision.choose_method(source, measure_disk(Path(job.root)), method)


def read_target_of_wheel(major: int) -> facts.TargetVersion:
    """Read version and extensions of the wheel's programs for a major version. Raises ServerError."""
    folder = embedded_server.find_bin_directory(major)
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r" (\d+)\.(\d+)", said)
    if number is None:
        raise ServerError(f"{folder / 'postgres'} doesn't say its version: {said.strip()}")
    extensions = {}
    for control in (folder.parent / "share" / "postgresql" / "extension").glob("*.control"):
        version = re.search(r"^default_version\s*=\s*'([^']*)'", control.read_text(), re.MULTILINE)
        if version is not None:
            extensions[control.stem] = version[1]
    return facts.TargetVersion(int(number[1]), int(number[2]), extensions or None, platform.libc_ver()[1] or None)


def measure_disk(root: Path) -> facts.Disk:
    """Measure the free space below `root`, and check whether its file system has reflinks."""
    return facts.Disk(shutil.disk_usage(root).free, _has_reflinks(root))


def _has_reflinks(root: Path) -> bool:
    try:
        import fcntl

        with (
            tempfile.NamedTemporaryFile(prefix=".pgstack-", dir=root) as one,
            tempfile.NamedTemporaryFile(prefix=".pgstack-", dir=root) as other,
        ):
            one.write(b"x" * os.sysconf("SC_PAGE_SIZE"))
            one.flush()
            fcntl.ioctl(other.fileno(), FICLONE, one.fileno())
    except (ImportError, OSError):
        return False
    return True


def check_is_current(directory: embedded_server.Directory) -> None:
    """Check that a directory has the current data, before a normal start. Otherwise raise ServerError with the major
    version to declare.

    An interrupted `up` may have left the new version serving, and then somebody set the stack file back.
    """
    root = directory.path.parent
    for major in embedded_server.VERSIONS:
        other = embedded_server.Directory(root / str(major), major)
        if major == directory.major or embedded_server.find_postmaster(directory) is not None:
            continue
        if embedded_server.find_postmaster(other) is not None:
            raise ServerError(
                f"{VERSION_KEY}: PostgreSQL {major} serves this stack's data since an `up` that was interrupted\n"
                f"  set it to {major}, then `up` again"
            )
        if not directory.made or (directory.path / "global" / "pg_control").exists() or major < directory.major:
            continue
        # pg_control is missing: pg_upgrade --link renames it, so that only one of the servers can start
        with embedded_toolbox.open_toolbox(root) as toolbox:
            step, _ = run.plan_next_run(toolbox, directory.major, major, serves=False)
            if step != "start over":
                raise ServerError(
                    f"{VERSION_KEY}: the files of PostgreSQL {directory.major} are {major}'s since an upgrade by link\n"
                    f"  set it to {major}, then `up` again"
                )
            run.remove_leftovers(toolbox, directory.major, major)
            methods.undo_link(toolbox, str(directory.path))

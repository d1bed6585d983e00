"""Cleans up after a killed upgrade of the embedded engine, and starts the server that has the data.

The guardian is a small process that holds the read end of a pipe. The upgrade writes "done" at its end, also after a
failure that it has handled itself. If the pipe closes without that word, the upgrade was killed. The guardian then
kills the processes that the upgrade started, removes what is unfinished, and starts the server that has the data.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from pgvector_stacks.common.errors import PgstackError, ServerError
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.toolbox import embedded_toolbox
from pgvector_stacks.upgrade import methods, run

LOCK, LOG = "upgrade.lock", "upgrade.log"
DONE = "done"
READY_S = 600.0  # an earlier guardian may still be working
GONE_S = 60.0
POLL_S = 0.1
UNTOUCHED = ("", "prepare", "rehearse", "back up", "make the standby")  # steps before the old server is stopped


@dataclass(frozen=True, slots=True)
class Job:
    """An upgrade on this machine: directories, versions, settings, but no password. `root`: `.data/<stack>`.

    `port`: the new server's, None for the old one's.
    """

    root: str
    old: int
    new: int
    old_settings: dict[str, str]
    settings: dict[str, str]
    port: int | None = None

    def directory(self, major: int) -> embedded_server.Directory:
        return embedded_server.Directory(Path(self.root) / str(major), major)

    @property
    def leftovers(self) -> list[str]:
        """The paths that an unfinished run leaves, see `run.remove_leftovers`."""
        return [str(Path(self.root) / f"{self.new}.{name}") for name in run.LEFTOVERS]


@contextmanager
def guarding(job: Job, private: Path) -> Iterator[None]:
    """Run a guardian while the context is open. Wait first until an earlier guardian has ended.

    `private`: the toolbox's folder. Raises ServerError.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", __name__], cwd=Path(__file__).parents[3], start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(asdict(job) | {"private": str(private)}) + "\n")
        process.stdin.flush()
        _must_be_ready(process, process.stdout)
        try:
            yield
        finally:
            process.stdin.write(DONE)
    finally:
        with suppress(BrokenPipeError):  # the guardian itself was killed
            process.stdin.close()
        process.stdout.close()
        process.wait()


def _must_be_ready(process: subprocess.Popen[str], said: IO[str]) -> None:
    if not select.select([said], [], [], READY_S)[0]:
        process.kill()
        raise ServerError(
            "another upgrade of this stack is still at work on this machine: wait for it, then `up` again"
        )
    if said.readline().strip() != "ready":
        raise ServerError("the upgrade's guardian does not start; nothing was touched")


def wait_for_guardian(root: Path, timeout_s: float = READY_S) -> None:
    """Wait until no guardian works below `root`, because its work isn't complete before. Raises ServerError."""
    import fcntl

    path = root / LOCK
    if not path.exists():
        return
    deadline = time.monotonic() + timeout_s
    with path.open() as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServerError("an upgrade of this stack is at work on this machine: wait for it") from None
            time.sleep(POLL_S)


def clean_up_after_kill(job: Job, toolbox: embedded_toolbox.EmbeddedToolbox, *, private: str = "") -> None:
    """End and remove everything that a killed run left, so that the old directory can start. Raises PgstackError."""
    old = job.directory(job.old)
    kill_processes([*job.leftovers, *([private] if private else [])], mark=private, spared=str(old.path))
    journal = run.read_journal(toolbox, job.new)
    killed_behind_doors = journal is not None and not journal.verified and journal.step not in UNTOUCHED
    if embedded_server.find_postmaster(old) is not None and (killed_behind_doors or _is_closed_to_clients(old)):
        embedded_server.stop(old)  # it may be shutting down, or accept no clients
    step = run.plan_next_run(toolbox, job.old, job.new, serves=embedded_server.find_postmaster(old) is not None)[0]
    if step != "finish":
        run.remove_leftovers(toolbox, job.old, job.new)
    if step == "start over":
        methods.undo_link(toolbox, str(old.path))


def start_current_server(job: Job, toolbox: embedded_toolbox.EmbeddedToolbox) -> None:
    """Start the server that has the data, unless it runs. Raises PgstackError."""
    old, new = job.directory(job.old), job.directory(job.new)
    if embedded_server.find_postmaster(old) is not None or embedded_server.find_postmaster(new) is not None:
        return
    step = run.plan_next_run(toolbox, job.old, job.new, serves=False)[0]
    if step == "go on":
        start_new_server(job)
    elif step == "start over":
        embedded_server.start(old, job.old_settings)
    # "finish" is left to the next `up`, see run.find_finished_upgrade


def start_new_server(job: Job) -> int:
    """Start the upgraded server for clients and return its port. Raises ServerError."""
    new = job.directory(job.new)
    embedded_server.include_settings(new.path)
    return embedded_server.start(
        new, job.settings, port=job.port or embedded_server.read_last_port(job.directory(job.old))
    )


def kill_processes(paths: Iterable[str], *, mark: str, spared: str) -> None:
    """Kill processes that name one of the paths in their command line, work in one, or belong to the toolbox `mark`.

    A server on the directory `spared` isn't killed, because it must shut down cleanly. Raises ServerError if a process
    doesn't end.
    """
    named = re.compile("|".join(rf"{re.escape(path)}(?![\w.-])" for path in paths))
    deadline = time.monotonic() + GONE_S
    while found := [process for process in psutil.process_iter() if _belongs_to_upgrade(process, named, mark, spared)]:
        for process in found:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        if time.monotonic() > deadline:
            raise ServerError(f"process {found[0].pid} of an interrupted upgrade does not end")
        time.sleep(POLL_S)


def _belongs_to_upgrade(process: psutil.Process, named: re.Pattern[str], mark: str, spared: str) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        cwd = process.cwd()
        if cwd == spared:
            return False
        if named.fullmatch(cwd) or named.search(" ".join(process.cmdline())):
            return True
        return bool(mark) and process.environ().get(embedded_toolbox.MARK) == mark
    except (psutil.Error, OSError):
        return False


def _is_closed_to_clients(directory: embedded_server.Directory) -> bool:
    """Return whether the directory's server was started only for the upgrade: only such a server names its socket."""
    process = embedded_server.find_postmaster(directory)
    try:
        return process is not None and "unix_socket" in " ".join(psutil.Process(process).cmdline())
    except psutil.Error:
        return False


def main() -> None:
    """Read the job from stdin, and print `ready` once no other guardian works on the same data."""
    import fcntl

    arguments = json.loads(sys.stdin.readline())
    private = Path(arguments.pop("private"))
    job = Job(**arguments)
    root = Path(job.root)
    with (root / LOCK).open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _end_earlier_guardian(job, lock)
        lock.write(str(private))
        lock.flush()
        print("ready", flush=True)  # noqa: T201
        if sys.stdin.read() != DONE:
            (root / LOG).write_text(f"{_recover_from_kill(job, private)}\n")
        lock.truncate(0)


def _end_earlier_guardian(job: Job, lock: IO[str]) -> None:
    """End the processes of an earlier, killed guardian, and remove its toolbox's folder, which holds a password."""
    lock.seek(0)
    folder = lock.read()
    lock.truncate(0)
    if folder:
        with suppress(PgstackError):
            kill_processes([folder], mark=folder, spared=str(job.directory(job.old).path))
        shutil.rmtree(folder, ignore_errors=True)


def _recover_from_kill(job: Job, private: Path) -> str:
    """Clean up and start the server. Return a line for the log that says what was done."""
    try:
        # this toolbox needs no private folder, because it starts no server with a socket
        toolbox = embedded_toolbox.EmbeddedToolbox(Path(job.root), Path(job.root))
        clean_up_after_kill(job, toolbox, private=str(private))
        start_current_server(job, toolbox)
    except (PgstackError, OSError, psutil.Error) as error:
        return f"an upgrade was killed, and not all of it could be put right: {error}"
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return "an upgrade was killed: what it had started is gone, and the server that has the data serves"


if __name__ == "__main__":
    main()

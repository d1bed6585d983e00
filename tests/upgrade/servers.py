"""An embedded server of the old major with some of everything in it: made once a session, copied for each test."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.sizing.settings import derive_settings
from pgvector_stacks.upgrade.engines import embedded_guardian
from tests.conftest import LIMITS
from tests.upgrade import content

OLD, NEW = 16, 18
PASSWORD = "it's: a \\ pass"  # noqa: S105
SETTINGS = derive_settings(LIMITS, durability="none")  # the machine may vanish, the processes are what is killed here


@dataclass
class Machine:
    """The folder of one stack, `.data/<stack>`, and what serves in it."""

    root: Path
    said: list[str] = field(default_factory=list)

    @property
    def old(self) -> embedded_server.Directory:
        return embedded_server.Directory(self.root / str(OLD), OLD)

    @property
    def new(self) -> embedded_server.Directory:
        return embedded_server.Directory(self.root / str(NEW), NEW)

    @property
    def job(self) -> embedded_guardian.Job:
        return embedded_guardian.Job(str(self.root), OLD, NEW, SETTINGS, SETTINGS)

    def address(self, directory: embedded_server.Directory, database: str = "postgres") -> Address:
        port = embedded_server.read_last_port(directory)
        assert port is not None
        return Address(embedded_server.HOST, port, database, embedded_server.ADMIN, PASSWORD)

    @property
    def serving(self) -> embedded_server.Directory | None:
        """The one that runs; two are a failure."""
        found = [each for each in (self.old, self.new) if embedded_server.find_postmaster(each) is not None]
        assert len(found) < 2, "two servers at once"
        return found[0] if found else None

    def left(self) -> list[str]:
        """Unfinished things that lie about."""
        return sorted(Path(path).name for path in self.job.leftovers if Path(path).exists())

    def processes(self) -> list[list[str]]:
        """Command lines that name this folder, but for a server that serves."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                serves = words[-2:] in (["-D", str(self.old.path)], ["-D", str(self.new.path)])
                if process.pid != os.getpid() and not serves and str(self.root) in " ".join(words):
                    found.append(words)
        return found


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """Its servers are stopped at the end, whatever happened; the folder is the caller's."""
    made = Machine(folder)
    try:
        yield made
    finally:
        with suppress(ServerError):
            embedded_guardian.wait_for_guardian(folder, 60)
        embedded_guardian.kill_processes(made.job.leftovers, mark="", spared="")
        for directory in (made.old, made.new):
            process = embedded_server.find_postmaster(directory)
            with suppress(ServerError):
                embedded_server.stop(directory, at_once=True)
            if process is not None and embedded_server.find_postmaster(directory) is not None:
                os.kill(process, signal.SIGKILL)


@contextmanager
def filled() -> Iterator[Path]:
    """A folder with a stopped old server's directory."""
    with tempfile.TemporaryDirectory(prefix="pgstack upgrade ") as folder, machine(Path(folder)) as made:
        embedded_server.initialise(made.old, PASSWORD)
        embedded_server.start(made.old, SETTINGS)
        content.fill(made.address(made.old))
        embedded_server.stop(made.old)
        yield made.root


def copy(template: Path, folder: Path, *, start: bool = True) -> None:
    shutil.copytree(template, folder, symlinks=True, dirs_exist_ok=True)
    (folder / str(OLD)).chmod(0o700)
    directory = embedded_server.Directory(folder / str(OLD), OLD)
    if start:
        # a port of its own: copies of one template may run side by side
        embedded_server.start(directory, SETTINGS, port=next(embedded_server.find_free_ports(str(folder))))

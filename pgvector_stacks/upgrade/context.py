"""The state of one upgrade run, and the interface to control the server that it upgrades."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from pgvector_stacks.backup import recorded_schema
from pgvector_stacks.toolbox.interface import Report, ServerConnection, Toolbox
from pgvector_stacks.upgrade import progress
from pgvector_stacks.upgrade.decision import Choice, Reindex
from pgvector_stacks.upgrade.facts import SourceServer

UNFINISHED, STANDBY = "docker.unfinished", "standby"


class ServerControl(Protocol):
    """Control of the old server. Each engine (docker, embedded) implements it."""

    def is_running(self) -> bool:
        """Return whether the old server runs."""

    def stop(self) -> None:
        """Shut the old server down cleanly, so that nothing restarts it. Raises PgstackError."""

    def start(self) -> None:
        """Start the old server on its unchanged directory. Raises PgstackError."""

    def set_replication(self, *, allowed: bool) -> None:
        """Let the administrator connect a standby, or forbid it again. Raises PgstackError."""

    def locking_directories(self) -> AbstractContextManager[None]:
        """Lock the old and the new directory, so that no other process starts a server on them."""


def do_nothing(_: str) -> None:
    """Do nothing. The default of hooks that are called with text."""


@dataclass
class Context:
    """The state of one run. `live`: the toolbox's connection to the running server; `settings`: the new server's.

    `before` is called with the name of each step, so that a test can fail or kill the run there. `backup` is called
    while the old server serves clients.
    """

    toolbox: Toolbox
    server: ServerControl
    source: SourceServer
    new: int
    choice: Choice
    live: ServerConnection
    settings: dict[str, str]
    report: Report
    backup: Callable[[], None] | None = None
    before: Callable[[str], None] = do_nothing
    reindex: Reindex = "before"
    old_image: str = ""
    pace: progress.Pace = progress.PACE
    seconds: dict[str, float] = field(default_factory=dict)
    drifted: recorded_schema.DriftByDatabase = field(default_factory=dict)
    known_path: list[str] = field(default_factory=list)
    stopped_at: float = 0.0
    irreversible: bool = False

    @property
    def old(self) -> int:
        return self.source.major

    @property
    def unfinished_directory(self) -> str:
        return self.toolbox.sibling_path(self.new, UNFINISHED)

    @property
    def standby_directory(self) -> str:
        return self.toolbox.sibling_path(self.new, STANDBY)

    @property
    def old_directory(self) -> str:
        return self.toolbox.directory(self.old)

    def reporting_growth(self, what: str, data: str) -> AbstractContextManager[None]:
        """Report the size of the growing data directory `data` while the context is open."""
        look = progress.measure_directory(self.toolbox, f"{data}/base", self.source.data_bytes)
        return progress.reporting_progress(what, look, self.report, self.pace)

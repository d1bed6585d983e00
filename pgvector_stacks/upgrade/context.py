"""One run of an upgrade: what is known of it, and what it may do with the server that is served from now."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from pgvector_stacks.backup import recorded_schema
from pgvector_stacks.toolbox.interface import Report, Server, Toolbox
from pgvector_stacks.upgrade import progress
from pgvector_stacks.upgrade.decision import Choice, Reindex
from pgvector_stacks.upgrade.facts import Source

UNFINISHED, STANDBY = "docker.unfinished", "standby"


class ServerControl(Protocol):
    """What only the engine can do with the server that is served from now."""

    def running(self) -> bool:
        """Whether it serves."""

    def stop(self) -> None:
        """With grace, and for good: nobody starts it again. Raises PgstackError."""

    def start(self) -> None:
        """On its untouched directory. Raises PgstackError."""

    def replication(self, *, allowed: bool) -> None:
        """Let the administrator's standby in, or no longer. Raises PgstackError."""

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else can start a server on the old or the new directory meanwhile."""


def nothing(_: str) -> None:
    """Called before each step."""


@dataclass
class Context:
    """One run. `live`: how the running server is reached from the toolbox; `settings`: what the new one runs with.

    `before` is called with each step's name; a test lets it fail or die there. `backup` is called while the old server
    serves.
    """

    toolbox: Toolbox
    server: ServerControl
    source: Source
    new: int
    choice: Choice
    live: Server
    settings: dict[str, str]
    report: Report
    backup: Callable[[], None] | None = None
    before: Callable[[str], None] = nothing
    reindex: Reindex = "before"
    old_image: str = ""
    pace: progress.Pace = progress.PACE
    seconds: dict[str, float] = field(default_factory=dict)
    drifted: recorded_schema.Drifted = field(default_factory=dict)
    known_path: list[str] = field(default_factory=list)
    stopped_at: float = 0.0
    irreversible: bool = False

    @property
    def old(self) -> int:
        return self.source.major

    @property
    def unfinished(self) -> str:
        return self.toolbox.beside(self.new, UNFINISHED)

    @property
    def standby(self) -> str:
        return self.toolbox.beside(self.new, STANDBY)

    @property
    def old_directory(self) -> str:
        return self.toolbox.directory(self.old)

    def growing(self, what: str, data: str) -> AbstractContextManager[None]:
        """Tell meanwhile how far the data directory `data` is."""
        look = progress.directory(self.toolbox, f"{data}/base", self.source.data_bytes)
        return progress.reporting_progress(what, look, self.report, self.pace)

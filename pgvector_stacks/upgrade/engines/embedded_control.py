"""Controls the server of a data directory on this machine during an upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgvector_stacks.embedded import embedded_server


class EmbeddedServerControl:
    """The `context.ServerControl` of the embedded engine."""

    def __init__(
        self, old: embedded_server.Directory, new: embedded_server.Directory, settings: dict[str, str], port: int
    ) -> None:
        self.old, self.new, self.settings, self.port = old, new, settings, port
        self.stopping = False

    def is_running(self) -> bool:
        return embedded_server.find_postmaster(self.old) is not None

    def stop(self) -> None:
        self.stopping = True
        embedded_server.stop(self.old)
        self.stopping = False

    def start(self) -> None:
        if self.stopping:  # stop() failed: the server may still be shutting down, so end it before the start
            embedded_server.stop(self.old, at_once=True)
            self.stopping = False
        embedded_server.start(self.old, self.settings, port=self.port)

    def set_replication(self, *, allowed: bool) -> None:
        """Do nothing: initdb's pg_hba.conf already lets a standby connect from this machine, with the password."""

    @contextmanager
    def locking_directories(self) -> Iterator[None]:
        with embedded_server.hold_start_lock(self.old), embedded_server.hold_start_lock(self.new):
            yield

"""The server of a directory on this machine, as an upgrade stops and starts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgvector_stacks.embedded import embedded_server


class EmbeddedServerControl:
    """See `context.ServerControl`."""

    def __init__(
        self, old: embedded_server.Directory, new: embedded_server.Directory, settings: dict[str, str], port: int
    ) -> None:
        self.old, self.new, self.settings, self.port = old, new, settings, port
        self.stopping = False

    def running(self) -> bool:
        return embedded_server.pid(self.old) is not None

    def stop(self) -> None:
        self.stopping = True
        embedded_server.stop(self.old)
        self.stopping = False

    def start(self) -> None:
        if self.stopping:  # it was told to and took too long, or did so meanwhile: a server that is about to go is none
            embedded_server.stop(self.old, at_once=True)
            self.stopping = False
        embedded_server.start(self.old, self.settings, port=self.port)

    def replication(self, *, allowed: bool) -> None:
        """initdb's pg_hba.conf lets the administrator's standby in from this machine, with the password."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        with embedded_server.only_one(self.old), embedded_server.only_one(self.new):
            yield

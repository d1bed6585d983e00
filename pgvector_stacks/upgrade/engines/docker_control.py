"""The server's own container, as an upgrade stops and starts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from docker.models.containers import Container

from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.docker.container_spec import HBA, LOCK, Spec
from pgvector_stacks.docker.docker_host import docker_errors
from pgvector_stacks.embedded.embedded_server import ADMIN
from pgvector_stacks.toolbox.docker_toolbox import DockerToolbox
from pgvector_stacks.toolbox.interface import HOUR_S, must


class DockerServerControl:
    """See `context.ServerControl`: the container, and the locks that every server of this product takes."""

    def __init__(
        self, made: DockerToolbox, server: Container, spec: Spec, new: int, address: Address, grace_s: int
    ) -> None:
        self.made, self.server, self.spec, self.new, self.address, self.grace_s = (
            made, server, spec, new, address, grace_s,
        )  # fmt: skip

    def running(self) -> bool:
        with docker_errors():
            self.server.reload()
            return bool(self.server.status == "running")

    def stop(self) -> None:
        with docker_errors():
            self.server.stop(timeout=self.grace_s)

    def start(self) -> None:
        with docker_errors():
            self.server.start()
        connect(self.address, wait_s=HOUR_S).close()

    def replication(self, *, allowed: bool) -> None:
        """One more line in the server's pg_hba.conf, in the volume; only as long as the standby needs it."""
        text = self.spec.files[HBA]
        if allowed:
            how = "hostssl" if self.spec.certificate else "host"
            text += f"{how} replication {ADMIN} samenet scram-sha-256\n"
        script = 'printf %s "$TEXT" >"$FILE.new"; chmod 640 "$FILE.new"; mv -T "$FILE.new" "$FILE"'
        own = self.made.sh('test -w "$FOLDER"', FOLDER=self.spec.folder).code == 0
        write = self.made.sh if own else self.made.as_root  # the folder's group is the server's user's
        must("writing pg_hba.conf", write(script, TEXT=text, FILE=f"{self.spec.folder}/{HBA}"))
        if self.running():
            with connect(self.address, wait_s=HOUR_S) as connection:
                connection.execute("SELECT pg_reload_conf()")

    @contextmanager
    def alone(self) -> Iterator[None]:
        with ExitStack() as locks:
            for major in (self.spec.major, self.new):
                taken = f"another server runs on {VOLUME}/{major}: its lock is taken"
                locks.enter_context(self.made.lock(f"{VOLUME}/{major}/{LOCK}", taken))
            yield

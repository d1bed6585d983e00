"""Controls the server's container during an upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from docker.models.containers import Container

from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.docker.container_spec import HBA_FILE, LOCK_FILE, ContainerSpec
from pgvector_stacks.docker.docker_host import docker_errors
from pgvector_stacks.embedded.embedded_server import ADMIN
from pgvector_stacks.toolbox.docker_toolbox import DockerToolbox
from pgvector_stacks.toolbox.interface import HOUR_S, require_success


class DockerServerControl:
    """The `context.ServerControl` of a container. It uses the locks that each of our servers takes on its directory."""

    def __init__(
        self, made: DockerToolbox, server: Container, spec: ContainerSpec, new: int, address: Address, grace_s: int
    ) -> None:
        self.made, self.server, self.spec, self.new, self.address, self.grace_s = (
            made, server, spec, new, address, grace_s,
        )  # fmt: skip

    def is_running(self) -> bool:
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

    def set_replication(self, *, allowed: bool) -> None:
        """Add a replication line to pg_hba.conf in the volume, or remove it, and reload the configuration."""
        text = self.spec.files[HBA_FILE]
        if allowed:
            how = "hostssl" if self.spec.certificate else "host"
            text += f"{how} replication {ADMIN} samenet scram-sha-256\n"
        script = 'printf %s "$TEXT" >"$FILE.new"; chmod 640 "$FILE.new"; mv -T "$FILE.new" "$FILE"'
        own = self.made.sh('test -w "$FOLDER"', FOLDER=self.spec.files_folder).code == 0
        write = self.made.sh if own else self.made.as_root  # root, unless the server's user may write to the folder
        require_success("writing pg_hba.conf", write(script, TEXT=text, FILE=f"{self.spec.files_folder}/{HBA_FILE}"))
        if self.is_running():
            with connect(self.address, wait_s=HOUR_S) as connection:
                connection.execute("SELECT pg_reload_conf()")

    @contextmanager
    def locking_directories(self) -> Iterator[None]:
        with ExitStack() as locks:
            for major in (self.spec.major, self.new):
                taken = f"another server runs on {VOLUME}/{major}: its lock is taken"
                locks.enter_context(self.made.lock(f"{VOLUME}/{major}/{LOCK_FILE}", taken))
            yield

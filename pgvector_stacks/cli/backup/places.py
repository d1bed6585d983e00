"""Where a backup, a drill and a restore of a stack work: on this machine, or in throw-away containers of its image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import docker
from docker.errors import DockerException

from pgvector_stacks.cli.deploy import docker_endpoint, via
from pgvector_stacks.cli.inspection import Database
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.config.environment import ROOT, Environment
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.docker import docker_host
from pgvector_stacks.docker.container_spec import PORT
from pgvector_stacks.docker.docker_host import NAME_LABEL, ROLE_LABEL
from pgvector_stacks.toolbox import docker_toolbox, embedded_toolbox
from pgvector_stacks.toolbox.interface import Server, Toolbox, with_password


@dataclass(frozen=True, slots=True)
class Deployed:
    """A stack as its outputs describe it. `major` of the server that runs; `key` that signs its backups, or ""."""

    environment: Environment
    admin: Address
    major: int
    key: str = field(default="", repr=False)

    @classmethod
    def of(cls, environment: Environment, outputs: Mapping[str, Any], key: str) -> Deployed:
        admin = Database.from_outputs(outputs, via(environment)).admin
        return cls(environment, admin, int(str(outputs["postgresVersion"]).split(".")[0]), key)


def jobs(environment: Environment) -> int:
    """How many at once: the server has other things to do."""
    return max(1, min(4, int(environment.cpus)))


@contextmanager
def at_the_server(stack: Deployed) -> Iterator[tuple[Toolbox, Server]]:
    """A toolbox from where the stack's server is reached, as its superuser. Raises DockerFailed, ServerError."""
    if stack.environment.engine == "embedded":
        with embedded_toolbox.open_toolbox(ROOT / ".data" / stack.environment.stack) as made:
            yield made, _server(made, stack, stack.admin.host, stack.admin.port)
        return
    with _container(stack.environment, network=stack.environment.name) as inside:
        yield inside, _server(inside, stack, stack.environment.name, PORT)


def _server(made: Toolbox, stack: Deployed, host: str, port: int) -> Server:
    return with_password(made, stack.major, host, port, stack.admin)


@contextmanager
def apart(environment: Environment) -> Iterator[tuple[Toolbox, int | None]]:
    """A toolbox that reaches no server and no network, and the major of its programs; None: it has them all."""
    if environment.engine == "embedded":
        with embedded_toolbox.open_toolbox(ROOT / ".data" / environment.stack) as made:
            yield made, None
        return
    with _container(environment, network=None) as inside:
        folders = inside.sh("ls /usr/lib/postgresql").output.split()
        yield inside, max((int(folder) for folder in folders if folder.isdigit()), default=environment.major)


@contextmanager
def _container(environment: Environment, *, network: str | None) -> Iterator[docker_toolbox.DockerToolbox]:
    """Of the image that the server runs; under a name of its own, since an `up` removes the stack's throw-aways."""
    engine = docker_endpoint(environment)
    client = docker_host.connect(engine.url, engine.chosen_by)
    server = docker_host.server_of(client, environment.name)
    if network is not None and (server is None or server.status != "running"):
        raise ServerError(f"the container {environment.name} doesn't run\n  start it:  pgstack up {environment.stack}")
    image = str(server.attrs["Image"]) if server else environment.image
    name = f"{environment.name}-backup"
    _remove_ended(client, name)
    with docker_toolbox.open_toolbox(client, name, image, None, network=network) as made:
        yield made


def _remove_ended(client: docker.DockerClient, name: str) -> None:
    """What a killed run left: its container has ended with it. Those of another machine's run still work."""
    with suppress(DockerException):
        labels = [f"{NAME_LABEL}={name}", f"{ROLE_LABEL}=throw-away"]
        for ended in client.containers.list(
            all=True, ignore_removed=True, filters={"label": labels, "status": "exited"}
        ):
            ended.remove(force=True, v=True)

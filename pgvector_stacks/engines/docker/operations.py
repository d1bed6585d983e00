"""Implements `Engine` for the Docker engine: programs run in throw-away containers of the server's image."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import docker
from docker.errors import DockerException

from pgvector_stacks.backup.daily import sidecar
from pgvector_stacks.common.errors import PgstackError, ServerError
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.common.image_names import parse_major
from pgvector_stacks.config import stack_ports
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.docker import docker_host
from pgvector_stacks.docker.container_spec import PORT
from pgvector_stacks.docker.docker_host import NAME_LABEL, ROLE_LABEL
from pgvector_stacks.engines.docker import findings, removal
from pgvector_stacks.engines.interface import Engine, Need, Programs, Psql, ReadState, Removal, Say
from pgvector_stacks.engines.log_lines import split_lines
from pgvector_stacks.toolbox import docker_toolbox
from pgvector_stacks.upgrade.engines import docker_facts
from pgvector_stacks.upgrade.facts import Disk, TargetVersion


class Docker(Engine):
    """A server in a container, on the Docker Engine that the stack file, DOCKER_HOST or the context names."""

    def check(self, environment: Environment, *, offline: bool) -> None:
        _ = environment.tuned_within_memory
        stack_ports.refuse_conflict(environment)
        if offline:
            return
        engine = _choose_endpoint(environment)
        if environment.backup is not None:
            sidecar.refuse_elsewhere(engine, environment.stack)
        docker_host.connect(engine.url, engine.chosen_by).close()

    def via(self, environment: Environment) -> str:
        return _choose_endpoint(environment).via

    def examine(self, environment: Environment) -> Iterator[Finding]:
        return findings.examine(environment, _choose_endpoint)

    def plan_removal(self, environment: Environment, read_state: ReadState, *, delete_data: bool) -> Removal:
        """Plan the removal. Pulumi protects, keeps or deletes the volume; `delete_data` also deletes a kept volume."""
        protected = environment.volume == "protect"
        if delete_data and protected:
            raise PgstackError(
                f"pgvector:volume = protect: the data of {environment.stack} isn't deleted\n"
                "  set it to delete, `up`, then `down`"
            )
        state = read_state()
        found = removal.read_deployed_server(state, environment, _choose_endpoint(environment))
        return Removal(
            lambda: removal.finish_removal(found, environment.stack, delete=delete_data),
            deletes_data=delete_data or removal.is_data_removed_by_pulumi(state, found),
            exclude_protected=protected,
        )

    def open_programs(self, environment: Environment, need: Need) -> AbstractContextManager[Programs]:
        return _open_beside_data(environment, need) if need.data else _open_beside_server(environment, need)

    def target(self, environment: Environment, major: int, image: str, say: Say) -> tuple[TargetVersion, Disk]:
        client = _connect(environment)
        server = docker_host.find_container(client, environment.name)
        if server is None:
            raise PgstackError(f"the container {environment.name} is gone:  pgstack up {environment.stack}")
        wanted = TargetVersion(major)
        if image and docker_host.has_image(client, image):
            wanted = docker_facts.read_target_of_image(client, environment.name, image, major)
        elif image:
            say(f"the image {image} isn't on the engine: its version and extensions are looked at during `up`")
        return wanted, docker_facts.measure_disk(server)

    def psql(self, environment: Environment, *, interactive: bool) -> Psql:
        if shutil.which("docker") is None:
            return Psql()
        return Psql(
            inside=build_psql_command(environment.name, _choose_endpoint(environment).url, interactive=interactive)
        )

    def read_log(self, environment: Environment, *, follow: bool) -> Iterator[str]:
        server = docker_host.find_container(_connect(environment), environment.name)
        if server is None:
            raise PgstackError(f"the container {environment.name} is gone:  pgstack up {environment.stack}")
        with docker_host.docker_errors():
            yield from split_lines(server.logs(stream=True, follow=follow))


def build_psql_command(container: str, engine: str, *, interactive: bool) -> tuple[str, ...]:
    """Return the command of the container's psql. `-e NAME` passes a variable of `docker`'s own environment, so that no
    argument shows its value.
    """
    taken = [word for name in ("PGUSER", "PGPASSWORD", "PGDATABASE", "PGOPTIONS") for word in ("-e", name)]
    return ("docker", "--host", engine, "exec", "-it" if interactive else "-i", *taken, container, "psql")


def _choose_endpoint(environment: Environment) -> docker_host.Endpoint:
    """Choose the stack's Docker Engine. Raises DockerFailed."""
    return docker_host.choose_endpoint(environment.docker_host, environment.docker_context, os.environ)


def _connect(environment: Environment) -> docker.DockerClient:
    engine = _choose_endpoint(environment)
    return docker_host.connect(engine.url, engine.chosen_by)


@contextmanager
def _open_beside_data(environment: Environment, need: Need) -> Iterator[Programs]:
    """Open programs that access the volume and, if needed, reach the server over its network."""
    client, image = _connect(environment), need.image or environment.image
    if not docker_host.volume_exists(client, environment.volume_name):
        raise PgstackError(f"there is no volume {environment.volume_name}: the stack has no data here")
    if not docker_host.has_image(client, image):
        raise PgstackError(f"the image {image} isn't on the engine:  docker pull {image}")
    network = environment.name if need.server else None
    with docker_toolbox.open_toolbox(
        client, environment.name, image, environment.volume_name, network=network, then=need.then
    ) as toolbox:
        yield Programs(toolbox, (environment.name, PORT) if need.server else None, parse_major(image))


@contextmanager
def _open_beside_server(environment: Environment, need: Need) -> Iterator[Programs]:
    """Open programs of the image that the server runs.

    The container has a name of its own, because an `up` removes the throw-away containers with the stack's name.
    """
    client = _connect(environment)
    server = docker_host.find_container(client, environment.name)
    if need.server and (server is None or server.status != "running"):
        raise ServerError(f"the container {environment.name} doesn't run\n  start it:  pgstack up {environment.stack}")
    image = str(server.attrs["Image"]) if server else environment.image
    name = f"{environment.name}-backup"
    _remove_ended(client, name)
    network = environment.name if need.server else None
    with docker_toolbox.open_toolbox(client, name, image, None, network=network) as toolbox:
        folders = toolbox.sh("ls /usr/lib/postgresql").output.split()
        newest = max((int(folder) for folder in folders if folder.isdigit()), default=environment.major)
        yield Programs(toolbox, (environment.name, PORT) if need.server else None, newest)


def _remove_ended(client: docker.DockerClient, name: str) -> None:
    """Remove the ended containers that killed runs left. The containers of other machines' runs are still running."""
    with suppress(DockerException):
        labels = [f"{NAME_LABEL}={name}", f"{ROLE_LABEL}=throw-away"]
        for ended in client.containers.list(
            all=True, ignore_removed=True, filters={"label": labels, "status": "exited"}
        ):
            ended.remove(force=True, v=True)


ENGINE = Docker()

"""Keeps or deletes a Docker stack's data after `down`. The state says where the data is; the stack file may be newer.

Docker deletes no files of a volume that is bound to a directory of the host (pgvector:dataPath). With --delete-data a
throw-away container deletes the files that this stack's servers created. A plain `down` keeps them.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.exported_state import ExportedState
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.docker import data_volume, docker_host, relocation

VOLUME_TYPE = "docker:index/volume:Volume"


@dataclass(frozen=True, slots=True)
class DeployedServer:
    """A deployed server by the state: the container's name, its image, and the place of the data."""

    name: str
    image: str
    place: relocation.DataPlace


def read_deployed_server(
    state: ExportedState, environment: Environment, engine: docker_host.Endpoint
) -> DeployedServer:
    """Return the server that the state has, or what the stack file says if the state has none any more."""
    if props := state.inputs("Preflight"):
        volume = props.get("adoptVolume") or props["name"]
        return DeployedServer(
            props["name"], props["image"], relocation.DataPlace(props["docker"], volume, props.get("dataPath") or "")
        )
    place = relocation.DataPlace(engine.url, environment.volume_name, environment.data_path or "")
    return DeployedServer(environment.name, environment.image, place)


def is_data_removed_by_pulumi(state: ExportedState, found: DeployedServer) -> bool:
    """True if the volume, and with it the data, goes with the stack's resources (`volume: delete` as deployed)."""
    return not found.place.path and state.is_removed_by_destroy(VOLUME_TYPE)


def finish_removal(found: DeployedServer, stack: str, *, delete: bool) -> str:
    """Delete the data if `delete`, and return the message for the user. Raises DockerFailed, PgstackError."""
    place = found.place
    client = docker_host.connect(place.engine)
    bound = relocation.find_bind_source(client, place.volume)
    there = bound is not None
    path = bound or place.path
    if not delete:
        if path:
            return (
                f"{stack} is down; its files stay in {path} for the next up"
                + ("" if there else f"; delete them:  pgstack down {stack} --delete-data")
            )  # fmt: skip
        if there:
            return f"{stack} is down; its data stays in the volume {place.volume} for the next up"
        return f"{stack} is down, its data deleted"
    left: tuple[str, ...] = ()
    if path:
        at = place.volume if there else path
        if not docker_host.has_image(client, found.image):
            raise PgstackError(
                f"{stack} is down; its files are still in {path}: {found.image}, which would delete them, is not here\n"
                f"  docker pull {found.image}   then again:  pgstack down {stack} --delete-data\n"
                f"  or delete them by hand on the Docker host:  sudo rm -rf {shlex.quote(path)}/*/docker"
            )
        left = data_volume.delete_data(client, found.name, found.image, at, path)
    if there:
        with docker_host.docker_errors():
            client.volumes.get(place.volume).remove()
    others = f"; not this stack's, so it stays in {path}: {', '.join(left)}" if left else ""
    return f"{stack} is down, its data deleted{others}"

"""Removes what a killed `up` left on the Docker host and no state knows: a container, a network, an empty volume.

These functions run just before the resource of that name is created, so the state doesn't have it. A volume with data
stays. A container with another claim, and a network with another claim that is in use, belong to another checkout and
are never touched.
"""

from __future__ import annotations

from contextlib import suppress

import pulumi
from docker.errors import APIError

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.docker import relocation
from pgvector_stacks.docker.docker_host import (
    CLAIM_LABEL,
    Endpoint,
    connect,
    docker_errors,
    find_container,
    find_network,
    list_volume_users,
)
from pgvector_stacks.docker.preflight import report_foreign_container, report_foreign_network

GRACE_S = 30


def remove_container(engine: Endpoint, name: str, claim: str) -> None:
    """Stop and remove the leftover container. Raises DockerFailed, PgstackError for a container with another claim."""
    client = connect(engine.url, engine.chosen_by)
    container = find_container(client, name)
    if container is None:
        return
    if not claim or container.labels.get(CLAIM_LABEL) != claim:
        raise PgstackError(str(report_foreign_container(name, container.labels)))
    pulumi.log.info(f"removes the container {name}, which an interrupted `up` left; its volume stays")
    with docker_errors():
        with suppress(APIError):
            container.stop(timeout=GRACE_S)
        container.remove(force=True)


def remove_network(engine: Endpoint, name: str, claim: str) -> None:
    """Remove the leftover network. Raises DockerFailed, PgstackError for one that isn't the stack's."""
    client = connect(engine.url, engine.chosen_by)
    network = find_network(client, name)
    if network is None:
        return
    if not network.is_removable(name, claim):
        raise PgstackError(str(report_foreign_network(name, network.users)))
    pulumi.log.info(f"removes the network {name}, which no state knows and nobody uses")
    with docker_errors():
        client.api.remove_network(network.id)


def remove_empty_volume(path: str, image: str, engine: Endpoint, name: str, _: str) -> None:
    """Remove a volume that is bound to another place than `path` and has no data: Docker would reuse it unchanged.

    Raises DockerFailed, PgstackError where the volume has data or can't be inspected.
    """
    client = connect(engine.url, engine.chosen_by)
    bound = relocation.find_bind_source(client, name)
    wrong, remedy = relocation.find_misplacement(name, bound, path, image)
    if not wrong:
        return
    if list_volume_users(client, name) or relocation.holds_data(
        client, name, relocation.DataPlace("", name, bound or ""), (image,)
    ):
        raise PgstackError(f"volume: {wrong}\n  {remedy}")
    pulumi.log.info(f"removes the volume {name}, which holds no data and lies elsewhere")
    with docker_errors():
        client.volumes.get(name).remove()

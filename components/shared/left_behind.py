"""What a killed `up` left on the Docker host and no state knows: a container, a network. A volume with data stays.

Runs just before the resource is created, when the state has none of it. What carries another claim is another
checkout's, and is never touched.
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
    """Raises DockerFailed, PgstackError for a container of somebody else's."""
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
    """Raises DockerFailed, PgstackError for a network of somebody else's."""
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
    """Of a volume that is bound elsewhere than to `path` and has no data: Docker would give it as it is.

    Raises DockerFailed, PgstackError where it has data, or can't be looked into.
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

"""What a killed `up` left on the Docker host and no state knows: a container, a network. The volume stays.

Runs just before the resource is created, when the state has none of it. What carries another claim is another
checkout's, and is never touched.
"""

from __future__ import annotations

from contextlib import suppress

import pulumi
from docker.errors import APIError

from postgres.docker_host import CLAIM_LABEL, Endpoint, connect, network_of, server_of, told
from postgres.errors import PgstackError
from postgres.preflight import container_finding, network_finding

GRACE_S = 30


def remove_container(engine: Endpoint, name: str, claim: str) -> None:
    """Raises DockerFailed, PgstackError for a container of somebody else's."""
    client = connect(engine.url, engine.chosen_by)
    container = server_of(client, name)
    if container is None:
        return
    if not claim or container.labels.get(CLAIM_LABEL) != claim:
        raise PgstackError(str(container_finding(name, container.labels)))
    pulumi.log.info(f"removes the container {name}, which an interrupted `up` left; its volume stays")
    with told():
        with suppress(APIError):
            container.stop(timeout=GRACE_S)
        container.remove(force=True)


def remove_network(engine: Endpoint, name: str, claim: str) -> None:
    """Raises DockerFailed, PgstackError for a network of somebody else's."""
    client = connect(engine.url, engine.chosen_by)
    network = network_of(client, name)
    if network is None:
        return
    if not network.may_go(name, claim):
        raise PgstackError(str(network_finding(name, network.users)))
    pulumi.log.info(f"removes the network {name}, which no state knows and nobody uses")
    with told():
        client.api.remove_network(network.id)

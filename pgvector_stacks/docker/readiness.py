"""Waits until a container's server answers over TCP. If the container ends, it explains why within a second.

It connects over TCP, since the image's entrypoint may run a temporary server that answers only on the socket.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace

import docker
import psycopg
from docker.errors import NotFound
from docker.models.containers import Container

from pgvector_stacks.common.errors import ConnectionFailed, ServerError
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import REFUSED, Address, connect, explain, server_version
from pgvector_stacks.docker.data_volume import read_state
from pgvector_stacks.docker.docker_host import docker_errors
from pgvector_stacks.docker.exit_diagnosis import MOST_RESTARTS, ContainerState, diagnose

PATIENCE_S = 90.0
RECOVERY_S = 3600.0  # the longest wait for a server that reports recovery
POLL_S = 0.2
STOPPED_STATES = ("exited", "dead", "removing", "created", "paused")


@dataclass(frozen=True, slots=True)
class ServerContainer:
    """The server in a container. `container`: its id; `address`: that of the administrator in database postgres."""

    container: str
    volume: str
    memory_mb: int
    address: Address


def wait_until_ready(client: docker.DockerClient, server: ServerContainer, known_password: str) -> str:
    """Wait until the server answers, and return its version.

    If the server accepts only `known_password`, the password is changed to that of `server.address`. Raises ServerError
    with the diagnosis if the container ends or does not answer, ConnectionFailed if it accepts neither password.
    """
    container = _find_container(client, server)
    started, first = time.monotonic(), None
    while True:
        state = read_state(container, server.memory_mb, server.volume, server.address.port)
        first = first or state
        if state.status in STOPPED_STATES:
            raise ServerError(diagnose(state))
        if keeps_exiting(first, state):
            # Docker may have restarted the container meanwhile, so that its current status is "running"
            raise ServerError(diagnose(replace(state, status="restarting")))
        try:
            return _read_version(server.address, known_password)
        except ConnectionFailed as error:
            if REFUSED in str(error):
                raise
            waited = time.monotonic() - started
            recovering = "starting" in str(error) or "recovery" in state.log
            if waited > (RECOVERY_S if recovering else PATIENCE_S):
                raise ServerError(f"{diagnose(replace(state, health='unhealthy'))}\n  {error}") from None
        time.sleep(POLL_S)


def keeps_exiting(first: ContainerState, now: ContainerState) -> bool:
    """True if Docker's restart policy restarts the container repeatedly. `first`, `now`: two states of it."""
    return now.restarts >= first.restarts + MOST_RESTARTS or (
        now.status == "restarting" and now.restarts > MOST_RESTARTS
    )


def describe_problem(client: docker.DockerClient, server: ServerContainer) -> str:
    """Return "" if the server answers, else the container's state in one line. For a preview: it does not wait."""
    try:
        state = read_state(_find_container(client, server), server.memory_mb, server.volume, server.address.port)
        if state.status == "running":
            try:
                _read_version(server.address, server.address.password)
            except ConnectionFailed as error:
                return "" if REFUSED in str(error) else str(error).splitlines()[0]
            return ""
    except ServerError as error:
        return str(error).splitlines()[0]
    return diagnose(state).splitlines()[0]


def _find_container(client: docker.DockerClient, server: ServerContainer) -> Container:
    with docker_errors():
        try:
            return client.containers.get(server.container)
        except NotFound:
            raise ServerError("the container is gone\n  `up` creates it again; its data is in the volume") from None


def _read_version(address: Address, known_password: str) -> str:
    """Return the server's version, after the password change of `wait_until_ready`. Raises ConnectionFailed."""
    try:
        connection = connect(address)
    except ConnectionFailed as error:
        if REFUSED not in str(error) or known_password == address.password:
            raise
        try:
            with connect(replace(address, password=known_password)) as former:
                roles.set_password(former, address.user, address.password)
        except psycopg.OperationalError as cut:
            raise ConnectionFailed(explain(address, cut)) from None
        connection = connect(address)
    with closing(connection):  # the connection may be cut again by now
        return server_version(connection)


def limit_processes(client: docker.DockerClient, container: str, most: int) -> None:
    """Limit the container's processes and threads. pulumi-docker has no field for the limit, so the API sets it."""
    with docker_errors():
        api = client.api
        answer = api._post_json(api._url("/containers/{0}/update", container), data={"PidsLimit": most})
        api._result(answer, True)

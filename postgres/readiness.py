"""Waits until a container's server answers over TCP, and tells within a second why it never will.

Over TCP, since the image's entrypoint may run a temporary server that answers on the socket alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import docker
from docker.errors import NotFound
from docker.models.containers import Container

from postgres import roles
from postgres.connection import REFUSED, Address, connect, server_version
from postgres.data_directory import state_of
from postgres.diagnosis import State, diagnose
from postgres.docker_host import told
from postgres.errors import ConnectionFailed, ServerError

PATIENCE_S = 90.0
RECOVERY_S = 3600.0  # a server that says it is recovering is waited for
POLL_S = 0.2
GONE = ("exited", "dead", "restarting", "removing", "created", "paused")


@dataclass(frozen=True, slots=True)
class Server:
    """A container (its id) and where it is to answer, as the administrator in database postgres."""

    container: str
    volume: str
    memory_mb: int
    address: Address


def wait(client: docker.DockerClient, server: Server, known_password: str) -> str:
    """The server's version, once it answers; the password becomes `server.address`'s where it was `known_password`.

    Raises ServerError with the diagnosis where the container ends or doesn't answer, ConnectionFailed where neither
    password is taken.
    """
    container = _container(client, server)
    restarts = _restarts(container)
    started = time.monotonic()
    while True:
        state = state_of(container, server.memory_mb, server.volume, server.address.port)
        if state.status in GONE or state.restarts > restarts:
            raise ServerError(diagnose(state if state.status in GONE else _exited(state)))
        try:
            return _version(server.address, known_password)
        except ConnectionFailed as error:
            if REFUSED in str(error):
                raise
            waited = time.monotonic() - started
            recovering = "starting" in str(error) or "recovery" in state.log
            if waited > (RECOVERY_S if recovering else PATIENCE_S):
                raise ServerError(f"{diagnose(replace(state, health='unhealthy'))}\n  {error}") from None
        time.sleep(POLL_S)


def _exited(state: State) -> State:
    """A container that Docker has started again meanwhile: what it says now is of its next life."""
    return replace(state, status="restarting")


def _container(client: docker.DockerClient, server: Server) -> Container:
    with told():
        try:
            return client.containers.get(server.container)
        except NotFound:
            raise ServerError("the container is gone\n  `up` again makes it anew; its data is in the volume") from None


def _restarts(container: Container) -> int:
    """Restarts that are none of this start's: a container that is older than a minute has its past behind it."""
    with told():
        container.reload()
    count = int(container.attrs.get("RestartCount", 0))
    running = container.attrs["State"].get("Status") == "running"
    return count if running and _age_s(container) > 60 else 0


def _age_s(container: Container) -> float:
    from datetime import UTC, datetime

    made = datetime.fromisoformat(container.attrs["Created"][:19]).replace(tzinfo=UTC)
    return (datetime.now(UTC) - made).total_seconds()


def _version(address: Address, known_password: str) -> str:
    """Raises ConnectionFailed."""
    try:
        connection = connect(address)
    except ConnectionFailed as error:
        if REFUSED not in str(error) or known_password == address.password:
            raise
        with connect(replace(address, password=known_password)) as former:
            roles.set_password(former, address.user, address.password)
        connection = connect(address)
    with connection:
        return server_version(connection)


def limit_processes(client: docker.DockerClient, container: str, most: int) -> None:
    """At most so many processes and threads; the plugin has no such field, the engine's update has."""
    with told():
        api = client.api
        answer = api._post_json(api._url("/containers/{0}/update", container), data={"PidsLimit": most})
        api._result(answer, True)

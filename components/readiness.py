"""The moment a container's server answers over TCP, or the reason why it never will.

create and update: wait for an answer, looking at the container all the while, so that an exit is told within a second
with its cause; then the administrator's password and the limits that the plugin doesn't know; after an upgrade the
statistics, and a backup. read: a server that doesn't answer, though its container is the same, becomes an update:
otherwise nobody would ask why.

Its identity changes when the data directory, the version, the image, a setting or a limit does: then the SQL resource
validates again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

from pgvector_stacks.automation.provider_process import install_process_hooks
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config import offline
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.docker import readiness
from pgvector_stacks.docker.docker_host import Endpoint, connect
from pgvector_stacks.embedded.embedded_server import ADMIN
from pgvector_stacks.toolbox import interface
from pgvector_stacks.upgrade.checks import statistics
from pgvector_stacks.upgrade.engines import docker_upgrade

from .shared.engine import BACKUP_INPUTS, backup_after, keep_as_in_state
from .shared.provider import DynamicResource, as_deployed, inputs_of, plainly

OUTPUTS = ("version", "identity")
FOUND = "found"  # an input that only `read` writes: how the server was found, where it didn't answer


class ReadinessProvider(ResourceProvider):
    """Inputs: see `Readiness`."""

    def configure(self, req: Any) -> None:
        install_process_hooks()

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        if offline.requested(os.environ):
            news = as_deployed(_olds, news)
        if _olds and _olds.get("image") == news.get("image"):
            news = keep_as_in_state(_olds, news, BACKUP_INPUTS)
        return CheckResult(news, [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult()

    @plainly
    def create(self, props: dict[str, Any]) -> CreateResult:
        outs = _wait(props, props["adminPassword"])
        return CreateResult(props["name"], outs)

    @plainly
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        outs = _wait(_news, _olds["adminPassword"])
        if major_of(outs) != major_of(_olds):
            tables = statistics.analyze_missing(_server(outs).address)
            pulumi.log.info(f"PostgreSQL {outs['version']} serves; statistics of {tables} tables are complete")
            from pgvector_stacks.upgrade.checks import reindex  # with all that runs scripts: the program only declares

            reindex.rebuild_stale(_server(outs).address, pulumi.log.info)
            _back_up(_olds, outs)
        return UpdateResult(outs)

    @plainly
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        outs = {key: value for key, value in props.items() if key != FOUND}
        inputs = inputs_of(outs, OUTPUTS)
        try:
            found = readiness.found(connect(props["docker"]), _server(props))
        except PgstackError:
            found = ""  # Preflight says it
        if not found:
            return ReadResult(id_, outs, inputs)
        pulumi.log.warn(found)
        return ReadResult(id_, outs | {FOUND: found}, inputs | {FOUND: found})


def _back_up(olds: dict[str, Any], outs: dict[str, Any]) -> None:
    """Of the upgraded server; not after a rollback, whose state the backups from before have."""
    was, now = major_of(olds), major_of(outs)
    if was and int(now) > int(was) and (after := backup_after(outs)):
        after.make(_at_the_server(outs), pulumi.log.info, pulumi.log.warn)


@contextmanager
def _at_the_server(outs: dict[str, Any]) -> Iterator[tuple[interface.Toolbox, interface.Server]]:
    client, major = connect(outs["docker"]), int(major_of(outs))
    admin = _server(outs).address
    with docker_upgrade.open_toolbox_at_server(client, outs["name"], outs["image"], major, admin) as found:
        yield found


def major_of(outs: dict[str, Any]) -> str:
    """Of the server that answered."""
    return str(outs.get("version") or "").split(".")[0]


def _server(props: dict[str, Any]) -> readiness.Server:
    return readiness.Server(
        container=props["container"],
        volume=props["volume"],
        memory_mb=int(props["memoryMb"]),
        address=Address(
            props["host"],
            int(props["port"]),
            "postgres",
            ADMIN,
            props["adminPassword"],
            sslmode=props["sslmode"],
            via=Endpoint(props["docker"], "").via,
            certificate=props.get("certificate") or "",
        ),
    )


def _wait(props: dict[str, Any], known_password: str) -> dict[str, Any]:
    client, server = connect(props["docker"]), _server(props)
    version = readiness.wait(client, server, known_password)
    readiness.limit_processes(client, server.container, int(props["pidsLimit"]))
    identity = f"{props['systemIdentifier']}/{version}/{props['fingerprint']}/{props['image'].split(':')[-1][:12]}"
    return props | {"version": version, "identity": identity}


class Readiness(DynamicResource, module="pgvector", name="Readiness"):
    """Outputs: version and identity (str)."""

    version: pulumi.Output[str]
    identity: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(ReadinessProvider(), name, dict.fromkeys(OUTPUTS) | props, opts)

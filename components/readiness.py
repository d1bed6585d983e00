"""Waits until a container's server answers over TCP, or reports why it never will.

`create` and `update` wait for an answer and watch the container meanwhile, so that they report an exit and its cause
within a second. Then they set the administrator's password and the limits that the plugin doesn't know. After an
upgrade they complete the statistics and make a backup. `read` turns a server that doesn't answer into an update, even
if its container is the same: otherwise Pulumi would not run `update`, which reports the cause.

The output `identity` changes when the data directory, the version, the image, a setting or a limit changes. Then the
SQL resource validates again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, ReadResult, UpdateResult

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config import offline
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.docker import readiness
from pgvector_stacks.docker.docker_host import Endpoint, connect
from pgvector_stacks.embedded.embedded_server import ADMIN
from pgvector_stacks.toolbox import interface
from pgvector_stacks.upgrade.checks import statistics
from pgvector_stacks.upgrade.engines import docker_upgrade

from .shared.engine import BACKUP_INPUTS, keep_as_in_state
from .shared.provider import DynamicResource, Provider, hide_tracebacks, keep_docker_host
from .shared.upgrade_props import UpgradeProps

OUTPUTS = ("version", "identity")
FOUND = "found"  # an input that only `read` writes, for a server that didn't answer: why


class ContainerProps(UpgradeProps):
    """The server that has answered or is to answer. `docker`: the Docker Engine's URL; `version`: an output."""

    name: str
    docker: str
    container: str
    volume: str
    image: str
    memory_mb: int
    host: str
    port: int
    admin_password: str
    sslmode: str = ""
    certificate: str = ""
    version: str = ""

    @property
    def major(self) -> int:
        """The major version of the server that answered; 0: no server has answered."""
        return int(self.version.split(".")[0] or 0)

    @property
    def server(self) -> readiness.ServerContainer:
        address = Address(
            self.host, self.port, "postgres", ADMIN, self.admin_password,
            sslmode=self.sslmode, via=Endpoint(self.docker, "").via, certificate=self.certificate,
        )  # fmt: skip
        return readiness.ServerContainer(
            container=self.container, volume=self.volume, memory_mb=self.memory_mb, address=address
        )


class ReadinessProps(ContainerProps):
    """The server, the limit of its processes, and the parts of its identity."""

    pids_limit: int
    system_identifier: str
    fingerprint: str
    identity: str = ""


class ReadinessProvider(Provider):
    """Inputs: `ReadinessProps`."""

    name = "readiness"
    outputs = OUTPUTS

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        if offline.is_offline_requested(os.environ):
            news = keep_docker_host(_olds, news)
        if _olds and _olds.get("image") == news.get("image"):
            news = keep_as_in_state(_olds, news, BACKUP_INPUTS)
        return CheckResult(news, [])

    @hide_tracebacks
    def create(self, props: dict[str, Any]) -> CreateResult:
        wanted = ReadinessProps.from_props(props)
        return CreateResult(wanted.name, _wait(wanted, wanted.admin_password).to_props())

    @hide_tracebacks
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        was = ContainerProps.from_props(_olds)
        serves = _wait(ReadinessProps.from_props(_news), was.admin_password)
        if serves.major != was.major:
            address = serves.server.address
            tables = statistics.analyze_missing(address)
            pulumi.log.info(f"PostgreSQL {serves.version} serves; statistics of {tables} tables are complete")
            from pgvector_stacks.upgrade.checks import reindex  # late: the program only declares

            reindex.reindex_stale_indexes(address, pulumi.log.info)
            _back_up(was, serves)
        return UpdateResult(serves.to_props())

    @hide_tracebacks
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        deployed = ContainerProps.from_props(props)
        outs, inputs = deployed.inputs([FOUND]), deployed.inputs([FOUND, *OUTPUTS])
        try:
            found = readiness.describe_problem(connect(deployed.docker), deployed.server)
        except PgstackError:
            found = ""  # Preflight reports it
        if not found:
            return ReadResult(id_, outs, inputs)
        pulumi.log.warn(found)
        return ReadResult(id_, outs | {FOUND: found}, inputs | {FOUND: found})


def _back_up(was: ContainerProps, serves: ContainerProps) -> None:
    """Back up the upgraded server, but not after a rollback: backups of that version exist from before the upgrade."""
    if was.major and serves.major > was.major and (after := serves.backup_after()):
        after.make(_at_the_server(serves), pulumi.log.info, pulumi.log.warn)


@contextmanager
def _at_the_server(serves: ContainerProps) -> Iterator[tuple[interface.Toolbox, interface.ServerConnection]]:
    client, admin = connect(serves.docker), serves.server.address
    with docker_upgrade.open_toolbox_at_server(client, serves.name, serves.image, serves.major, admin) as found:
        yield found


def _wait(wanted: ReadinessProps, known_password: str) -> ReadinessProps:
    """Wait until the server answers, and return `wanted` with its outputs."""
    client, server = connect(wanted.docker), wanted.server
    version = readiness.wait_until_ready(client, server, known_password)
    readiness.limit_processes(client, server.container, wanted.pids_limit)
    image = wanted.image.split(":")[-1][:12]
    identity = f"{wanted.system_identifier}/{version}/{wanted.fingerprint}/{image}"
    return ReadinessProps.from_props(wanted.to_props(version=version, identity=identity))


class Readiness(DynamicResource, module="pgvector", name="Readiness"):
    """Outputs: version and identity (str)."""

    version: pulumi.Output[str]
    identity: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(ReadinessProvider(), name, dict.fromkeys(OUTPUTS) | props, opts)

"""Backups by themselves (`pgvector:backup`): a container beside the server's that makes one a day.

Its volume (scripts, password) → BackupFiles (fills it, makes the folder of the backups, sees whether it can be written)
→ the Container → BackupRuns (it waits for its time; its processes are limited). Nothing of this is declared for a stack
without the key. The schema makes its role meanwhile (inspection/backup_role.py), before any script runs: a script that
fails stops no backup. Another image replaces the container, as the server's. Taking it away leaves the backups.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker as docker
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

from pgvector_stacks.automation.provider_process import install_process_hooks
from pgvector_stacks.backup.daily import schedule, sidecar
from pgvector_stacks.backup.daily.sidecar import BACKUPS, CPUS, MEMORY_MB, MOUNT, STOP_GRACE_S
from pgvector_stacks.common.errors import PgstackError, ServerError
from pgvector_stacks.config import offline
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.connections import server_authentication
from pgvector_stacks.docker.docker_host import Endpoint, connect, volume_exists

from .shared.provider import DynamicResource, as_deployed, inputs_of, plainly

OF_THIS_MACHINE = ("directory", "owner")


@dataclass(frozen=True, slots=True)
class Server:
    """The declared server that is backed up. `password`: of the role of scheduled backups; `key` signs them."""

    engine: Endpoint
    image: docker.RemoteImage
    network: docker.Network
    ready: pulumi.Resource
    password: pulumi.Output[str]
    key: pulumi.Output[str]
    certificate: pulumi.Output[str]


@dataclass(frozen=True, slots=True)
class Options:
    """How the resources are declared. `ours`: of dynamic resources; `docker`: with the provider; `hooks`, `labels`: the
    container's."""

    ours: pulumi.ResourceOptions
    docker: pulumi.ResourceOptions
    hooks: pulumi.ResourceHookBinding
    labels: Mapping[str, pulumi.Input[str]]


def declare(environment: Environment, server: Server, options: Options) -> None:
    """For a stack with the key, on an engine of this machine."""
    name = sidecar.container_name(environment.name)
    volume = docker.Volume(
        "backup-files-volume",
        name=name,
        driver="local",
        opts=pulumi.ResourceOptions.merge(options.docker, pulumi.ResourceOptions(delete_before_replace=True)),
    )
    files = BackupFiles(
        "backup-files",
        {
            "docker": server.engine.url, "name": environment.name, "image": server.image.image_id,
            "volume": volume.name, "directory": str(environment.backups),
            "owner": sidecar.find_owner(environment.backups), "folder": sidecar.scripts_folder(),
            "backupPassword": server.password, "backupKey": server.key,
        }
        | ({"certificate": server.certificate} if environment.tls == "require" else {}),
        pulumi.ResourceOptions.merge(options.ours, pulumi.ResourceOptions(depends_on=[server.ready])),
    )  # fmt: skip
    container = _container(environment, server, options, volume, files)
    BackupRuns("backup-runs", {"docker": server.engine.url, "container": container.id}, options.ours)


def _variables(environment: Environment) -> dict[str, str]:
    """The environment variables of the container."""
    assert environment.backup is not None
    tls, given = environment.tls == "require", environment.tls_certificate
    return sidecar.container_environment(
        environment.name, environment.major, environment.stack, environment.database, environment.backup,
        environment.backups_kept, sslmode="require" if tls else "",
        verified=tls and (given is None or bool(server_authentication.root_of(given))),
    )  # fmt: skip


def _container(
    environment: Environment, server: Server, options: Options, volume: docker.Volume, files: pulumi.Resource
) -> docker.Container:
    away = server.engine == offline.NOT_ASKED
    return docker.Container(
        "backup",
        name=sidecar.container_name(environment.name),
        image=server.image.image_id,
        entrypoints=["sh"],
        command=["-eu", f"{sidecar.scripts_folder()}/loop.sh"],
        envs=[f"{key}={value}" for key, value in sorted(_variables(environment).items())],
        user=sidecar.find_owner(environment.backups),
        read_only=True,
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
        security_opts=["no-new-privileges"],
        mounts=[
            docker.ContainerMountArgs(type="volume", source=volume.name, target=MOUNT, read_only=True),
            docker.ContainerMountArgs(type="bind", source=str(environment.backups), target=BACKUPS),
        ],
        tmpfs=sidecar.tmpfs_mounts(environment.major),
        memory=MEMORY_MB,
        memory_swap=MEMORY_MB,
        cpus=CPUS,
        networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=server.network.name)],
        log_driver="json-file",
        log_opts={"max-size": f"{environment.log_max_size_mb}m", "max-file": str(environment.log_max_files)},
        labels=[docker.ContainerLabelArgs(label=label, value=value) for label, value in options.labels.items()],
        restart=environment.restart,
        stop_signal="SIGTERM",
        stop_timeout=STOP_GRACE_S,
        destroy_grace_seconds=STOP_GRACE_S,
        must_run=True,
        wait=False,
        opts=pulumi.ResourceOptions.merge(
            options.docker,
            pulumi.ResourceOptions(
                depends_on=[files],
                delete_before_replace=True,
                ignore_changes=["mounts", "user"] if away else None,
                hooks=options.hooks,
            ),
        ),
    )


class BackupFilesProvider(ResourceProvider):
    """Inputs: see `declare`."""

    def configure(self, req: Any) -> None:
        install_process_hooks()

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        if offline.requested(os.environ):
            news = as_deployed(_olds, news) | {key: _olds[key] for key in OF_THIS_MACHINE if key in _olds}
        return CheckResult(news, [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult()

    @plainly
    def create(self, props: dict[str, Any]) -> CreateResult:
        _install(props)
        return CreateResult(props["volume"], props)

    @plainly
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        if _olds["directory"] != _news["directory"]:
            schedule.remove_records(Path(_olds["directory"]))
        _install(_news)
        return UpdateResult(_news)

    @plainly
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        try:
            gone = not volume_exists(connect(props["docker"]), props["volume"])
        except PgstackError:
            gone = False  # Preflight says it
        gone = gone or schedule.read_start(Path(props["directory"])) is None  # somebody removed the folder
        return ReadResult(None, {}) if gone else ReadResult(id_, props, inputs_of(props, ()))

    @plainly
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """The volume goes with its own resource, the backups stay."""
        schedule.remove_records(Path(_props["directory"]))


def _install(props: dict[str, Any]) -> None:
    directory = Path(props["directory"])
    is_new = schedule.read_start(directory) is None
    try:
        schedule.record_start(directory, datetime.now(UTC))
        sidecar.hand_over(directory, props["owner"])
    except OSError as error:
        raise ServerError(f"backups can't be kept in {directory}: {error.strerror}") from None
    wanted = sidecar.Installation(
        props["name"], props["image"], props["volume"], props["directory"], props["owner"]
    )  # fmt: skip
    client = connect(props["docker"])
    sidecar.install(client, wanted, props["backupPassword"], props["backupKey"], props.get("certificate") or "")
    if is_new:
        sidecar.restart(client, props["name"])


class BackupRunsProvider(ResourceProvider):
    """Inputs: docker, the engine's URL; container, its id."""

    def configure(self, req: Any) -> None:
        install_process_hooks()

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        return CheckResult(as_deployed(_olds, news) if offline.requested(os.environ) else news, [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult()

    @plainly
    def create(self, props: dict[str, Any]) -> CreateResult:
        sidecar.wait_until_ready(connect(props["docker"]), props["container"])
        return CreateResult("backup", props)

    @plainly
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        sidecar.wait_until_ready(connect(_news["docker"]), _news["container"])
        return UpdateResult(_news)


class BackupFiles(DynamicResource, module="pgvector", name="BackupFiles"):
    """No outputs."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(BackupFilesProvider(), name, props, opts)


class BackupRuns(DynamicResource, module="pgvector", name="BackupRuns"):
    """No outputs."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(BackupRunsProvider(), name, props, opts)

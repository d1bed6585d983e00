"""Scheduled backups (`pgvector:backup`): a container beside the server's that makes a backup a day.

In dependency order: the volume (scripts, password) → BackupFiles (fills the volume, creates the backup folder, checks
that it is writable) → the Container → BackupRuns (waits until the container waits for its time; limits its processes).
A stack without `pgvector:backup` declares none of these. The schema creates the container's role meanwhile
(inspection/backup_role.py), before any script runs, so a script that fails doesn't stop the backups. A changed image
replaces this container like the server's. Removing these resources keeps the backups.
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
from pulumi.dynamic import CheckResult, CreateResult, ReadResult, UpdateResult

from pgvector_stacks.backup.daily import schedule, sidecar
from pgvector_stacks.backup.daily.sidecar import BACKUPS, CPUS, MEMORY_MB, MOUNT, STOP_GRACE_S
from pgvector_stacks.common.errors import PgstackError, ServerError
from pgvector_stacks.config import offline
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.connections import server_authentication
from pgvector_stacks.docker.docker_host import Endpoint, connect, volume_exists

from .shared.props import Props
from .shared.provider import DynamicResource, Provider, hide_tracebacks, keep_docker_host

OF_THIS_MACHINE = ("directory", "owner")


@dataclass(frozen=True, slots=True)
class BackedUpServer:
    """The declared server that is backed up. `password`: of the role `pgstack_backup`; `key`: signs the backups."""

    engine: Endpoint
    image: docker.RemoteImage
    network: docker.Network
    ready: pulumi.Resource
    password: pulumi.Output[str]
    key: pulumi.Output[str]
    certificate: pulumi.Output[str]


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the resources. `ours`: for dynamic resources; `docker`: for those of the docker Provider; `hooks` and
    `labels`: for the container."""

    ours: pulumi.ResourceOptions
    docker: pulumi.ResourceOptions
    hooks: pulumi.ResourceHookBinding
    labels: Mapping[str, pulumi.Input[str]]


def declare(environment: Environment, server: BackedUpServer, options: Options) -> None:
    """Declare the resources of scheduled backups, for a stack with `pgvector:backup` on a local Docker Engine."""
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
    """Return the environment variables of the container."""
    assert environment.backup is not None
    tls, given = environment.tls == "require", environment.tls_certificate
    return sidecar.container_environment(
        environment.name, environment.major, environment.stack, environment.database, environment.backup,
        environment.backups_kept, sslmode="require" if tls else "",
        verified=tls and (given is None or bool(server_authentication.extract_roots(given))),
    )  # fmt: skip


def _container(
    environment: Environment, server: BackedUpServer, options: Options, volume: docker.Volume, files: pulumi.Resource
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


class BackupFilesProps(Props):
    """The properties that `declare` passes."""

    docker: str
    name: str
    image: str
    volume: str
    directory: str
    owner: str
    backup_password: str
    backup_key: str
    certificate: str = ""


class BackupFilesProvider(Provider):
    """Inputs: `BackupFilesProps`."""

    name = "backup-files"

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        if offline.is_offline_requested(os.environ):
            news = keep_docker_host(_olds, news) | {key: _olds[key] for key in OF_THIS_MACHINE if key in _olds}
        return CheckResult(news, [])

    @hide_tracebacks
    def create(self, props: dict[str, Any]) -> CreateResult:
        wanted = BackupFilesProps.from_props(props)
        _install(wanted)
        return CreateResult(wanted.volume, wanted.to_props())

    @hide_tracebacks
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        was, wanted = (BackupFilesProps.from_props(props) for props in (_olds, _news))
        if was.directory != wanted.directory:
            schedule.remove_records(Path(was.directory))
        _install(wanted)
        return UpdateResult(wanted.to_props())

    @hide_tracebacks
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        deployed = BackupFilesProps.from_props(props)
        try:
            gone = not volume_exists(connect(deployed.docker), deployed.volume)
        except PgstackError:
            gone = False  # Preflight reports it
        gone = gone or schedule.read_start(Path(deployed.directory)) is None  # the folder was removed
        return ReadResult(None, {}) if gone else ReadResult(id_, deployed.to_props(), deployed.inputs(self.outputs))

    @hide_tracebacks
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the records of the schedule. The volume is removed with its own resource; the backups stay."""
        schedule.remove_records(Path(BackupFilesProps.from_props(_props).directory))


def _install(wanted: BackupFilesProps) -> None:
    directory = Path(wanted.directory)
    is_new = schedule.read_start(directory) is None
    try:
        schedule.record_start(directory, datetime.now(UTC))
        sidecar.hand_over(directory, wanted.owner)
    except OSError as error:
        raise ServerError(f"backups can't be kept in {directory}: {error.strerror}") from None
    installation = sidecar.Installation(wanted.name, wanted.image, wanted.volume, wanted.directory, wanted.owner)
    client = connect(wanted.docker)
    sidecar.install(client, installation, wanted.backup_password, wanted.backup_key, wanted.certificate)
    if is_new:
        sidecar.restart(client, wanted.name)


class BackupRunsProps(Props):
    """`docker`: the Docker Engine's URL; `container`: the id of the container."""

    docker: str
    container: str


class BackupRunsProvider(Provider):
    """Inputs: `BackupRunsProps`."""

    name = "backup-runs"

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        return CheckResult(keep_docker_host(_olds, news) if offline.is_offline_requested(os.environ) else news, [])

    @hide_tracebacks
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("backup", _settle(BackupRunsProps.from_props(props)))

    @hide_tracebacks
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_settle(BackupRunsProps.from_props(_news)))


def _settle(wanted: BackupRunsProps) -> dict[str, Any]:
    sidecar.wait_until_ready(connect(wanted.docker), wanted.container)
    return wanted.to_props()


class BackupFiles(DynamicResource, module="pgvector", name="BackupFiles"):
    """No outputs."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(BackupFilesProvider(), name, props, opts)


class BackupRuns(DynamicResource, module="pgvector", name="BackupRuns"):
    """No outputs."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(BackupRunsProvider(), name, props, opts)

"""The data directory in the volume, and which server may use it: a resource between the Volume and the Container.

- `check` refuses a volume with data of another major version or layout before anything is created, and describes or
  refuses an upgrade. Before the server changes it refuses what the schema's check would refuse later.
- `create` runs initdb in a throw-away container, or takes the data that a retained volume has. It first moves the data
  of an adopted volume.
- `update` first tries a changed image, setting or limit on an empty directory, and upgrades to another major version
  (pgvector_stacks/upgrade/). The container is replaced only afterwards.
- `read` makes this a new resource if the volume was removed.
- `delete` does nothing: the data is removed with the volume or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import docker
import psycopg
import pulumi
from pulumi.dynamic import CheckResult, CreateResult, ReadResult, UpdateResult

from pgvector_stacks.common.errors import PgstackError, ServerError
from pgvector_stacks.config import offline
from pgvector_stacks.connections.connection import Address, wrap_server_error
from pgvector_stacks.docker import adoption, data_volume, extension_check
from pgvector_stacks.docker.container_spec import PORT, ContainerSpec
from pgvector_stacks.docker.docker_host import (
    Endpoint,
    connect,
    find_container,
    has_image,
    remove_leftover_containers,
    volume_exists,
)
from pgvector_stacks.embedded.embedded_server import ADMIN
from pgvector_stacks.upgrade.engines import docker_guardian, docker_upgrade

from .shared.engine import ignore_upgrade_only_changes
from .shared.provider import DynamicResource, Provider, build_refusal, hide_tracebacks, keep_docker_host
from .shared.schema_check import refuse_before_a_change, set_apart
from .shared.upgrade_props import UpgradeProps

OUTPUTS = ("systemIdentifier", "madeBy", "upgradedBy", "downtimeS")


class DataProps(UpgradeProps):
    """The volume, the server on it, and how its administrator reaches it. What a check does not know yet has a default.

    `image`: the id, `image_name`: as the stack file has it. `files_of_root`, `host`, `port`, `sslmode`: older states
    lack them.
    """

    name: str
    docker: str
    volume: str = ""
    volume_name: str = ""
    image: str = ""
    image_name: str = ""
    major: int = 0
    settings: dict[str, str]
    memory_mb: int
    cpus: float
    shm_mb: int
    certificate: str = ""
    key: str = ""
    files_of_root: bool = False
    admin_password: str = ""
    host: str = ""
    port: int | None = None
    sslmode: str | None = None
    pgvector_minimum: str = ""
    stop_grace_s: int = 0
    adopt: bool = False
    system_identifier: str = ""
    made_by: str = ""
    upgraded_by: str = ""
    downtime_s: float = 0

    @property
    def spec(self) -> ContainerSpec:
        """The server that these properties describe."""
        return ContainerSpec(
            name=self.name, major=self.major, settings=self.settings, memory_mb=self.memory_mb, cpus=self.cpus,
            shm_mb=self.shm_mb, certificate=self.certificate, key=self.key, root_owns_files=self.files_of_root,
        )  # fmt: skip

    def address(self, declared: DataProps | None = None, *, database: str = "postgres", password: str = "") -> Address:
        """The administrator's, of a server as it was deployed; `declared`: has what an older state lacks."""
        reached = self if self.host or declared is None else declared
        return Address(
            reached.host, reached.port or PORT, database, ADMIN, password or self.admin_password,
            sslmode=reached.sslmode or "", via=Endpoint(self.docker, "").via, certificate=self.certificate,
        )  # fmt: skip


class DataDirectoryProvider(Provider):
    """Inputs: `DataProps`."""

    name = "data-directory"
    outputs = OUTPUTS

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        away = offline.is_offline_requested(os.environ)
        if away:
            news = keep_docker_host(_olds, news)
        news, wanted = set_apart(news)
        try:
            was, now = DataProps.from_props(_olds) if _olds else None, DataProps.from_props(news)
            _check(was, now, away=away)
            # a rollback brings another database back
            if wanted and was is not None and now.major >= was.major:
                refuse_before_a_change(_as_it_is(was, now, wanted), wanted)
        except PgstackError as error:
            return build_refusal(news, error)
        except psycopg.Error as error:
            return build_refusal(news, wrap_server_error(error))
        return CheckResult(ignore_upgrade_only_changes(_olds, news), [])

    @hide_tracebacks
    def create(self, props: dict[str, Any]) -> CreateResult:
        wanted = DataProps.from_props(props)
        client, spec = connect(wanted.docker), wanted.spec
        remove_leftover_containers(client, spec.name)
        if wanted.adopt:
            adoption.adopt(
                client, spec, wanted.image, wanted.volume,
                image_name=wanted.image_name, database=wanted.database, report=pulumi.log.info,
            )  # fmt: skip
        _look(client, wanted)
        made = _prepare(wanted)
        return CreateResult(made["systemIdentifier"], made)

    @hide_tracebacks
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        was, wanted = DataProps.from_props(_olds), DataProps.from_props(_news)
        if wanted.major < was.major:
            docker_upgrade.roll_back(_requested(was, wanted, wanted.image))
            return UpdateResult(_prepare(wanted))
        if was.major != wanted.major:
            return UpdateResult(_upgrade(was, wanted))
        changed = was.spec.differs_from(wanted.spec) or was.image != wanted.image
        client = connect(wanted.docker)
        if changed or _is_elsewhere(was, wanted):
            remove_leftover_containers(client, wanted.name)
        if changed:
            data_volume.install_files(client, wanted.spec, wanted.image, wanted.volume)
            pulumi.log.info("tries the new image, settings or limits on an empty directory first")
            data_volume.try_server(client, wanted.spec, wanted.image, wanted.volume, wanted.pgvector_minimum)
        if _is_elsewhere(was, wanted) and _is_gone(client, wanted):
            # Preflight let it pass: the former place has no data
            _look(client, wanted)
            return UpdateResult(_prepare(wanted))
        return UpdateResult(wanted.to_props() | {key: _olds.get(key) for key in OUTPUTS})

    @hide_tracebacks
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        deployed = DataProps.from_props(props)
        try:
            client = connect(deployed.docker)
        except PgstackError:
            client = None  # Preflight says it
        if client is None or not _is_gone(client, deployed):
            return ReadResult(id_, deployed.to_props(), deployed.inputs(OUTPUTS))
        pulumi.log.warn(f"volume {deployed.volume} or its data is gone: `up` will create a new, empty database")
        return ReadResult(None, {})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Do nothing: the data is removed with the Volume or stays with it."""


def _prepare(wanted: DataProps) -> dict[str, Any]:
    """Create the data, or take what the volume holds. Return the properties with the outputs."""
    identifier, by = data_volume.prepare_data(
        connect(wanted.docker), wanted.spec, wanted.image, wanted.volume, wanted.admin_password
    )
    return wanted.to_props(system_identifier=identifier, made_by=by, upgraded_by="", downtime_s=0)


def _upgrade(was: DataProps, wanted: DataProps) -> dict[str, Any]:
    """Upgrade, and return the properties with the outputs."""
    if wanted.upgrade_method != "link":  # after which the old container can't be started again
        docker_guardian.start_guardian(was.docker, was.name, was.image)
    journal = docker_upgrade.carry_out(_requested(was, wanted, wanted.image))
    return wanted.to_props(
        system_identifier=journal.identifier,
        made_by=f"upgraded from {journal.old}",
        upgraded_by=journal.method,
        downtime_s=journal.downtime_s,
    )


def _is_elsewhere(was: DataProps, wanted: DataProps) -> bool:
    """Return whether the volume may be another one than the state's."""
    return (was.docker, was.volume, was.volume_name, was.name) != (
        wanted.docker, wanted.volume, wanted.volume_name, wanted.name,
    )  # fmt: skip


def _is_gone(client: docker.DockerClient, wanted: DataProps) -> bool:
    """Return whether the volume is missing or empty. It is looked into only if no server runs and the image is here."""
    if not volume_exists(client, wanted.volume):
        return True
    server = find_container(client, wanted.name)
    if (server is not None and server.status == "running") or not has_image(client, wanted.image):
        return False
    found = data_volume.inspect_volume(client, wanted.name, wanted.image, wanted.volume)
    return f"{wanted.major}/docker" not in found.directories


def _check(was: DataProps | None, wanted: DataProps, *, away: bool) -> None:
    """Raise ServerError for data that the declared server can't or may not use. `away`: the volume isn't asked."""
    if not wanted.major:
        return
    if was is not None:
        _check_volume(was, wanted)
        if was.major != wanted.major:
            _check_upgrade(was, wanted, away=away)
            return
        if not away:
            _check_extensions(was, wanted)
        _tell_changes(was, wanted)
        return
    if away:
        return
    try:
        client = connect(wanted.docker)
    except PgstackError:
        return  # Preflight says it
    # a preview pulls nothing; create looks again
    if volume_exists(client, wanted.volume_name) and has_image(client, wanted.image_name):
        seen = wanted.model_copy(update={"image": wanted.image_name, "volume": wanted.volume_name})
        if wanted.adopt:
            _look_at_adopted(client, seen)
        else:
            _look(client, seen)


def _tell_changes(was: DataProps, wanted: DataProps) -> None:
    """Say why the container is replaced, as far as a preview knows: a new image's id and certificate come later."""
    if wanted.knows("image", "certificate", "key"):
        changes = was.spec.describe_changes(wanted.spec) + _published(was, wanted)
        if was.image != wanted.image:
            changes.append(_other_image(was, wanted, wanted.image))
        if changes:
            pulumi.log.info(f"restarts PostgreSQL: {', '.join(changes)}")
    elif was.image_name != wanted.image_name:
        pulumi.log.info(f"restarts PostgreSQL: {_other_image(was, wanted, '')}")


def _as_it_is(was: DataProps, now: DataProps, schema: Mapping[str, Any]) -> list[Address]:
    """Return the addresses at which the server answers now, from the inputs of the last `up`."""
    words = dict.fromkeys(word for word in (was.admin_password, now.admin_password) if word)
    return [was.address(database=schema["database"], password=word) for word in words]


def _check_extensions(was: DataProps, wanted: DataProps) -> None:
    """Raise ServerError if another image lacks extensions of the databases. A server that is down isn't checked."""
    image = wanted.image or wanted.image_name
    if image in (was.image, was.image_name):
        return
    try:
        client = connect(was.docker)
        if not has_image(client, image):
            return  # a preview pulls nothing; the `up` asks again
        there = extension_check.list_installed(was.address(wanted))
        offer = extension_check.list_image_extensions(client, was.name, image)
    except (PgstackError, psycopg.Error):
        return
    why = extension_check.explain_refusal(there, offer, wanted.image_name) if offer is not None else ""
    if why:
        raise ServerError(f"pgvector:image: {why}")


def _published(was: DataProps, wanted: DataProps) -> list[str]:
    """Return the changes of name, address and port, which replace the container, as far as the state has them."""
    return [
        f"{what} {old} → {new}"
        for old, new, what in (
            (was.name, wanted.name, "container"), (was.host, wanted.host, "address"), (was.port, wanted.port, "port"),
        )
        if old and new and old != new
    ]  # fmt: skip


def _other_image(was: DataProps, wanted: DataProps, identifier: str) -> str:
    """Describe the change of image, with digests if the name is the same. `identifier`: "" if it isn't known."""
    if was.image_name != wanted.image_name or not identifier:
        return f"image {was.image_name} → {wanted.image_name}"
    before, now = (each.removeprefix("sha256:")[:12] for each in (was.image, identifier))
    return f"image {wanted.image_name} is another one now ({before} → {now})"


def _check_upgrade(was: DataProps, wanted: DataProps, *, away: bool) -> None:
    """Log what the upgrade will do. Raises ServerError if the upgrade is refused."""
    try:
        if away:
            if wanted.major < was.major:
                raise ServerError("a downgrade: no method goes back")
            pulumi.log.info(
                f"upgrades PostgreSQL {was.major} → {wanted.major}: how is decided where the server can be asked"
            )
            return
        upgrade = _requested(was, wanted, wanted.image_name)
        if wanted.major < was.major and docker_upgrade.is_rollback_requested(upgrade):
            pulumi.log.info(f"goes back to PostgreSQL {wanted.major} as it was before the upgrade to {was.major}")
        else:
            pulumi.log.info(docker_upgrade.describe(upgrade))
    except PgstackError as error:
        raise ServerError(
            f"pgvector:image: this stack's data is PostgreSQL {was.major}'s, {wanted.image_name} is PostgreSQL"
            f" {wanted.major}\n  {error}"
        ) from None


def _requested(was: DataProps, wanted: DataProps, image: str) -> docker_upgrade.UpgradeRequest:
    """Return the upgrade that these inputs ask for. It reaches the old server at its deployed address.

    A state written before upgrades existed has no address. Then the upgrade uses the declared one.
    """
    return docker_upgrade.UpgradeRequest(
        client=connect(was.docker), before=was.spec, after=wanted.spec,
        old_image=was.image, new_image=image, volume=was.volume, method=wanted.upgrade_method,
        grace_s=wanted.stop_grace_s, backup=wanted.backup_first(was), pgvector_minimum=wanted.pgvector_minimum,
        report=pulumi.log.info, no_drift=wanted.no_drift(was), reindex=wanted.upgrade_reindex,
        address=was.address(wanted),
    )  # fmt: skip


def _check_volume(was: DataProps, wanted: DataProps) -> None:
    """Raise ServerError if another volume is declared, so that the data would be left behind."""
    if was.volume_name == wanted.volume_name or not (was.adopt or wanted.adopt):
        return
    if was.adopt:
        raise ServerError(
            f"this stack's data is in the volume {was.volume_name}, which it adopted; without it the server would start"
            f" empty\n  leave the key in the stack file:  pgvector:adoptVolume: {was.volume_name}"
        )
    raise ServerError(
        f"this stack has data of its own, in the volume {was.volume_name}: adopting {wanted.volume_name} would leave it"
        " behind\n  adopt in a stack without data, or take this one down first (its volume stays):  pgstack down STACK"
    )


def _look_at_adopted(client: docker.DockerClient, wanted: DataProps) -> None:
    """Log what the adoption will do. Raises ServerError if it is refused."""
    seen = adoption.inspect_legacy_volume(client, wanted.name, wanted.image, wanted.volume)
    if reason := adoption.explain_refusal(seen, wanted.volume, wanted.image_name, wanted.major):
        raise ServerError(reason)
    if message := adoption.describe_adoption(seen, wanted.volume, wanted.major):
        pulumi.log.info(message)


def _look(client: docker.DockerClient, wanted: DataProps) -> None:
    """Inspect the volume. Raises ServerError for data that the declared server can't use."""
    found = data_volume.inspect_volume(client, wanted.name, wanted.image, wanted.volume)
    if refusal := found.refusal(wanted.major, wanted.volume):
        raise ServerError(refusal)


class DataDirectory(DynamicResource, module="pgvector", name="DataDirectory"):
    """The data directory. Outputs: systemIdentifier (str); madeBy ("initdb", "found" or "upgraded from 15");
    upgradedBy, the method of the last upgrade, "" without one; downtimeS, the seconds from the old server's stop to the
    verified new one.
    """

    systemIdentifier: pulumi.Output[str]
    madeBy: pulumi.Output[str]
    upgradedBy: pulumi.Output[str]
    downtimeS: pulumi.Output[float]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(DataDirectoryProvider(), name, dict.fromkeys(OUTPUTS) | props, opts)

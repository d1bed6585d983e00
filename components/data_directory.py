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
from pgvector_stacks.connections.connection import Address, as_pgstack_error
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

from .shared.engine import backup_first, ignore_upgrade_only_changes, no_drift
from .shared.props import is_unknown
from .shared.provider import DynamicResource, Provider, as_deployed, inputs_of, plainly, refused
from .shared.schema_check import refuse_before_a_change, set_apart

OUTPUTS = ("systemIdentifier", "madeBy", "upgradedBy", "downtimeS")
ADDRESS = ("host", "port", "sslmode")


class DataDirectoryProvider(Provider):
    """Inputs: see `DataDirectory`."""

    name = "data-directory"
    outputs = OUTPUTS

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        away = offline.requested(os.environ)
        if away:
            news = as_deployed(_olds, news)
        news, wanted = set_apart(news)
        try:
            _check(_olds, news, away=away)
            # a rollback brings another database back
            if wanted and "major" in _olds and int(news["major"]) >= int(_olds["major"]):
                refuse_before_a_change(_as_it_is(_olds, news, wanted), wanted)
        except PgstackError as error:
            return refused(news, error)
        except psycopg.Error as error:
            return refused(news, as_pgstack_error(error))
        return CheckResult(ignore_upgrade_only_changes(_olds, news), [])

    @plainly
    def create(self, props: dict[str, Any]) -> CreateResult:
        client = connect(props["docker"])
        spec = spec_of(props)
        remove_leftover_containers(client, spec.name)
        if props.get("adopt"):
            adoption.adopt(
                client, spec, props["image"], props["volume"],
                image_name=props["imageName"], database=props["database"], report=pulumi.log.info,
            )  # fmt: skip
        _look(client, props)
        made = self._found(props)
        return CreateResult(made["systemIdentifier"], props | made)

    @staticmethod
    def _found(props: dict[str, Any]) -> dict[str, Any]:
        """Create the data directory, or take the existing one, and return the outputs."""
        spec = spec_of(props)
        identifier, by = data_volume.prepare_data(
            connect(props["docker"]), spec, props["image"], props["volume"], props["adminPassword"]
        )
        return {"systemIdentifier": identifier, "madeBy": by, "upgradedBy": "", "downtimeS": 0}

    @plainly
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        before, after = spec_of(_olds), spec_of(_news)
        if after.major < before.major:
            docker_upgrade.roll_back(_wanted(_olds, _news, _news["image"]))
            return UpdateResult(_news | self._found(_news))
        if before.major != after.major:
            if _news.get("upgradeMethod") != "link":  # after `link` the old container can't be started again
                docker_guardian.start_guardian(_olds["docker"], _olds["name"], _olds["image"])
            journal = docker_upgrade.carry_out(_wanted(_olds, _news, _news["image"]))
            return UpdateResult(
                _news
                | {
                    "systemIdentifier": journal.identifier,
                    "madeBy": f"upgraded from {journal.old}",
                    "upgradedBy": journal.method,
                    "downtimeS": journal.downtime_s,
                }
            )
        changed = before.differs_from(after) or _olds["image"] != _news["image"]
        client = connect(_news["docker"])
        if changed or _is_elsewhere(_olds, _news):
            remove_leftover_containers(client, after.name)
        if changed:
            data_volume.install_files(client, after, _news["image"], _news["volume"])
            pulumi.log.info("tries the new image, settings or limits on an empty directory first")
            data_volume.try_server(client, after, _news["image"], _news["volume"], _news["pgvectorMinimum"])
        if _is_elsewhere(_olds, _news) and _is_gone(client, _news):
            # Preflight has checked that the former place has no data
            _look(client, _news)
            return UpdateResult(_news | self._found(_news))
        return UpdateResult(_news | {key: _olds.get(key) for key in OUTPUTS})

    @plainly
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        try:
            client = connect(props["docker"])
        except PgstackError:
            client = None  # Preflight reports it
        if client is None or not _is_gone(client, props):
            return ReadResult(id_, props, inputs_of(props, OUTPUTS))
        pulumi.log.warn(f"volume {props['volume']} or its data is gone: `up` will create a new, empty database")
        return ReadResult(None, {})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Do nothing: the data is removed with the Volume or stays with it."""


def _is_elsewhere(olds: dict[str, Any], news: dict[str, Any]) -> bool:
    """Return whether the volume may be another one than the state's."""
    return any(olds.get(key) != news.get(key) for key in ("docker", "volume", "volumeName", "name"))


def _is_gone(client: docker.DockerClient, props: dict[str, Any]) -> bool:
    """Return whether the volume is missing or has no data. The data is checked only while no server runs."""
    if not volume_exists(client, props["volume"]):
        return True
    server = find_container(client, props["name"])
    if (server is not None and server.status == "running") or not has_image(client, props["image"]):
        return False
    found = data_volume.inspect_volume(client, props["name"], props["image"], props["volume"])
    return f"{int(props['major'])}/docker" not in found.directories


def _check(olds: dict[str, Any], news: dict[str, Any], *, away: bool) -> None:
    """Raise ServerError for data that the declared server can't or may not use. `away`: the volume isn't asked."""
    if is_unknown(news.get("major")):
        return
    if olds:
        _check_volume(olds, news)
        was, wanted = int(olds["major"]), int(news["major"])
        if was != wanted:
            _check_upgrade(olds, news, away=away)
            return
        if not away:
            _check_extensions(olds, news)
        if not is_unknown({key: news.get(key) for key in ("image", "certificate", "key")}):
            before, after = spec_of(olds), spec_of(news)
            changes = before.describe_changes(after) + _published(olds, news)
            if olds["image"] != news["image"]:
                changes.append(_other_image(olds, news, news["image"]))
            if changes:
                pulumi.log.info(f"restarts PostgreSQL: {', '.join(changes)}")
        elif olds["imageName"] != news["imageName"]:
            pulumi.log.info(f"restarts PostgreSQL: {_other_image(olds, news, '')}")
        return
    if away:
        return
    try:
        client = connect(news["docker"])
    except PgstackError:
        return  # Preflight reports it
    # a preview pulls no image; `create` checks again
    if volume_exists(client, news["volumeName"]) and has_image(client, news["imageName"]):
        seen = news | {"image": news["imageName"], "volume": news["volumeName"]}
        if news.get("adopt"):
            _look_at_adopted(client, seen)
        else:
            _look(client, seen)


def _as_it_is(olds: dict[str, Any], news: dict[str, Any], wanted: Mapping[str, Any]) -> list[Address]:
    """Return the addresses at which the server answers now, from the inputs of the last `up`."""
    words = dict.fromkeys(
        word for word in (olds.get("adminPassword"), news["adminPassword"]) if word and not is_unknown(word)
    )
    return [
        Address(
            olds["host"], int(olds.get("port") or PORT), wanted["database"], ADMIN, word,
            sslmode=olds.get("sslmode") or "", via=Endpoint(olds["docker"], "").via,
            certificate=olds.get("certificate") or "",
        )
        for word in words
    ]  # fmt: skip


def _check_extensions(olds: dict[str, Any], news: dict[str, Any]) -> None:
    """Raise ServerError if another image lacks extensions of the databases. A server that is down isn't checked."""
    image = news["imageName"] if is_unknown(news.get("image")) else news["image"]
    if image in (olds["image"], olds["imageName"]):
        return
    try:
        client = connect(olds["docker"])
        if not has_image(client, image):
            return  # a preview pulls no image; the `up` checks again
        there = extension_check.list_installed(_address(olds | {key: olds.get(key, news.get(key)) for key in ADDRESS}))
        offer = extension_check.list_image_extensions(client, olds["name"], image)
    except (PgstackError, psycopg.Error):
        return
    why = extension_check.explain_refusal(there, offer, news["imageName"]) if offer is not None else ""
    if why:
        raise ServerError(f"pgvector:image: {why}")


def _address(props: dict[str, Any]) -> Address:
    """Return the administrator's address at the deployed server."""
    return Address(
        props["host"], int(props["port"]), "postgres", ADMIN, props["adminPassword"], sslmode=props["sslmode"],
        via=Endpoint(props["docker"], "").via, certificate=props.get("certificate") or "",
    )  # fmt: skip


def _published(olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
    """Return the changes of name, address and port, which replace the container, as far as the state has them."""

    def shown(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value)  # Pulumi passes numbers as floats

    return [
        f"{what} {shown(olds[key])} → {shown(news[key])}"
        for key, what in (("name", "container"), ("host", "address"), ("port", "port"))
        if key in olds and not is_unknown(news.get(key)) and olds[key] != news[key]
    ]


def _other_image(olds: dict[str, Any], news: dict[str, Any], identifier: str) -> str:
    """Describe the change of image, with digests if the name is the same. `identifier`: "" if it isn't known."""
    if olds["imageName"] != news["imageName"] or not identifier:
        return f"image {olds['imageName']} → {news['imageName']}"
    was, now = (str(each).removeprefix("sha256:")[:12] for each in (olds["image"], identifier))
    return f"image {news['imageName']} is another one now ({was} → {now})"


def _check_upgrade(olds: dict[str, Any], news: dict[str, Any], *, away: bool) -> None:
    """Log what the upgrade will do. Raises ServerError if the upgrade is refused."""
    was, wanted = int(olds["major"]), int(news["major"])
    try:
        if away:
            if wanted < was:
                raise ServerError("a downgrade: no method goes back")
            pulumi.log.info(f"upgrades PostgreSQL {was} → {wanted}: how is decided where the server can be asked")
            return
        upgrade = _wanted(olds, news, news["imageName"])
        if wanted < was and docker_upgrade.is_rollback_requested(upgrade):
            pulumi.log.info(f"goes back to PostgreSQL {wanted} as it was before the upgrade to {was}")
        else:
            pulumi.log.info(docker_upgrade.describe(upgrade))
    except PgstackError as error:
        raise ServerError(
            f"pgvector:image: this stack's data is PostgreSQL {was}'s, {news['imageName']} is PostgreSQL {wanted}\n"
            f"  {error}"
        ) from None


def _wanted(olds: dict[str, Any], news: dict[str, Any], image: str) -> docker_upgrade.UpgradeRequest:
    """Return the upgrade that these inputs ask for. It reaches the old server at its deployed address.

    A state written before upgrades existed has no address. Then the upgrade uses the declared one.
    """
    known = {key: None if is_unknown(value) else value for key, value in news.items()}
    olds = {key: known.get(key) for key in ADDRESS} | olds
    return docker_upgrade.UpgradeRequest(
        client=connect(olds["docker"]), before=spec_of(olds), after=spec_of(known),
        old_image=olds["image"], new_image=image, volume=olds["volume"], method=news.get("upgradeMethod"),
        grace_s=int(news["stopGraceS"]), backup=backup_first(olds, news), pgvector_minimum=news["pgvectorMinimum"],
        report=pulumi.log.info, no_drift=no_drift(olds, news), reindex=news.get("upgradeReindex", "before"),
        address=_address(olds),
    )  # fmt: skip


def _check_volume(olds: dict[str, Any], news: dict[str, Any]) -> None:
    """Raise ServerError if another volume is declared, so that the data would be left behind."""
    was, wanted = olds.get("volumeName"), news.get("volumeName")
    if was == wanted or not (olds.get("adopt") or news.get("adopt")):
        return
    if olds.get("adopt"):
        raise ServerError(
            f"this stack's data is in the volume {was}, which it adopted; without it the server would start empty\n"
            f"  leave the key in the stack file:  pgvector:adoptVolume: {was}"
        )
    raise ServerError(
        f"this stack has data of its own, in the volume {was}: adopting {wanted} would leave it behind\n"
        "  adopt in a stack without data, or take this one down first (its volume stays):  pgstack down STACK"
    )


def _look_at_adopted(client: docker.DockerClient, props: dict[str, Any]) -> None:
    """Log what the adoption will do. Raises ServerError if it is refused."""
    major, volume = int(props["major"]), props["volume"]
    seen = adoption.inspect_legacy_volume(client, props["name"], props["image"], volume)
    if reason := adoption.explain_refusal(seen, volume, props["imageName"], major):
        raise ServerError(reason)
    if message := adoption.describe_adoption(seen, volume, major):
        pulumi.log.info(message)


def _look(client: docker.DockerClient, props: dict[str, Any]) -> None:
    """Inspect the volume. Raises ServerError for data that the declared server can't use."""
    major = int(props["major"])
    found = data_volume.inspect_volume(client, props["name"], props["image"], props["volume"])
    if refusal := found.refusal(major, props["volume"]):
        raise ServerError(refusal)


def spec_of(props: dict[str, Any]) -> ContainerSpec:
    """Return the specification of the container that these inputs describe."""
    return ContainerSpec(
        name=props["name"],
        major=int(props["major"]),
        settings={str(name): str(value) for name, value in props["settings"].items()},
        memory_mb=int(props["memoryMb"]),
        cpus=float(props["cpus"]),
        shm_mb=int(props["shmMb"]),
        certificate=props.get("certificate") or "",
        key=props.get("key") or "",
        root_owns_files=bool(props.get("filesOfRoot")),
    )


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

"""The embedded engine: a PostgreSQL server on this machine as a Pulumi resource.

check: a changed major is told in words or refused, a configured port must be free, and what the schema's check would
refuse is refused before the server changes → create/update: initdb where there
is no data, start, the administrator's password; a changed major is upgraded, and backed up once it serves → read: a
server that is found dead shows as a difference, so that the next `up` starts it; a data directory that is gone makes it
a new one → delete: stops the server; the data stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

from pgvector_stacks.automation.provider_process import install_process_hooks
from pgvector_stacks.common.errors import ConnectionFailed, PgstackError, ServerError
from pgvector_stacks.config.environment import ROOT, Environment
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address, as_pgstack_error, connect, server_version
from pgvector_stacks.embedded import embedded_server, trust_lines
from pgvector_stacks.sizing.settings import derive, settings_hash
from pgvector_stacks.upgrade.engines import embedded_guardian, embedded_upgrade

from .password import password
from .shared.engine import (  # fmt: skip
    BACKUP_INPUTS,
    UPGRADE_INPUTS,
    Server,
    backup_after,
    backup_first,
    backup_inputs,
    ignore_upgrade_only_changes,
    no_drift,
    upgrade_inputs,
)
from .shared.provider import DynamicResource, is_unknown, plainly, refused
from .shared.schema_check import WANTED, refuse_before_a_change, set_apart

INPUTS = ("data", "major", "wantedPort", "settings", "adminPassword", "server", *UPGRADE_INPUTS, *BACKUP_INPUTS)
MADE = ("madeBy", "upgradedBy", "downtimeS")


class EmbeddedServerProvider(ResourceProvider):
    """Inputs: data (directory), major, wantedPort (optional), settings, adminPassword, server ("running"),
    and what `engine.upgrade_inputs` and `engine.backup_inputs` give.
    """

    def configure(self, req: Any) -> None:
        install_process_hooks()

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        news, wanted = set_apart(news)
        try:
            _check_place(_olds, news)
            _check_port(_olds, news)
            if not _olds:
                _warn_of_other_data(news)
            if _is_another_major(_olds, news):
                pulumi.log.info(_announced(_olds, news))
            # a rollback brings another database back
            if wanted and "major" in _olds and int(news["major"]) >= int(_olds["major"]):
                refuse_before_a_change(_as_it_is(_olds, news, wanted), wanted)
        except PgstackError as error:
            return refused(news, error)
        except psycopg.Error as error:
            return refused(news, as_pgstack_error(error))
        return CheckResult(ignore_upgrade_only_changes(_olds, news), [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult()  # the engine compares the inputs and prints the changed keys

    @plainly
    def create(self, props: dict[str, Any]) -> CreateResult:
        embedded_guardian.wait_for_guardian(_root(props))
        by = {} if _directory(props).made else {"madeBy": "initdb"}
        outs = _bring_up(props, props["adminPassword"]) | by
        return CreateResult(outs["identity"].split("/")[0], outs)

    @plainly
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        embedded_guardian.wait_for_guardian(_root(_news))
        made = {key: _olds[key] for key in MADE if key in _olds}
        upgraded = _is_another_major(_olds, _news)
        if upgraded:
            made = _upgrade(_olds, _news)
        outs = _bring_up(_news, _olds["adminPassword"]) | made
        if upgraded:
            from pgvector_stacks.upgrade.checks import (  # with all that runs scripts: the program only declares
                reindex,
                statistics,
            )

            address = _address(outs["port"], outs["adminPassword"])
            reindex.rebuild_stale(address, pulumi.log.info)
            statistics.analyze_missing(address)
            _back_up(_olds, outs)
        return UpdateResult(outs)

    @plainly
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        embedded_guardian.wait_for_guardian(_root(props))
        directory = _directory(props)
        state = embedded_server.status(directory)
        if state == "missing":
            return ReadResult(None, {})
        found = "running" if state == "running" else "stopped"
        if state == "running" and embedded_server.refuses(directory, props["adminPassword"]):
            found = "refuses the administrator's password"
        if trust_lines.is_open(directory.path):
            found = "lets anybody on this machine in without a password"
            pulumi.log.warn(f"the server {found}: {directory.path}/{trust_lines.NAME} says trust; `up` mends it")
        outs = props | {"server": found}
        return ReadResult(id_, outs, {key: outs[key] for key in INPUTS if key in outs})

    @plainly
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        embedded_guardian.wait_for_guardian(_root(_props))
        for major in embedded_server.VERSIONS:  # also the one that an interrupted upgrade started
            directory = embedded_server.Directory(_root(_props) / str(major), major)
            if directory.made:
                embedded_server.stop(directory)


def _root(props: dict[str, Any]) -> Path:
    return _directory(props).path.parent


def _warn_of_other_data(props: dict[str, Any]) -> None:
    """The state is new, the data of another major isn't: nobody is to look for it in the empty server beside it."""
    own = _directory(props)
    for major in embedded_server.VERSIONS:
        other = embedded_server.Directory(_root(props) / str(major), major)
        if other.made and not own.made:
            pulumi.log.warn(
                f"a new and empty server: the data of PostgreSQL {major} in {other.path} is not used\n"
                f"  to upgrade it instead:  {embedded_upgrade.VERSION_KEY}: {major}, `up`, then {own.major}, `up`"
            )


def _directory(props: dict[str, Any]) -> embedded_server.Directory:
    return embedded_server.Directory(ROOT / props["data"], int(props["major"]))


def _is_another_major(olds: dict[str, Any], news: dict[str, Any]) -> bool:
    return "major" in olds and int(olds["major"]) != int(news["major"])


def _check_place(olds: dict[str, Any], news: dict[str, Any]) -> None:
    """Raises ServerError where a renamed stack would start empty beside its data."""
    if not {"data", "major"} <= olds.keys() or is_unknown([news["data"], news["major"]]):
        return
    was, wanted = (Path(props["data"]).parent for props in (olds, news))
    if was != wanted and _directory(olds).made and not _directory(news).made:
        raise ServerError(
            f"this stack's data is in {was}, as the stack's name was; in {wanted} the server would start empty\n"
            f"  give it its name back:  pulumi stack rename {was.name}\n"
            f"  or move it:  pgstack down {wanted.name};  mv {was} {wanted};  pgstack up {wanted.name}"
        )


def _check_port(olds: dict[str, Any], news: dict[str, Any]) -> None:
    """Raises ServerError where something that isn't ours listens on a configured port."""
    wanted = news.get("wantedPort")
    if not wanted or is_unknown([wanted, news["data"], news["major"]]):
        return
    own = [_directory(props) for props in (olds, news) if "data" in props and "major" in props]
    if any(embedded_server.pid(each) is not None and embedded_server.kept_port(each) == int(wanted) for each in own):
        return
    if not embedded_server.port_is_free(int(wanted)):
        raise ServerError(
            f"pgvector:port = {int(wanted)}: something else listens on it on this machine\n"
            f"  see what:  ss -ltnp 'sport = :{int(wanted)}'\n"
            "  or leave the key out: a free one is chosen"
        )


def _as_it_is(olds: dict[str, Any], news: dict[str, Any], wanted: Mapping[str, Any]) -> list[Address]:
    """Where the server is now: on the port of its own settings file. Empty where it isn't running."""
    directory = _directory(olds)
    port = embedded_server.kept_port(directory)
    if port is None or embedded_server.pid(directory) is None:
        return []
    words = dict.fromkeys(
        word for word in (olds.get("adminPassword"), news["adminPassword"]) if word and not is_unknown(word)
    )
    return [Address(embedded_server.HOST, port, wanted["database"], embedded_server.ADMIN, word) for word in words]


def _job(olds: dict[str, Any], news: dict[str, Any]) -> embedded_guardian.Job:
    return embedded_guardian.Job(
        root=str(_root(news).resolve()),
        old=int(olds["major"]),
        new=int(news["major"]),
        old_settings=_settings(olds),
        settings=_settings(news),
        port=int(news["wantedPort"]) if news.get("wantedPort") else None,
    )


def _goes_back(job: embedded_guardian.Job) -> bool:
    """Whether the lower major is a rollback that was asked for. Raises ServerError for a downgrade that was not."""
    was, wanted = job.old, job.new
    if wanted < was:
        if embedded_upgrade.is_rollback_requested(job):
            return True
        raise ServerError(
            f"{embedded_upgrade.VERSION_KEY}: this stack's data is PostgreSQL {was}'s, the file says {wanted}:"
            f" no upgrade goes back\n  set it to {was} again\n"
            "  or, to the state before the upgrade, while it is kept:  pgstack upgrade rollback STACK"
        )
    return False


def _announced(olds: dict[str, Any], news: dict[str, Any]) -> str:
    """What `up` would do about another major. Raises PgstackError where it would refuse, psycopg.Error."""
    job = _job(olds, news)
    if _goes_back(job):
        return f"goes back to PostgreSQL {job.new} as it was before the upgrade to {job.old}"
    try:
        return embedded_upgrade.describe(
            job, olds.get("adminPassword", ""), news.get("upgradeMethod"), no_drift=no_drift(olds, news),
            reindex=news.get("upgradeReindex", "before"),
        )  # fmt: skip
    except ConnectionFailed as error:
        return f"PostgreSQL {job.old} could not be asked whether it can be upgraded; `up` asks it again: {error}"


def _upgrade(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    """The outputs that tell of it. Raises PgstackError, psycopg.Error."""
    job = _job(olds, news)
    if _goes_back(job):
        embedded_upgrade.roll_back(job)
        return {}
    outcome = embedded_upgrade.upgrade(
        job, olds["adminPassword"], news.get("upgradeMethod"), pulumi.log.info,
        backup=backup_first(olds, news), no_drift=no_drift(olds, news), reindex=news.get("upgradeReindex", "before"),
    )  # fmt: skip
    found: dict[str, Any] = {"madeBy": f"upgraded from {job.old}", "upgradedBy": outcome.method}
    return found | ({} if outcome.downtime_s is None else {"downtimeS": outcome.downtime_s})


def _back_up(olds: dict[str, Any], outs: dict[str, Any]) -> None:
    """Of the upgraded server; not after a rollback, whose state the backups from before have."""
    if int(outs["major"]) > int(olds["major"]) and (after := backup_after(outs)):
        reached = embedded_upgrade.open_toolbox_at_server(_job(olds, outs), outs["adminPassword"])
        after.make(reached, pulumi.log.info, pulumi.log.warn)


def _address(port: int, password: str) -> Address:
    return Address(embedded_server.HOST, port, "postgres", embedded_server.ADMIN, password)


def _settings(props: dict[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in props["settings"].items()}


def _bring_up(props: dict[str, Any], known_password: str) -> dict[str, Any]:
    """From whatever is there to a running server with these settings, this port and this password."""
    directory = _directory(props)
    settings = _settings(props)
    wanted = int(props["wantedPort"]) if props.get("wantedPort") else None
    embedded_upgrade.check_is_current(directory)
    embedded_server.initialise(directory, props["adminPassword"])
    if embedded_server.pid(directory) is not None and (
        embedded_server.written_settings(directory) != settings
        or wanted not in (None, embedded_server.kept_port(directory))
    ):
        embedded_server.stop(directory)
    port = embedded_server.start(directory, settings, port=wanted)
    embedded_server.ensure_password(directory, port, known_password)
    if known_password != props["adminPassword"]:
        with connect(_address(port, known_password)) as connection:
            roles.set_password(connection, embedded_server.ADMIN, props["adminPassword"])
    with connect(_address(port, props["adminPassword"])) as connection:
        version = server_version(connection)
    identity = f"{embedded_server.system_identifier(directory)}/{version}/{settings_hash(settings)}"
    return props | {"host": embedded_server.HOST, "port": port, "version": version, "identity": identity}


class EmbeddedServer(DynamicResource, module="pgvector", name="EmbeddedServer"):
    """A server in `.data/<stack>/<major>`. Outputs: host (str), port (int), version and identity (str).

    In the state besides: madeBy ("initdb", "upgraded from 16"), and of an upgrade upgradedBy and downtimeS.
    """

    host: pulumi.Output[str]
    port: pulumi.Output[int]
    version: pulumi.Output[str]
    identity: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        outputs = dict.fromkeys(("host", "port", "version", "identity"))
        super().__init__(EmbeddedServerProvider(), name, outputs | props, opts)


def declare(
    environment: Environment, parent: pulumi.Resource, schema: Mapping[str, Any], backup_key: pulumi.Output[str]
) -> Server:
    """The embedded engine's part of the `Engine` interface. `schema`: what its check compares before a change."""
    admin_password = password("admin-password", environment.admin_password, parent)
    settings = derive(environment.limits, durability=environment.durability)
    server = EmbeddedServer(
        "server",
        {
            # below the checkout, which may be moved
            "data": f".data/{environment.stack}/{environment.major}",
            "major": environment.major,
            "wantedPort": environment.port,
            "settings": settings,
            "adminPassword": admin_password,
            "server": "running",
            WANTED: schema,
        }
        | upgrade_inputs(environment, backup_key)
        | backup_inputs(environment, backup_key),
        pulumi.ResourceOptions(parent=parent, delete_before_replace=True),
    )
    return Server(
        host=server.host,
        port=server.port.apply(int),
        identity=server.identity,
        version=server.version,
        settings=settings,
        admin=embedded_server.ADMIN,
        admin_password=admin_password,
    )

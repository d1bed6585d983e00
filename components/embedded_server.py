"""The embedded engine: a PostgreSQL server on this machine as a Pulumi resource.

- `check` describes or refuses a changed major version, requires that a configured port is free, and before the server
  changes it refuses what the schema's check would refuse later.
- `create` and `update` run initdb if there is no data, start the server, and set the administrator's password. For a
  changed major version they upgrade the data, and back it up once the new server accepts connections.
- `read` shows a stopped server as a difference, so that the next `up` starts it. If the data directory is missing, it
  makes this a new resource.
- `delete` stops the server; the data stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pulumi
from pulumi.dynamic import CheckResult, CreateResult, ReadResult, UpdateResult

from pgvector_stacks.common.errors import ConnectionFailed, PgstackError, ServerError
from pgvector_stacks.config.environment import ROOT, Environment
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address, connect, server_version, wrap_server_error
from pgvector_stacks.embedded import embedded_server, trust_lines
from pgvector_stacks.sizing.settings import derive_settings, settings_hash
from pgvector_stacks.upgrade.engines import embedded_guardian, embedded_upgrade

from .password import declare_password
from .shared.engine import (  # fmt: skip
    BACKUP_INPUTS,
    UPGRADE_INPUTS,
    DeclaredServer,
    backup_inputs,
    ignore_upgrade_only_changes,
    upgrade_inputs,
)
from .shared.props import Props
from .shared.provider import DynamicResource, Provider, build_refusal, hide_tracebacks
from .shared.schema_check import WANTED, refuse_before_a_change, set_apart
from .shared.upgrade_props import UpgradeProps

INPUTS = ("data", "major", "wantedPort", "settings", "adminPassword", "server", *UPGRADE_INPUTS, *BACKUP_INPUTS)
OUTPUTS = ("host", "port", "version", "identity")
MADE = ("madeBy", "upgradedBy", "downtimeS")


class DirectoryProps(Props):
    """The place of a server's data. A value that a check doesn't know yet is "" or 0."""

    data: str = ""
    major: int = 0
    admin_password: str = ""
    wanted_port: int | None = None

    @property
    def known(self) -> bool:
        return bool(self.data and self.major)

    @property
    def directory(self) -> embedded_server.Directory:
        return embedded_server.Directory(ROOT / self.data, self.major)

    @property
    def root(self) -> Path:
        """The folder that has the data directories of all major versions."""
        return self.directory.path.parent


class JobProps(DirectoryProps, UpgradeProps):
    """The place of the data, and what an upgrade needs."""

    data: str
    major: int
    settings: dict[str, str]


class EmbeddedServerProps(JobProps):
    """All properties of a server."""

    admin_password: str
    server: str = ""  # the program declares "running"; `read` writes what it found
    host: str = ""
    port: int = 0
    version: str = ""
    identity: str = ""
    made_by: str = ""
    upgraded_by: str = ""
    downtime_s: float | None = None

    @property
    def address(self) -> Address:
        """The administrator's address at the started server."""
        return _address(self.port, self.admin_password)


class EmbeddedServerProvider(Provider):
    """Inputs: `EmbeddedServerProps`."""

    name = "embedded-server"
    outputs = (*OUTPUTS, *MADE)

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        news, wanted = set_apart(news)
        try:
            was, now = DirectoryProps.from_props(_olds), DirectoryProps.from_props(news)
            _check_place(was, now)
            _check_port(was, now)
            if not _olds:
                _warn_of_other_data(now)
            if _is_another_major(was, now):
                pulumi.log.info(_announced(_olds, news))
            # a rollback brings another database back
            if wanted and was.major and now.major >= was.major:
                refuse_before_a_change(_as_it_is(was, now, wanted), wanted)
        except PgstackError as error:
            return build_refusal(news, error)
        except psycopg.Error as error:
            return build_refusal(news, wrap_server_error(error))
        return CheckResult(ignore_upgrade_only_changes(_olds, news), [])

    @hide_tracebacks
    def create(self, props: dict[str, Any]) -> CreateResult:
        wanted = EmbeddedServerProps.from_props(props)
        embedded_guardian.wait_for_guardian(wanted.root)
        made = {} if wanted.directory.made else {"made_by": "initdb"}
        serves = _bring_up(wanted, wanted.admin_password)
        return CreateResult(serves.identity.split("/")[0], serves.to_props(**made))

    @hide_tracebacks
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        was, wanted = (EmbeddedServerProps.from_props(props) for props in (_olds, _news))
        embedded_guardian.wait_for_guardian(wanted.root)
        made: dict[str, Any] = {key: _olds[key] for key in MADE if key in _olds}
        upgraded = _is_another_major(was, wanted)
        if upgraded:
            made = _upgrade(was, wanted)
        serves = _bring_up(wanted, was.admin_password)
        outs = serves.to_props() | made
        if upgraded:
            from pgvector_stacks.upgrade.checks import (  # late: the program only declares
                reindex,
                statistics,
            )

            reindex.reindex_stale_indexes(serves.address, pulumi.log.info)
            statistics.analyze_missing(serves.address)
            _back_up(was, serves)
        return UpdateResult(outs)

    @hide_tracebacks
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        deployed = DirectoryProps.from_props(props)
        embedded_guardian.wait_for_guardian(deployed.root)
        directory = deployed.directory
        state = embedded_server.server_status(directory)
        if state == "missing":
            return ReadResult(None, {})
        found = "running" if state == "running" else "stopped"
        if state == "running" and embedded_server.refuses_password(directory, deployed.admin_password):
            found = "refuses the administrator's password"
        if trust_lines.has_trust_lines(directory.path):
            found = "lets anybody on this machine in without a password"
            pulumi.log.warn(f"the server {found}: {directory.path}/{trust_lines.NAME} says trust; `up` fixes it")
        outs = deployed.to_props() | {"server": found}
        return ReadResult(id_, outs, {key: outs[key] for key in INPUTS if key in outs})

    @hide_tracebacks
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        root = DirectoryProps.from_props(_props).root
        embedded_guardian.wait_for_guardian(root)
        for major in embedded_server.VERSIONS:  # also the one that an interrupted upgrade started
            directory = embedded_server.Directory(root / str(major), major)
            if directory.made:
                embedded_server.stop(directory)


def _warn_of_other_data(wanted: DirectoryProps) -> None:
    """Warn if the state is new and data of another major version exists: the new server is empty and doesn't use it."""
    own = wanted.directory
    for major in embedded_server.VERSIONS:
        other = embedded_server.Directory(wanted.root / str(major), major)
        if other.made and not own.made:
            pulumi.log.warn(
                f"a new and empty server: the data of PostgreSQL {major} in {other.path} is not used\n"
                f"  to upgrade it instead:  {embedded_upgrade.VERSION_KEY}: {major}, `up`, then {own.major}, `up`"
            )


def _is_another_major(was: DirectoryProps, wanted: DirectoryProps) -> bool:
    return was.major not in (0, wanted.major)


def _check_place(was: DirectoryProps, wanted: DirectoryProps) -> None:
    """Raise ServerError if a renamed stack would start empty, without its data."""
    if not (was.known and wanted.known):
        return
    here, there = Path(was.data).parent, Path(wanted.data).parent
    if here != there and was.directory.made and not wanted.directory.made:
        raise ServerError(
            f"this stack's data is in {here}, as the stack's name was; in {there} the server would start empty\n"
            f"  give it its name back:  pulumi stack rename {here.name}\n"
            f"  or move it:  pgstack down {there.name};  mv {here} {there};  pgstack up {there.name}"
        )


def _check_port(was: DirectoryProps, wanted: DirectoryProps) -> None:
    """Raise ServerError if a process other than our server listens on the configured port."""
    port = wanted.wanted_port
    if not port or not wanted.known:
        return
    own = [each.directory for each in (was, wanted) if each.known]
    if any(
        embedded_server.find_postmaster(each) is not None and embedded_server.read_last_port(each) == port
        for each in own
    ):
        return
    if not embedded_server.is_port_free(port):
        raise ServerError(
            f"pgvector:port = {port}: something else listens on it on this machine\n"
            f"  see what:  ss -ltnp 'sport = :{port}'\n"
            "  or leave the key out: a free one is chosen"
        )


def _as_it_is(was: DirectoryProps, now: DirectoryProps, wanted: Mapping[str, Any]) -> list[Address]:
    """Return the server's present addresses, on the port of its settings file; none if the server isn't running."""
    port = embedded_server.read_last_port(was.directory)
    if port is None or embedded_server.find_postmaster(was.directory) is None:
        return []
    words = dict.fromkeys(word for word in (was.admin_password, now.admin_password) if word)
    return [Address(embedded_server.HOST, port, wanted["database"], embedded_server.ADMIN, word) for word in words]


def _job(was: JobProps, wanted: JobProps) -> embedded_guardian.Job:
    return embedded_guardian.Job(
        root=str(wanted.root.resolve()),
        old=was.major,
        new=wanted.major,
        old_settings=was.settings,
        settings=wanted.settings,
        port=wanted.wanted_port,
    )


def _goes_back(job: embedded_guardian.Job) -> bool:
    """Return whether the job is a requested rollback. Raises ServerError for a downgrade that nobody requested."""
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
    """Return what `up` would do about another major version. Raises PgstackError if it would refuse, psycopg.Error."""
    was, wanted = JobProps.from_props(olds), JobProps.from_props(news)
    job = _job(was, wanted)
    if _goes_back(job):
        return f"goes back to PostgreSQL {job.new} as it was before the upgrade to {job.old}"
    try:
        return embedded_upgrade.describe(
            job, was.admin_password, wanted.upgrade_method, no_drift=wanted.no_drift(was),
            reindex=wanted.upgrade_reindex,
        )  # fmt: skip
    except ConnectionFailed as error:
        return f"PostgreSQL {job.old} could not be asked whether it can be upgraded; `up` asks it again: {error}"


def _upgrade(was: EmbeddedServerProps, wanted: EmbeddedServerProps) -> dict[str, Any]:
    """Upgrade, or roll back, and return the outputs that describe it. Raises PgstackError, psycopg.Error."""
    job = _job(was, wanted)
    if _goes_back(job):
        embedded_upgrade.roll_back(job)
        return {}
    outcome = embedded_upgrade.upgrade(
        job, was.admin_password, wanted.upgrade_method, pulumi.log.info,
        backup=wanted.backup_first(was), no_drift=wanted.no_drift(was), reindex=wanted.upgrade_reindex,
    )  # fmt: skip
    found: dict[str, Any] = {"madeBy": f"upgraded from {job.old}", "upgradedBy": outcome.method}
    return found | ({} if outcome.downtime_s is None else {"downtimeS": outcome.downtime_s})


def _back_up(was: EmbeddedServerProps, serves: EmbeddedServerProps) -> None:
    """Back up the upgraded server, but not after a rollback: backups of that version exist from before the upgrade."""
    if serves.major > was.major and (after := serves.backup_after()):
        reached = embedded_upgrade.open_toolbox_at_server(_job(was, serves), serves.admin_password)
        after.make(reached, pulumi.log.info, pulumi.log.warn)


def _address(port: int, password: str) -> Address:
    return Address(embedded_server.HOST, port, "postgres", embedded_server.ADMIN, password)


def _bring_up(wanted: EmbeddedServerProps, known_password: str) -> EmbeddedServerProps:
    """Bring the server up with these settings, this port and this password. Return its properties with the outputs."""
    directory, settings, port = wanted.directory, wanted.settings, wanted.wanted_port
    embedded_upgrade.check_is_current(directory)
    embedded_server.initialise(directory, wanted.admin_password)
    if embedded_server.find_postmaster(directory) is not None and (
        embedded_server.read_settings(directory) != settings
        or port not in (None, embedded_server.read_last_port(directory))
    ):
        embedded_server.stop(directory)
    port = embedded_server.start(directory, settings, port=port)
    embedded_server.ensure_password(directory, port, known_password)
    if known_password != wanted.admin_password:
        with connect(_address(port, known_password)) as connection:
            roles.set_password(connection, embedded_server.ADMIN, wanted.admin_password)
    with connect(_address(port, wanted.admin_password)) as connection:
        version = server_version(connection)
    identity = f"{embedded_server.system_identifier(directory)}/{version}/{settings_hash(settings)}"
    outs = wanted.to_props(host=embedded_server.HOST, port=port, version=version, identity=identity)
    return EmbeddedServerProps.from_props(outs)


class EmbeddedServer(DynamicResource, module="pgvector", name="EmbeddedServer"):
    """A server in `.data/<stack>/<major>`. Outputs: host (str), port (int), version and identity (str).

    The state also has madeBy ("initdb", "upgraded from 16") and, after an upgrade, upgradedBy and downtimeS.
    """

    host: pulumi.Output[str]
    port: pulumi.Output[int]
    version: pulumi.Output[str]
    identity: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(EmbeddedServerProvider(), name, dict.fromkeys(OUTPUTS) | props, opts)


def declare(
    environment: Environment, parent: pulumi.Resource, schema: Mapping[str, Any], backup_key: pulumi.Output[str]
) -> DeclaredServer:
    """Declare the embedded engine's server. `schema`: what its check compares with the database before a change."""
    admin_password = declare_password("admin-password", environment.admin_password, parent)
    settings = derive_settings(environment.limits, durability=environment.durability)
    server = EmbeddedServer(
        "server",
        {
            # relative to the checkout, because the checkout may be moved
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
    return DeclaredServer(
        host=server.host,
        port=server.port.apply(int),
        identity=server.identity,
        version=server.version,
        settings=settings,
        admin=embedded_server.ADMIN,
        admin_password=admin_password,
    )

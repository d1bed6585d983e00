"""The embedded engine: a PostgreSQL server on this machine as a Pulumi resource.

check: the major can't change here, a configured port must be free → create/update: initdb where there is no data,
start, the administrator's password → read: a server that is found dead shows as a difference, so that the next `up`
starts it; a data directory that is gone makes it a new one → delete: stops the server; the data stays.
"""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from components.engine import Server
from components.password import password
from components.provider import is_unknown, plainly, refused, settle_in
from postgres import embedded, roles
from postgres.connection import Address, connect, server_version
from postgres.errors import ServerError
from postgres.settings import derive, settings_hash
from stacks.environment import ROOT, Environment

INPUTS = ("data", "major", "wantedPort", "settings", "adminPassword", "server")


class EmbeddedServerProvider(ResourceProvider):
    """Inputs: data (directory), major, wantedPort (optional), settings, adminPassword, server ("running")."""

    def configure(self, req: Any) -> None:
        settle_in()

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        if _olds and "major" in _olds and int(_olds["major"]) != int(news["major"]):
            was, wanted = int(_olds["major"]), int(news["major"])
            return refused(
                news,
                ServerError(
                    f"pgvector:postgresVersion: this stack's data is PostgreSQL {was}'s, the file says {wanted}\n"
                    f"  the version upgrade is not built yet: set it back to {was}"
                ),
            )
        wanted_port = news.get("wantedPort")
        if wanted_port and not is_unknown([wanted_port, news["data"], news["major"]]):
            directory = _directory(news)
            taken = not embedded.port_is_free(int(wanted_port))
            if taken and (embedded.pid(directory) is None or embedded.kept_port(directory) != int(wanted_port)):
                return refused(
                    news,
                    ServerError(
                        f"pgvector:port = {int(wanted_port)}: something else listens on it on this machine\n"
                        f"  see what:  ss -ltnp 'sport = :{int(wanted_port)}'\n"
                        "  or leave the key out: a free one is chosen"
                    ),
                )
        return CheckResult(news, [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult()  # the engine compares the inputs and prints the changed keys

    @plainly
    def create(self, props: dict[str, Any]) -> CreateResult:
        outs = _bring_up(props, props["adminPassword"])
        return CreateResult(outs["identity"].split("/")[0], outs)

    @plainly
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_bring_up(_news, _olds["adminPassword"]))

    @plainly
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        directory = _directory(props)
        state = embedded.status(directory)
        if state == "missing":
            return ReadResult(None, {})
        found = "running" if state == "running" else "stopped"
        if state == "running" and embedded.refuses(directory, props["adminPassword"]):
            found = "refuses the administrator's password"
        outs = props | {"server": found}
        return ReadResult(id_, outs, {key: outs[key] for key in INPUTS if key in outs})

    @plainly
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        directory = _directory(_props)
        if directory.made:
            embedded.stop(directory)


def _directory(props: dict[str, Any]) -> embedded.Directory:
    return embedded.Directory(ROOT / props["data"], int(props["major"]))


def _bring_up(props: dict[str, Any], known_password: str) -> dict[str, Any]:
    """From whatever is there to a running server with these settings, this port and this password."""
    directory = _directory(props)
    settings = {str(name): str(value) for name, value in props["settings"].items()}
    wanted = int(props["wantedPort"]) if props.get("wantedPort") else None
    embedded.initialise(directory, props["adminPassword"])
    if embedded.pid(directory) is not None and (
        embedded.written_settings(directory) != settings or wanted not in (None, embedded.kept_port(directory))
    ):
        embedded.stop(directory)
    port = embedded.start(directory, settings, port=wanted)
    embedded.ensure_password(directory, port, known_password)
    if known_password != props["adminPassword"]:
        address = Address(embedded.HOST, port, "postgres", embedded.ADMIN, known_password)
        with connect(address) as connection:
            roles.set_password(connection, embedded.ADMIN, props["adminPassword"])
    address = Address(embedded.HOST, port, "postgres", embedded.ADMIN, props["adminPassword"])
    with connect(address) as connection:
        version = server_version(connection)
    identity = f"{embedded.system_identifier(directory)}/{version}/{settings_hash(settings)}"
    return props | {"host": embedded.HOST, "port": port, "version": version, "identity": identity}


class EmbeddedServer(Resource, module="pgvector", name="EmbeddedServer"):
    """A server in `.data/<stack>/<major>`. Outputs: host (str), port (int), version and identity (str)."""

    host: pulumi.Output[str]
    port: pulumi.Output[int]
    version: pulumi.Output[str]
    identity: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        outputs = dict.fromkeys(("host", "port", "version", "identity"))
        super().__init__(EmbeddedServerProvider(), name, outputs | props, opts)


def declare(environment: Environment, parent: pulumi.Resource) -> Server:
    """The embedded engine's part of the `Engine` interface."""
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
        },
        pulumi.ResourceOptions(parent=parent, delete_before_replace=True),
    )
    return Server(
        host=server.host,
        port=server.port.apply(int),
        identity=server.identity,
        version=server.version,
        settings=settings,
        admin=embedded.ADMIN,
        admin_password=admin_password,
    )

"""What a stack's state says about its database: also after an `up` that stopped on the way, the first one included.

The outputs are those of the last `up` that came to its end. The server may have moved since (another port), or there
may be none yet, though a server and a ledger are there. So everything that asks the database takes its address from
the resources, and this is the one place that knows them. Pure: the state comes in as `pulumi stack export` gives it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.connections.server_authentication import SCRAM
from pgvector_stacks.docker.container_spec import PORT
from pgvector_stacks.embedded.embedded_server import ADMIN

SIGNATURE, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"  # Pulumi's own marks
DYNAMIC = "pulumi-python:dynamic/pgvector:"
URLS = {"appUrl": roles.APP, "readonlyUrl": roles.READONLY, "adminUrl": ADMIN}
ANYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Output:
    """`shown`: False for what only our own commands use."""

    value: Any
    secret: bool
    shown: bool = True


def exported(state: Mapping[str, Any]) -> dict[str, Output]:
    """What the program exported when an `up` last came to its end."""
    return {name: Output(plain(value), _is_secret(value)) for name, value in _root(state).items()}


def outputs(state: Mapping[str, Any], configured: Mapping[str, str] | None = None) -> dict[str, Output]:
    """The stack's outputs, the server's address as it is now; without outputs what the resources know. {}: no server.

    The administrator's URL is always among them, shown only where the stack file asks for it; the password of scheduled
    backups is never shown.
    What only a finished `up` knows (`schemaRevision`, `validation`) is missing where none was. `configured`: passwords
    of the stack file (`appPassword`), which the first `up` used instead of the generated ones.
    """
    known = exported(state)
    server = _server(state)
    if server is None:
        return known
    words = _passwords(state, configured or {}) | {ADMIN: str(server["adminPassword"])}
    if not known:
        known = _as_far_as_known(state, server, words)
        if "adminUrl" in known and str((configured or {}).get("adminUrl")).lower() != "true":
            known["adminUrl"] = replace(known["adminUrl"], shown=False)
    host, port = str(server["host"]), int(server.get("port") or PORT)
    known |= {"host": Output(host, secret=False), "port": Output(port, secret=False)}
    if certificate := server.get("certificate"):  # of the server that runs, which a stopped `up` may have given another
        known["certificate"] = Output(str(certificate), secret=False)
    if version := server.get("version"):
        known["postgresVersion"] = Output(version, secret=False)
    for name, role in URLS.items():
        if name in known:
            address = replace(address_of(str(known[name].value)), host=host, port=port)
            if role == ADMIN:
                address = replace(address, password=words[ADMIN])
            known[name] = replace(known[name], value=address.url, secret=True)
    if "adminUrl" not in known and "appUrl" in known:
        address = replace(address_of(str(known["appUrl"].value)), user=ADMIN, password=words[ADMIN])
        known["adminUrl"] = Output(address.url, secret=True, shown=False)
    if word := (_resource(state, "SqlSchema") or {}).get("backupPassword"):
        known["backupPassword"] = Output(word, secret=True, shown=False)
    return known


def backup_key(state: Mapping[str, Any]) -> str:
    """The key that signs the stack's backups; "" where no `up` has made one yet."""
    return str((_resource(state, "BackupKey") or {}).get("value") or "")


def address_of(url: str) -> Address:
    """What an output URL says. Raises PgstackError where its port is no number."""
    parts = urlsplit(url)
    try:
        port = parts.port or PORT
    except ValueError:
        raise PgstackError("the URL's port is no number between 0 and 65535") from None
    given = dict(parse_qsl(parts.query))
    return Address(
        host=str(parts.hostname),
        port=port,
        database=unquote(parts.path.lstrip("/")),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        sslmode=given.get("sslmode", ""),
        require_auth=given.get("require_auth", SCRAM),
    )


def own_address(outputs: Mapping[str, Any], name: str, via: str = "") -> Address:
    """Of a stack's own server, by its outputs: with its certificate. `via`: the ssh URL through which it is reached."""
    return replace(address_of(str(outputs[name])), via=via, certificate=str(outputs.get("certificate") or ""))


def plain(value: Any) -> Any:
    """The value without Pulumi's marks around secrets, at any depth."""
    if isinstance(value, Mapping):
        if _is_secret(value):
            return plain(json.loads(value["plaintext"])) if "plaintext" in value else None
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _is_secret(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get(SIGNATURE) == SECRET


def _root(state: Mapping[str, Any]) -> Mapping[str, Any]:
    found = next((each for each in _all(state) if each["type"] == "pulumi:pulumi:Stack"), {})
    return found.get("outputs") or {}


def _all(state: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Without those that a replacement left to be deleted."""
    return [each for each in state.get("resources") or () if not each.get("delete")]


def _resource(state: Mapping[str, Any], kind: str, name: str = "") -> dict[str, Any] | None:
    """Inputs and outputs of one of ours, plain; None where it isn't there."""
    for each in _all(state):
        if each["type"] == DYNAMIC + kind and (not name or each["urn"].endswith(f"::{name}")):
            return {**plain(each.get("inputs") or {}), **plain(each.get("outputs") or {})}
    return None


def _server(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """host, port, adminPassword …, of the server that is there; in Docker it is where its container is published."""
    if embedded := _resource(state, "EmbeddedServer"):
        return embedded if embedded.get("host") and embedded.get("port") else None
    known = [found for kind in ("Readiness", "DataDirectory") if (found := _resource(state, kind)) is not None]
    published = _published(state)
    if published is None or not known:
        return None
    fitting = (each for each in known if published.items() <= (each | {"port": int(each.get("port") or PORT)}).items())
    return next(fitting, known[0] | published)


def _published(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """host and port of the container."""
    for each in _all(state):
        if each["type"] == "docker:index/container:Container" and each["urn"].endswith("::server"):
            (port, *_) = plain(each.get("inputs") or {}).get("ports") or [{}]
            address = port.get("ip") or ANYWHERE[0]
            host = "127.0.0.1" if address in ANYWHERE else address
            return {"host": host, "port": int(port.get("external") or PORT)}
    return None


def _passwords(state: Mapping[str, Any], configured: Mapping[str, str]) -> dict[str, str]:
    """Of the roles, as the scripts' last `up` set them; before the first, the stack file's or the generated ones."""
    schema = _resource(state, "SqlSchema") or {}
    found = {}
    for role in (roles.APP, roles.READONLY):
        generated = _resource(state, "GeneratedPassword", f"{role}-password") or {}
        if word := schema.get(f"{role}Password") or configured.get(f"{role}Password") or generated.get("value"):
            found[role] = str(word)
    return found


def _as_far_as_known(
    state: Mapping[str, Any], server: Mapping[str, Any], words: Mapping[str, str]
) -> dict[str, Output]:
    """The outputs that the resources alone give."""
    docker = "docker" in server
    database = str((_resource(state, "SqlSchema") or server).get("database") or "app")
    mode = str(server.get("sslmode") or "")
    where = Address(str(server["host"]), int(server.get("port") or PORT), database, "", "", sslmode=mode)
    known = {"database": database, "engine": "docker" if docker else "embedded"}
    if server.get("major"):
        known["postgresVersion"] = str(int(server["major"]))  # no server has answered yet
    found = {name: Output(value, secret=False) for name, value in known.items()}
    for name, role in URLS.items():
        if role in words:
            found[name] = Output(replace(where, user=role, password=words[role]).url, secret=True)
    if docker:
        name = str(server["name"])
        found |= {"network": Output(name, secret=False), "internalHost": Output(name, secret=False)}
        if roles.APP in words:
            inside = replace(where, host=name, port=PORT, user=roles.APP, password=words[roles.APP])
            found["appUrlInternal"] = Output(inside.url, secret=True)
    return found

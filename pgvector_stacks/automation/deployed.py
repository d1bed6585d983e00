"""What a stack's state says about its database: also after an `up` that stopped on the way, the first one included.

The outputs are those of the last `up` that came to its end. The server may have moved since (another port), or there
may be none yet, though a server and a ledger are there. So everything that asks the database takes its address from
the resources, and this is the one place that knows them. Pure: the state comes in as `pulumi stack export` gives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.exported_state import ExportedState, is_secret, unwrap_secrets
from pgvector_stacks.config.engines import REGISTRY, config_of
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.connections.server_authentication import SCRAM
from pgvector_stacks.docker.container_spec import PORT
from pgvector_stacks.embedded.embedded_server import ADMIN

URLS = {"appUrl": roles.APP, "readonlyUrl": roles.READONLY, "adminUrl": ADMIN}


@dataclass(frozen=True, slots=True)
class Output:
    """`shown`: False for what only our own commands use."""

    value: Any
    secret: bool
    shown: bool = True


def exported(state: ExportedState) -> dict[str, Output]:
    """What the program exported when an `up` last came to its end."""
    return {name: Output(unwrap_secrets(value), is_secret(value)) for name, value in state.outputs.items()}


def outputs(deployment: Mapping[str, Any], configured: Mapping[str, str] | None = None) -> dict[str, Output]:
    """The stack's outputs, the server's address as it is now; without outputs what the resources know. {}: no server.

    The administrator's URL is always among them, shown only where the stack file asks for it; the password of scheduled
    backups is never shown.
    What only a finished `up` knows (`schemaRevision`, `validation`) is missing where none was. `configured`: passwords
    of the stack file (`appPassword`), which the first `up` used instead of the generated ones.
    """
    state = ExportedState(deployment)
    found = exported(state)
    server = find_server(state)
    if server is None:
        return found
    words = _passwords(state, configured or {}) | {ADMIN: str(server["adminPassword"])}
    if not found:
        found = _as_far_as_known(state, server, words)
        if "adminUrl" in found and str((configured or {}).get("adminUrl")).lower() != "true":
            found["adminUrl"] = replace(found["adminUrl"], shown=False)
    host, port = str(server["host"]), int(server.get("port") or PORT)
    found |= {"host": Output(host, secret=False), "port": Output(port, secret=False)}
    if certificate := server.get("certificate"):  # of the server that runs, which a stopped `up` may have given another
        found["certificate"] = Output(str(certificate), secret=False)
    if version := server.get("version"):
        found["postgresVersion"] = Output(version, secret=False)
    for name, role in URLS.items():
        if name in found:
            address = replace(address_of(str(found[name].value)), host=host, port=port)
            if role == ADMIN:
                address = replace(address, password=words[ADMIN])
            found[name] = replace(found[name], value=address.url, secret=True)
    if "adminUrl" not in found and "appUrl" in found:
        address = replace(address_of(str(found["appUrl"].value)), user=ADMIN, password=words[ADMIN])
        found["adminUrl"] = Output(address.url, secret=True, shown=False)
    if word := (state.resource("SqlSchema") or {}).get("backupPassword"):
        found["backupPassword"] = Output(word, secret=True, shown=False)
    return found


def backup_key(deployment: Mapping[str, Any]) -> str:
    """The key that signs the stack's backups; "" where no `up` has made one yet."""
    return str((ExportedState(deployment).resource("BackupKey") or {}).get("value") or "")


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


def find_server(state: ExportedState) -> dict[str, Any] | None:
    """host, port, adminPassword … of the server that is there, and its `engine`; None: there is none.

    A state from before the key noted its engine is asked as each engine's.
    """
    made_by = (state.resource("BackupKey") or {}).get("engine")
    for engine in [made_by] if made_by else REGISTRY:
        found = config_of(engine).find_server(state)
        if found is not None:
            return found | {"engine": engine}
    return None


def _passwords(state: ExportedState, configured: Mapping[str, str]) -> dict[str, str]:
    """Of the roles, as the scripts' last `up` set them; before the first, the stack file's or the generated ones."""
    schema = state.resource("SqlSchema") or {}
    found = {}
    for role in (roles.APP, roles.READONLY):
        generated = state.resource("GeneratedPassword", f"{role}-password") or {}
        if word := schema.get(f"{role}Password") or configured.get(f"{role}Password") or generated.get("value"):
            found[role] = str(word)
    return found


def _as_far_as_known(state: ExportedState, server: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Output]:
    """The outputs that the resources alone give."""
    database = str((state.resource("SqlSchema") or server).get("database") or "app")
    mode = str(server.get("sslmode") or "")
    where = Address(str(server["host"]), int(server.get("port") or PORT), database, "", "", sslmode=mode)
    known = {"database": database, "engine": str(server["engine"])}
    if server.get("major"):
        known["postgresVersion"] = str(int(server["major"]))  # no server has answered yet
    found = {name: Output(value, secret=False) for name, value in known.items()}
    for name, role in URLS.items():
        if role in words:
            found[name] = Output(replace(where, user=role, password=words[role]).url, secret=True)
    if inside_host := server.get("internalHost"):
        found |= {name: Output(server[name], secret=False) for name in ("network", "internalHost")}
        if roles.APP in words:
            inside = replace(where, host=inside_host, port=PORT, user=roles.APP, password=words[roles.APP])
            found["appUrlInternal"] = Output(inside.url, secret=True)
    return found

"""Reads from a stack's state how to reach its database, even after an `up` that stopped half-way, or a first `up`.

The outputs in the state are those of the last finished `up`. Since then the server may have another port; or there are
no outputs yet, although a server and a ledger exist. So everything that connects to the database takes its address from
the resources in the state, and only this module reads these. Pure: the input is the result of `pulumi stack export`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.exported_state import ExportedState, is_secret, unwrap_secrets
from pgvector_stacks.config.engines import REGISTRY, get_config
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.connections.server_authentication import SCRAM, WITHOUT_TLS
from pgvector_stacks.docker.container_spec import PORT
from pgvector_stacks.embedded.embedded_server import ADMIN

URLS = {"appUrl": roles.APP, "readonlyUrl": roles.READONLY, "adminUrl": ADMIN}


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a stack. `shown`: False if only pgstack's own commands use it."""

    value: Any
    secret: bool
    shown: bool = True


def read_exported_outputs(state: ExportedState) -> dict[str, Output]:
    """Return the outputs that the last finished `up` exported."""
    return {name: Output(unwrap_secrets(value), is_secret(value)) for name, value in state.outputs.items()}


def find_outputs(deployment: Mapping[str, Any], configured: Mapping[str, str] | None = None) -> dict[str, Output]:
    """Return the stack's outputs with the server's current address. Without outputs, derive them from the resources.

    The result is {} if there is neither. The administrator's URL is always included, but shown only if the stack file
    says so; the password for scheduled backups is included and never shown. If no `up` has finished yet, the result
    lacks what only a finished `up` knows (`schemaRevision`, `validation`). `configured`: passwords from the stack file
    (`appPassword`), which a first `up` used instead of the generated ones.
    """
    state = ExportedState(deployment)
    found = read_exported_outputs(state)
    server = find_server(state)
    if server is None:
        return found
    words = _passwords(state, configured or {}) | {ADMIN: str(server["adminPassword"])}
    if not found:
        found = _derive_outputs(state, server, words)
        if "adminUrl" in found and str((configured or {}).get("adminUrl")).lower() != "true":
            found["adminUrl"] = replace(found["adminUrl"], shown=False)
    host, port = str(server["host"]), int(server.get("port") or PORT)
    found |= {"host": Output(host, secret=False), "port": Output(port, secret=False)}
    if certificate := server.get("certificate"):  # the running server's: an `up` that stopped may have changed it
        found["certificate"] = Output(str(certificate), secret=False)
    if version := server.get("version"):
        found["postgresVersion"] = Output(version, secret=False)
    for name, role in URLS.items():
        if name in found:
            address = replace(parse_address(str(found[name].value)), host=host, port=port)
            if role == ADMIN:
                address = replace(address, password=words[ADMIN])
            found[name] = replace(found[name], value=address.url, secret=True)
    if "appUrl" in found:
        app = parse_address(str(found["appUrl"].value))
        found["sslmode"] = Output(app.sslmode or WITHOUT_TLS, secret=False)  # older states lack the parts
        found |= {"appUser": Output(app.user, secret=False), "appPassword": Output(app.password, secret=True)}
        admin = replace(app, user=ADMIN, password=words[ADMIN])
        found.setdefault("adminUrl", Output(admin.url, secret=True, shown=False))
    if word := (state.resource("SqlSchema") or {}).get("backupPassword"):
        found["backupPassword"] = Output(word, secret=True, shown=False)
    return found


def find_backup_key(deployment: Mapping[str, Any]) -> str:
    """Return the key that signs the stack's backups; "" if no `up` has created one yet."""
    return str((ExportedState(deployment).resource("BackupKey") or {}).get("value") or "")


def parse_address(url: str) -> Address:
    """Parse an output's URL. Raises PgstackError if its port is not a number from 0 to 65535."""
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


def find_output_address(outputs: Mapping[str, Any], name: str, via: str = "") -> Address:
    """Return the address in the output `name`, with the server's certificate. `via`: an ssh URL to connect through."""
    return replace(parse_address(str(outputs[name])), via=via, certificate=str(outputs.get("certificate") or ""))


def find_server(state: ExportedState) -> dict[str, Any] | None:
    """Return host, port, adminPassword … of the server in the state, and its `engine`; None if there is no server.

    Older states don't name the engine in the resource `BackupKey`. For these, each engine is tried.
    """
    made_by = (state.resource("BackupKey") or {}).get("engine")
    for engine in [made_by] if made_by else REGISTRY:
        found = get_config(engine).find_server(state)
        if found is not None:
            return found | {"engine": engine}
    return None


def _passwords(state: ExportedState, configured: Mapping[str, str]) -> dict[str, str]:
    """Return the roles' passwords: those of the last `up`, else the stack file's, else the generated ones."""
    schema = state.resource("SqlSchema") or {}
    found = {}
    for role in (roles.APP, roles.READONLY):
        generated = state.resource("GeneratedPassword", f"{role}-password") or {}
        if word := schema.get(f"{role}Password") or configured.get(f"{role}Password") or generated.get("value"):
            found[role] = str(word)
    return found


def _derive_outputs(state: ExportedState, server: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Output]:
    """Return the outputs that follow from the resources."""
    database = str((state.resource("SqlSchema") or server).get("database") or "app")
    mode = str(server.get("sslmode") or WITHOUT_TLS)
    where = Address(str(server["host"]), int(server.get("port") or PORT), database, "", "", sslmode=mode)
    known = {"database": database, "engine": str(server["engine"])}
    if server.get("major"):
        known["postgresVersion"] = str(int(server["major"]))  # only the major: no server has answered yet
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

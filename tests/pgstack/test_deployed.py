"""The state knows where the database is: whole, half-way through the first `up`, and moved since the last whole one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvector_stacks.automation.deployed import Output, find_outputs, parse_address
from pgvector_stacks.cli.outputs.formats import FORMATS, Selection
from pgvector_stacks.cli.outputs.stack_outputs import pick
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.exported_state import DYNAMIC, SECRET, SIGNATURE, unwrap_secrets
from pgvector_stacks.connections.connection import Address

HIDDEN = "hun ter@2"


def secret(value: object) -> dict[str, str]:
    return {SIGNATURE: SECRET, "plaintext": json.dumps(value)}


def resource(kind: str, called: str, *, outs: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    kind = kind if ":" in kind else DYNAMIC + kind
    return {
        "type": kind,
        "urn": f"urn:pulumi:x::pgvector::{kind}::{called}",
        "inputs": inputs,
        "outputs": outs or inputs,
    }


def root(**values: Any) -> dict[str, Any]:
    return {"type": "pulumi:pulumi:Stack", "urn": "urn:pulumi:x::pgvector::pulumi:pulumi:Stack::x", "outputs": values}


def generated(name: str) -> dict[str, Any]:
    return resource("GeneratedPassword", name, outs={"value": secret(f"{name} {HIDDEN}")})


EMBEDDED = resource(
    "EmbeddedServer", "server", major=18, database="shop", adminPassword=secret(HIDDEN),
    outs={"host": "127.0.0.1", "port": 6001, "version": "18.1", "database": "shop", "adminPassword": secret(HIDDEN)},
)  # fmt: skip


def docker(port: int, *, published: int, ready: int | None) -> list[dict[str, Any]]:
    common: dict[str, Any] = {"name": "pgvector-dev", "host": "127.0.0.1", "sslmode": "require", "docker": "unix:///x",
              "adminPassword": secret(HIDDEN), "database": "app"}  # fmt: skip
    found = [
        resource("DataDirectory", "data", port=port, major=17, **common),
        resource("docker:index/container:Container", "server", ports=[{"external": published, "internal": 5432}]),
    ]
    if ready is not None:
        found.append(resource("Readiness", "ready", port=ready, version="17.6", **common))
    return found


def test_the_state_of_an_engine_that_is_not_there_is_told() -> None:
    with pytest.raises(PgstackError, match="this version has no engine 'podman'; it has embedded, docker"):
        find_outputs({"resources": [root(), resource("BackupKey", "backup-key", engine="podman"), EMBEDDED]})


def test_a_whole_stack_has_the_outputs_that_its_program_exported() -> None:
    url = Address("127.0.0.1", 6001, "shop", "postgres", HIDDEN).url
    exported = {"adminUrl": secret(url), "port": 6001, "schemaRevision": "ab", "validation": {"vector": "ok"}}
    found = find_outputs({"resources": [root(**exported), EMBEDDED]})
    assert found["adminUrl"] == Output(url, secret=True)
    assert found["validation"] == Output({"vector": "ok"}, secret=False)
    assert found.keys() == exported.keys() | {"host", "postgresVersion"}


def test_the_administrators_url_is_known_to_our_commands_and_shown_where_the_stack_asks_for_it() -> None:
    app = Address("127.0.0.1", 6001, "shop", "app", "word").url
    admin = Address("127.0.0.1", 6001, "shop", "postgres", HIDDEN).url
    exported = {"appUrl": secret(app), "schemaRevision": "ab"}
    found = find_outputs({"resources": [root(**exported), EMBEDDED]})
    assert found["adminUrl"] == Output(admin, secret=True, shown=False)
    assert "adminUrl" not in FORMATS["json"].render(Selection("dev", found, show_secrets=True))
    with pytest.raises(PgstackError, match="pgstack psql STACK --as admin"):
        pick(found, "adminUrl")
    resources = [root(), EMBEDDED, generated("app-password")]
    for asked, shown in (({}, False), ({"adminUrl": "false"}, False), ({"adminUrl": "true"}, True)):
        assert find_outputs({"resources": resources}, asked)["adminUrl"].shown is shown


def test_after_a_first_up_that_failed_the_resources_tell_the_address_and_the_passwords() -> None:
    found = find_outputs({"resources": [root(), EMBEDDED, generated("app-password"), generated("readonly-password")]})
    assert "schemaRevision" not in found
    assert (found["engine"].value, found["postgresVersion"].value) == ("embedded", "18.1")
    at = Address("127.0.0.1", 6001, "shop", "postgres", HIDDEN, sslmode="disable")
    assert parse_address(found["adminUrl"].value) == at
    assert parse_address(found["appUrl"].value) == replace(at, user="app", password=f"app-password {HIDDEN}")
    assert all(output.secret == name.endswith(("Url", "Password")) for name, output in found.items())
    state = {"resources": [root(), EMBEDDED, generated("app-password")]}
    assert ":own@" in find_outputs(state, {"appPassword": "own"})["appUrl"].value
    # which the schema's own record goes before: the file may have been changed since
    state["resources"].append(resource("SqlSchema", "schema", appPassword=secret("set"), database="old"))
    again = parse_address(find_outputs(state, {"appPassword": "own"})["appUrl"].value)
    assert (again.password, again.database) == ("set", "old")


def test_a_server_that_moved_before_an_up_failed_is_asked_where_it_is() -> None:
    old = {name: secret(Address("127.0.0.1", 5, "app", role, "old").url)
           for name, role in (("adminUrl", "postgres"), ("appUrl", "app"))}  # fmt: skip
    found = find_outputs({"resources": [root(port=5, **old), EMBEDDED]})
    assert found["port"].value == 6001
    assert parse_address(found["adminUrl"].value) == Address("127.0.0.1", 6001, "app", "postgres", HIDDEN)
    assert parse_address(found["appUrl"].value) == Address("127.0.0.1", 6001, "app", "app", "old")


@pytest.mark.parametrize(("port", "published", "ready"), [(7, 7, None), (7, 7, 5), (7, 5, 5), (5, 5, 5)])
def test_a_container_is_asked_where_it_is_published(port: int, published: int, ready: int | None) -> None:
    found = find_outputs(
        {"resources": [root(), *docker(port, published=published, ready=ready), generated("app-password")]}
    )
    assert found["port"].value == published
    assert parse_address(found["adminUrl"].value).sslmode == "require"
    assert parse_address(found["appUrlInternal"].value).host == "pgvector-dev"
    assert found["postgresVersion"].value == ("17.6" if ready == published else "17")


NOTHING_MADE: tuple[list[dict[str, Any]] | None, ...] = (
    None, [root()], [root(), generated("app-password")], [root(), docker(7, published=7, ready=None)[0]]
)  # fmt: skip


@pytest.mark.parametrize("resources", NOTHING_MADE)
def test_where_nothing_was_made_there_is_nothing(resources: list[dict[str, Any]] | None) -> None:
    assert find_outputs({"resources": resources}) == find_outputs({}) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def sealed(value: Any) -> Any:
    """Every leaf and every list or map marked as a secret."""
    if isinstance(value, dict):
        return {key: sealed(item) for key, item in value.items()}
    return [sealed(item) for item in value] if isinstance(value, list) else secret(value)


@settings(max_examples=30, deadline=None)
@given(JSON)
def test_secrets_are_read_at_any_depth(value: Any) -> None:
    assert unwrap_secrets(sealed(value)) == value
    assert unwrap_secrets(secret(sealed(value))) == value

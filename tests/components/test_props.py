"""Typed properties: the engine's habits are read away, and what goes back is what came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.backup_key import BackupKeyProps
from components.certificate import CertificateProps
from components.claim import ClaimProps
from components.data_directory import DataProps
from components.embedded_server import EmbeddedServerProps as EmbeddedProps
from components.password import PasswordProps
from components.preflight import PreflightProps
from components.readiness import ReadinessProps
from components.shared.props import TEXT, Props
from components.shared.schema_props import RoleLimitProps, SchemaProps
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.exported_state import SIGNATURE
from tests.components.test_providers import HIDDEN, unknown
from tests.engine.former_state import COMMITS, FORMER

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text() | st.builds(unknown),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


class Container(Props):
    name: str
    memory_mb: int
    cpus: float
    wanted_port: int | None = None
    aliases: tuple[str, ...] = ()
    limits: RoleLimitProps | None = None
    identity: str = ""


def test_numbers_come_as_floats_and_what_is_none_does_not_come() -> None:
    found = Container.from_props({"name": "x", "memoryMb": 512.0, "cpus": 2.0, "aliases": ["a"], "wantedPort": None})
    assert (found.memory_mb, found.cpus, found.wanted_port, found.aliases) == (512, 2.0, None, ("a",))
    assert isinstance(found.memory_mb, int)
    with pytest.raises(ValidationError):
        found.name = "y"  # type: ignore[misc]


def test_what_a_preview_does_not_know_has_the_default_and_goes_back_as_it_came() -> None:
    came = {"name": "x", "memoryMb": 1.0, "cpus": 1.0, "identity": unknown(), "aliases": ["a", unknown()]}
    found = Container.from_props(came)
    assert (found.identity, found.aliases, found.to_props()) == ("", (), came)


@given(st.dictionaries(st.text(), ANYTHING), st.integers(0, 1 << 40), st.none() | st.integers(0, 65535))
def test_what_goes_back_is_what_came_and_what_was_added(others: dict[str, Any], memory: int, port: int | None) -> None:
    came = others | {"name": "x", "memoryMb": float(memory), "cpus": 0.5, "wantedPort": port, "limits": None}
    came |= {"identity": "a"} if port else {}
    came["aliases"] = ["b", "a"]
    kept = {key: value for key, value in came.items() if value is not None}
    found = Container.from_props(came | {TEXT: "the SDK's"})
    assert found.to_props() == kept
    assert found.to_props(identity="b", wanted_port=None) == kept | {"identity": "b"}
    assert found.inputs(["identity", "cpus"]) == {key: kept[key] for key in kept if key not in ("identity", "cpus")}


@given(st.integers(0, 9), st.floats(0, 1e6))
def test_what_is_made_here_reads_as_itself(connections: int, idle_s: float) -> None:
    made = RoleLimitProps(
        app_connections=connections, readonly_connections=1, temp_file_limit_mb=0, idle_in_transaction_s=idle_s
    )
    assert RoleLimitProps.from_props(made.to_props()).limits == made.limits


@pytest.mark.parametrize(
    "wrong", [{"memoryMb": HIDDEN}, {"memoryMb": 1.5}, {"memoryMb": None}, {"limits": {"a": HIDDEN}}]
)
def test_what_can_not_be_read_is_named_without_its_value(wrong: dict[str, Any]) -> None:
    with pytest.raises(PgstackError, match=r"can't be read as Container: (memoryMb|limits)") as error:
        Container.from_props({"name": HIDDEN, "memoryMb": 1.0, "cpus": 1.0} | wrong)
    assert HIDDEN not in str(error.value)
    assert error.value.__cause__ is None


MODELS: dict[str, type[Props]] = {
    "BackupKey": BackupKeyProps,
    "Claim": ClaimProps,
    "DataDirectory": DataProps,
    "EmbeddedServer": EmbeddedProps,
    "GeneratedCertificate": CertificateProps,
    "GeneratedPassword": PasswordProps,
    "Preflight": PreflightProps,
    "Readiness": ReadinessProps,
    "SqlSchema": SchemaProps,
}


def without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return "x" if SIGNATURE in value else {key: without_secrets(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("stack", ["local", "dev"])
def test_every_resource_of_a_former_state_is_read_and_given_back_as_it_was(stack: str) -> None:
    state = json.loads((FORMER / COMMITS[0] / stack / "state.json").read_text())
    seen = set()
    for resource in state["resources"]:
        kind = resource["type"].rpartition(":")[2]
        if kind in MODELS:
            seen.add(kind)
            outs = without_secrets(resource["outputs"])
            kept = {key: value for key, value in outs.items() if key != TEXT and value is not None}
            assert MODELS[kind].from_props(outs).to_props() == kept
    assert len(seen) >= 4

"""The dynamic resources' providers, called as the engine calls them: floats, unknowns, keys that vanished."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pulumi.dynamic import CheckResult, ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.output import Unknown

from components.embedded_server import EmbeddedServerProvider
from components.password import BYTES, GeneratedPasswordProvider
from components.shared.props import is_unknown
from components.shared.provider import build_refusal, hide_tracebacks
from components.shared.schema_check import read_listed_files
from components.sql_schema import NO_DRIFT, NOT_KNOWN, OUTPUTS, SqlSchemaProvider, inputs
from pgvector_stacks.automation.provider_process import Failed
from pgvector_stacks.common.errors import PgstackError, ServerError
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, SQL, from_config
from pgvector_stacks.migrations.scripts.script_files import load, load_verify, revision

PROVIDERS = (EmbeddedServerProvider, GeneratedPasswordProvider, SqlSchemaProvider)
HIDDEN = "hunter2"  # in every props below; in no message


def messages(result: CheckResult) -> str:
    """All failures as one text. Each has the empty property: the engine prints the value of a named one."""
    for failure in result.failures:
        assert failure.property == ""
        assert HIDDEN not in failure.reason
    return "\n".join(failure.reason for failure in result.failures)


def unknown() -> Unknown:
    """What stands in a preview for a value that only the real `up` decides: another object each time."""
    return Unknown()  # type: ignore[no-untyped-call]


# how the state refers to them


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_keeps_nothing_and_is_stored_the_same_each_time(provider: type[ResourceProvider]) -> None:
    assert vars(provider()) == {}
    assert serialize_provider(provider()) == serialize_provider(provider())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_engine_itself_compares_and_prints_the_changed_keys(provider: type[ResourceProvider]) -> None:
    found = provider().diff("id", {"major": 18.0, "scripts": {}}, {"major": unknown(), "scripts": unknown()})
    assert (found.changes, found.replaces, found.delete_before_replace) == (None, None, None)


# unknowns


@pytest.mark.parametrize(
    ("value", "so"),
    [
        (unknown(), True),
        ({"a": {"b": [1, [unknown()]]}}, True),
        ([{"a": unknown()}], True),
        ({"a": {"b": [1, [None]]}, "c": "x"}, False),
        ({}, False),
        ([], False),
        (None, False),
        ("04da6b54-80e4-46f7-96ec-b56ff0331ba9", False),
    ],
)
def test_an_unknown_is_found_at_any_depth(value: object, so: bool) -> None:
    assert is_unknown(value) is so


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.floats() | st.text() | st.builds(unknown),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
def test_a_value_is_unknown_just_where_it_can_not_be_written_down(value: object) -> None:
    def write(value: object) -> bool:
        try:
            json.dumps(value)
        except TypeError:
            return False
        return True

    assert is_unknown(value) is not write(value)


# failures


def test_a_known_failure_is_its_message_alone() -> None:
    @hide_tracebacks
    def create() -> None:
        try:
            raise KeyError(HIDDEN)
        except KeyError:
            raise ServerError("the disk is full") from None

    with pytest.raises(Failed, match=r"^the disk is full$") as error:
        create()
    assert error.value.__cause__ is None
    assert error.value.__context__ is None


def test_what_the_server_said_unasked_is_a_message_too() -> None:
    @hide_tracebacks
    def create() -> None:
        raise psycopg.errors.DiskFull("could not extend file")

    with pytest.raises(Failed, match="could not extend file") as error:
        create()
    assert error.value.__cause__ is None
    assert error.value.__context__ is None


def test_a_bug_stays_a_bug() -> None:
    @hide_tracebacks
    def create() -> None:
        raise KeyError("host")

    with pytest.raises(KeyError, match="host"):
        create()


def test_a_refusal_names_no_property_so_that_no_value_is_printed() -> None:
    result = build_refusal({"adminPassword": HIDDEN}, PgstackError("no"))
    assert messages(result) == "no"
    assert result.inputs == {"adminPassword": HIDDEN}


# the password


def test_a_generated_password_is_long_and_needs_no_quoting_anywhere() -> None:
    made = {(GeneratedPasswordProvider().create({"value": None}).outs or {})["value"] for _ in range(20)}
    assert len(made) == 20
    assert all(len(word) == BYTES * 4 // 3 and word.replace("-", "").replace("_", "").isalnum() for word in made)


def test_a_generated_password_survives_a_refresh() -> None:
    read = GeneratedPasswordProvider().read("generated", {"value": HIDDEN, "__provider": "x"})
    assert (read.id, (read.outs or {})["value"]) == ("generated", HIDDEN)


# the schema


@pytest.fixture
def schema() -> dict[str, Any]:
    """Inputs as they arrive, of a server that doesn't answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = inputs(from_config("production", {"engine": "embedded"}))
    numbers = {key: float(value) for key, value in found.items() if isinstance(value, int)}
    return (
        found
        | numbers
        | {
            "host": "127.0.0.1",
            "port": float(port),
            "identity": "7/18.1/ab",
            "settings": {"jit": "off"},
            "admin": "postgres",
            "adminPassword": HIDDEN,
            "appPassword": HIDDEN,
            "readonlyPassword": HIDDEN,
            "__provider": "x",
        }
    )


TARGET = revision(
    (script.name, script.normalised) for script in load(SQL, DEFAULT_SCRIPTS, listed_elsewhere=["**/*.sql"])
)


@pytest.mark.parametrize("key", ["host", "port", "adminPassword", "identity"])
@pytest.mark.parametrize("olds", [{}, {"revision": "empty", "drift": ["table app.x was added"]}])
def test_while_the_server_is_unknown_the_preview_shows_what_will_be(
    schema: dict[str, Any], key: str, olds: dict[str, Any]
) -> None:
    news = schema | {key: unknown()}
    result = SqlSchemaProvider().check(olds, news)
    assert messages(result) == ""
    assert result.inputs == news | {"revision": TARGET, "drift": olds.get("drift", NO_DRIFT)}


def test_a_password_that_is_not_decided_yet_does_not_stop_a_preview(schema: dict[str, Any]) -> None:
    result = SqlSchemaProvider().check({}, schema | {"appPassword": unknown(), "readonlyPassword": unknown()})
    assert messages(result) == ""
    assert result.inputs["revision"] == TARGET


def test_a_server_that_does_not_answer_is_told_in_the_preview_and_does_not_stop_it(schema: dict[str, Any]) -> None:
    provider = SqlSchemaProvider()
    first = provider.check({}, schema)
    assert first.inputs == schema | {"revision": TARGET, "drift": NO_DRIFT}
    later = provider.check(first.inputs, schema)
    assert later.inputs == first.inputs | {"ledger": NOT_KNOWN}, "so that `up` asks again"
    assert (messages(first), messages(later)) == ("", "")


def test_an_old_password_that_is_missing_is_no_password_to_try(schema: dict[str, Any]) -> None:
    assert messages(SqlSchemaProvider().check({"revision": TARGET}, schema)) == ""


@pytest.mark.promise("Nothing runs that no preview showed")
@pytest.mark.parametrize("key", ["scripts", "verify"])
def test_nothing_runs_that_no_preview_showed(schema: dict[str, Any], key: str) -> None:
    edited = re.sub(r"  [0-9a-f]{12}\n", "  000000000000\n", schema[key], count=1)
    result = SqlSchemaProvider().check({}, schema | {key: edited})
    assert messages(result) == "the files in sql/ changed while this ran; run it again"


def test_the_scripts_are_read_once_so_that_what_runs_is_what_was_checked(
    schema: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "sql"
    shutil.copytree(SQL, files)
    monkeypatch.setattr("components.shared.schema_check.SQL", files)
    assert messages(SqlSchemaProvider().check({}, schema)) == ""
    shutil.rmtree(files)
    assert read_listed_files(schema).verify
    assert messages(SqlSchemaProvider().check({}, schema)) == ""


def test_a_script_that_is_gone_is_refused_by_name(schema: dict[str, Any]) -> None:
    result = SqlSchemaProvider().check({}, schema | {"order": [*DEFAULT_SCRIPTS, "0009_gone.sql"]})
    assert "sql/0009_gone.sql does not exist" in messages(result)


def test_what_can_not_be_looked_at_stays_as_it_was(schema: dict[str, Any]) -> None:
    outs = schema | {
        "revision": TARGET,
        "ledger": TARGET,
        "drift": NO_DRIFT,
        "schemaRevision": TARGET,
        "validation": {"vector": "ok"},
    }
    found = SqlSchemaProvider().read("production/app", outs)
    assert (found.id, found.outs) == ("production/app", outs)
    assert found.inputs is not None
    assert found.inputs.keys() == outs.keys() - {*OUTPUTS, "__provider"}


def test_a_schema_is_created_only_on_a_server_that_answers_and_the_failure_shows_no_password(
    schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgvector_stacks.connections.up_lock.CONNECT_WAIT_S", 0.0)
    with pytest.raises(Failed, match="nothing listens there") as error:
        SqlSchemaProvider().create(schema)
    assert HIDDEN not in str(error.value)


def test_deleting_the_schema_does_not_even_look_for_the_server(schema: dict[str, Any]) -> None:
    SqlSchemaProvider().delete("production/app", schema | {"host": "nowhere.invalid"})


def test_the_verify_scripts_are_part_of_the_inputs(schema: dict[str, Any]) -> None:
    assert re.findall(r"^\d{4} (.*)  [0-9a-f]{12}$", schema["verify"], re.M) == [each.name for each in load_verify(SQL)]

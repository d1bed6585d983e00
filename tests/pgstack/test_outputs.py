"""Outputs read the same wherever they are read: on a terminal, as JSON, in a shell; secrets only when asked for."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgvector_stacks.cli.outputs import (
    HIDDEN,
    Format,
    Output,
    choose_format,
    command,
    pick,
    quote_for_dotenv,
    render,
    to_text,
    to_variable_name,
)
from pgvector_stacks.common.errors import PgstackError

OUTPUTS = {
    "port": Output(5432.0, False),
    "host": Output("127.0.0.1", False),
    "appUrl": Output("postgresql://app:it%27s@127.0.0.1:5432/app", True),
    "validation": Output({"vector": "ok: '[1,2,3]'", "hnsw": "ok"}, False),
}
FORMATS: tuple[Format, ...] = ("table", "json", "dotenv")
LEFT_OUT = "\0"
VALUE = st.text(st.characters(codec="utf-8", exclude_characters=LEFT_OUT))


def by_sh(lines: str, names: list[str]) -> list[str]:
    """What a shell has in these variables after reading the lines."""
    script = lines + "\n" + "".join(f"printf '%s\\0' \"${name}\"\n" for name in names)
    done = subprocess.run(["sh", "-euc", script], capture_output=True, check=True, env={})
    assert done.stderr == b""
    return [value.decode() for value in done.stdout.split(b"\0")[:-1]]


def test_a_table_aligns_plain_values_and_lists_maps() -> None:
    assert render(OUTPUTS, "table", show_secrets=True).splitlines() == [
        "appUrl      postgresql://app:it%27s@127.0.0.1:5432/app",
        "host        127.0.0.1",
        "port        5432",
        "validation",
        "  vector: ok: '[1,2,3]'",
        "  hnsw: ok",
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_secrets_are_shown_only_when_asked_for(form: Format) -> None:
    hidden, shown = (render(OUTPUTS, form, show_secrets=asked) for asked in (False, True))
    assert "it%27s" in shown
    assert "it%27s" not in hidden
    assert HIDDEN in hidden
    assert "127.0.0.1" in hidden


@pytest.mark.parametrize("form", FORMATS)
def test_a_secret_map_is_hidden_as_a_whole(form: Format) -> None:
    assert "hunter2" not in render({"all": Output({"password": "hunter2"}, True)}, form, show_secrets=False)


@pytest.mark.parametrize("form", FORMATS)
def test_no_outputs_are_no_error(form: Format) -> None:
    assert render({}, form, show_secrets=False) == ("{}" if form == "json" else "")


@pytest.mark.parametrize("form", FORMATS)
def test_the_order_of_the_outputs_is_always_the_same(form: Format) -> None:
    turned = dict(reversed(OUTPUTS.items()))
    assert render(turned, form, show_secrets=True) == render(OUTPUTS, form, show_secrets=True)


def test_json_keeps_the_values_as_they_are() -> None:
    assert json.loads(render(OUTPUTS, "json", show_secrets=True)) == {
        name: output.value for name, output in OUTPUTS.items()
    }


def test_dotenv_is_what_a_shell_reads() -> None:
    names = ["PGVECTOR_APP_URL", "PGVECTOR_PORT", "PGVECTOR_VALIDATION"]
    assert by_sh(render(OUTPUTS, "dotenv", show_secrets=True), names) == [
        OUTPUTS["appUrl"].value, "5432", '{"hnsw": "ok", "vector": "ok: \'[1,2,3]\'"}',
    ]  # fmt: skip


@pytest.mark.promise("No output is changed or run by a shell that reads it")
@settings(max_examples=60, deadline=None)
@given(st.lists(VALUE, min_size=1, max_size=8))
@example(["it's", '"$HOME" `id` $(id)', " two  words ", "a\nb\n", "\\", "'", "''", "#no", "!x", "~", "*", "a=b", ""])
def test_no_value_is_changed_or_run_by_a_shell(values: list[str]) -> None:
    names = [f"V{number}" for number in range(len(values))]
    lines = "\n".join(f"{name}={quote_for_dotenv(value)}" for name, value in zip(names, values, strict=True))
    assert by_sh(lines, names) == values


def test_no_character_means_anything_to_a_shell() -> None:
    characters = [chr(code) for code in range(128) if chr(code) not in LEFT_OUT]
    values = [form.format(character) for character in characters for form in ("{}", "a{}b", "{}HOME", "{0}{0}")]
    names = [f"V{number}" for number in range(len(values))]
    lines = "\n".join(f"{name}={quote_for_dotenv(value)}" for name, value in zip(names, values, strict=True))
    assert by_sh(lines, names) == values


def test_a_plain_value_is_not_quoted() -> None:
    for value in ("127.0.0.1", "postgresql://app:x%27y@127.0.0.1:5432/app?sslmode=disable", "5432", ""):
        assert quote_for_dotenv(value) == value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("appUrl", "PGVECTOR_APP_URL"),
        ("host", "PGVECTOR_HOST"),
        ("postgresVersion", "PGVECTOR_POSTGRES_VERSION"),
        ("pgvectorVersion", "PGVECTOR_PGVECTOR_VERSION"),
        ("readonlyURL", "PGVECTOR_READONLY_URL"),
    ],
)
def test_an_output_has_one_variable(name: str, expected: str) -> None:
    assert to_variable_name(name) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5432.0, "5432"),
        (5432, "5432"),
        (0.5, "0.5"),
        (-0.0, "0"),
        (True, "true"),
        (None, "null"),
        ("5432.0", "5432.0"),
        ({"b": 1, "a": "x"}, '{"a": "x", "b": 1}'),
        (["a", 2], '["a", 2]'),
    ],
)
def test_a_number_is_whole_where_it_was_whole_and_text_is_never_touched(value: object, expected: str) -> None:
    assert to_text(value) == expected


@settings(deadline=None)
@given(st.floats() | st.integers() | st.text() | st.booleans() | st.none())
def test_every_value_has_a_text(value: object) -> None:
    text = to_text(value)
    assert text == value or isinstance(value, bool | None) or math.isnan(float(text)) or float(text) == float(text)


def test_one_output_is_picked_by_name() -> None:
    assert pick(OUTPUTS, "port") is OUTPUTS["port"]


def test_an_unknown_output_is_told_with_the_nearest_and_all() -> None:
    with pytest.raises(PgstackError) as error:
        pick(OUTPUTS, "appURL")
    assert str(error.value) == (
        "no output 'appURL'; did you mean \"appUrl\"?\n  outputs: appUrl, host, port, validation"
    )  # fmt: skip


@pytest.mark.parametrize("called", ["/opt/with space/bin/pgstack", "/opt/x/__main__.py"])
def test_a_command_that_is_printed_can_be_pasted(called: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    program, *arguments = shlex.split(command("psql", "dev"))
    assert arguments == ["psql", "dev"]
    assert Path(program).name == "pgstack"
    assert program == called or Path(program).parent == Path(sys.executable).parent


@pytest.mark.parametrize(
    ("given", "to", "form"),
    [(None, None, "table"), (None, ".env", "dotenv"), (None, "deploy/app.json", "json"), ("table", ".env", "table"),
     ("json", None, "json")],
)  # fmt: skip
def test_a_file_gets_the_format_that_suits_it(given: str | None, to: str | None, form: str) -> None:
    assert choose_format(given, Path(to) if to else None) == form

"""Outputs read the same wherever they are read: on a terminal, as JSON, in a shell; secrets only when asked for."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgvector_stacks.automation.deployed import Output
from pgvector_stacks.cli.outputs.formats import (
    FORMATS,
    Selection,
    choose_format,
    list_masks,
    parse_variables,
    quote_for_dotenv,
    to_variable_name,
)
from pgvector_stacks.cli.outputs.stack_outputs import HIDDEN, command, pick, to_text
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.connections.connection import Address

OUTPUTS = {
    "port": Output(5432.0, False),
    "host": Output("127.0.0.1", False),
    "appUrl": Output("postgresql://app:it%27s@127.0.0.1:5432/app", True),
    "validation": Output({"vector": "ok: '[1,2,3]'", "hnsw": "ok"}, False),
}
OF_ALL = ("table", "json", "dotenv")
LEFT_OUT = "\0"
VALUE = st.text(st.characters(codec="utf-8", exclude_characters=LEFT_OUT))


def render(outputs: Mapping[str, Output], form: str, *, show_secrets: bool) -> str:
    return FORMATS[form].render(Selection("dev", outputs, show_secrets=show_secrets))


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


@pytest.mark.parametrize("form", OF_ALL)
def test_secrets_are_shown_only_when_asked_for(form: str) -> None:
    hidden, shown = (render(OUTPUTS, form, show_secrets=asked) for asked in (False, True))
    assert "it%27s" in shown
    assert "it%27s" not in hidden
    assert (HIDDEN in hidden) == (form != "dotenv"), "no variable has a text that is no value"
    assert "127.0.0.1" in hidden


@pytest.mark.parametrize("form", OF_ALL)
def test_a_secret_map_is_hidden_as_a_whole(form: str) -> None:
    assert "hunter2" not in render({"all": Output({"password": "hunter2"}, True)}, form, show_secrets=False)


@pytest.mark.parametrize("form", OF_ALL)
def test_no_outputs_are_no_error(form: str) -> None:
    assert render({}, form, show_secrets=False) == ("{}" if form == "json" else "")


@pytest.mark.parametrize("form", OF_ALL)
def test_the_order_of_the_outputs_is_always_the_same(form: str) -> None:
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


LOGIN = Address("db.example", 5432, "shop", "app", "it's a:\\%$&=? \u00fc", sslmode="require")
PEM = Output("-----BEGIN\nabc\n-----END\n", False)


def of_one_login(form: str, login: Address, role: str = "app") -> str:
    return FORMATS[form].render(Selection("dev", OUTPUTS, role, login, show_secrets=True))


def test_jdbc_takes_each_value_as_it_is_and_demands_channel_binding_over_tls() -> None:
    url = urlsplit(of_one_login("jdbc", LOGIN).removeprefix("jdbc:"))
    assert (url.scheme, url.hostname, url.port, url.path) == ("postgresql", "db.example", 5432, "/shop")
    assert dict(parse_qsl(url.query, strict_parsing=True)) == {
        "user": "app", "password": LOGIN.password, "sslmode": "require", "channelBinding": "require",
    }  # fmt: skip
    assert of_one_login("jdbc", replace(LOGIN, host="::1", sslmode="", password="x")) == (
        "jdbc:postgresql://[::1]:5432/shop?user=app&password=x&sslmode=disable"
    )


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n")))
def test_a_line_of_pgpass_is_read_back_as_it_was(password: str) -> None:
    """As libpq reads it: a backslash takes the character after it for itself."""
    line = of_one_login("pgpass", replace(LOGIN, password=password))
    *fields, rest = line.split(":", 4)
    assert fields == ["db.example", "5432", "shop", "app"]
    assert re.search(r"(?<!\\)(\\\\)*:", rest) is None, "a colon would end the password"
    assert re.sub(r"\\(.)", r"\1", rest) == password


@pytest.mark.parametrize(
    ("form", "password", "words"),
    [
        ("pgpass", "a\nb", "a value with a line break can't be written"),
        ("pgservice", "a\rb", "a value with a line break can't be written"),
        ("pgservice", "a ", "a password with a space at its end can't be written; use pgpass"),
    ],
)
def test_what_a_file_can_not_hold_is_refused(form: str, password: str, words: str) -> None:
    with pytest.raises(PgstackError, match=words):
        of_one_login(form, replace(LOGIN, password=password))


def test_a_service_is_named_after_its_stack_and_another_role() -> None:
    assert of_one_login("pgservice", LOGIN).startswith("[dev]\nhost=db.example\n")
    assert of_one_login("pgservice", LOGIN, "readonly").startswith("[dev-readonly]\n")


def test_docker_gets_no_line_that_it_can_not_read() -> None:
    text = render(OUTPUTS | {"certificate": PEM}, "env", show_secrets=True)
    assert "# PGVECTOR_CERTIFICATE has several lines: pgstack outputs dev certificate --to FILE" in text.splitlines()
    assert all(re.match(r"# |PGVECTOR_[A-Z_]+=", line) for line in text.splitlines())
    assert f"PGVECTOR_APP_URL={OUTPUTS['appUrl'].value}" in text.splitlines(), "no quotes: docker would keep them"


def test_several_lines_are_one_variable_of_a_github_job() -> None:
    text = render(OUTPUTS | {"certificate": PEM}, "github-env", show_secrets=True)
    found = re.search(r"^PGVECTOR_CERTIFICATE<<(\w+)\n(.*?)\n\1$", text, re.DOTALL | re.MULTILINE)
    assert found
    assert found[2] == PEM.value


def test_each_line_of_a_secret_is_masked_and_a_percent_stays_one() -> None:
    outputs = {"key": Output("a%0Ab\n\nc", True), "host": Output("h", False)}
    assert list_masks(Selection("dev", outputs)) == ["::add-mask::a%250Ab", "::add-mask::c"]


def test_a_role_gets_no_other_roles_secrets() -> None:
    outputs = OUTPUTS | {"readonlyUrl": Output("r", True), "appPassword": Output("p", True)}
    assert [name for name, _ in Selection("dev", outputs, "readonly").list_shown()] == [
        "host", "port", "readonlyUrl", "validation",
    ]  # fmt: skip
    assert len(Selection("dev", outputs).list_shown()) == len(outputs)


def test_an_output_gets_the_variable_that_was_asked_for() -> None:
    assert parse_variables(["appUrl=DATABASE_URL"], OUTPUTS, "env") == {"appUrl": "DATABASE_URL"}
    named = Selection("dev", OUTPUTS, variables={"appUrl": "DATABASE_URL"}, show_secrets=True)
    assert "DATABASE_URL=postgresql:" in FORMATS["env"].render(named)
    assert "PGVECTOR_APP_URL" not in FORMATS["dotenv"].render(named)
    assert json.loads(FORMATS["json"].render(named))["DATABASE_URL"] == OUTPUTS["appUrl"].value


@pytest.mark.parametrize(
    ("given", "form", "words"),
    [
        (["appUrl"], "env", "write OUTPUT=VARIABLE"),
        (["appUrl=1x"], "env", "write OUTPUT=VARIABLE"),
        (["appURL=X"], "env", 'did you mean "appUrl"'),
        (["appUrl=X", "host=X"], "env", "the variable X is named twice"),
        (["appUrl=X"], "jdbc", "--format jdbc has none: use it with json, dotenv, env, github-env"),
    ],
)
def test_a_wrong_name_of_a_variable_is_told(given: list[str], form: str, words: str) -> None:
    with pytest.raises(PgstackError, match=re.escape(words)):
        parse_variables(given, OUTPUTS, form)

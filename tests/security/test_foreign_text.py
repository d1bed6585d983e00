"""What strangers wrote (names, RAISE messages, queries) acts on no terminal, log or runner; rows stay private."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pulumi
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgvector_stacks.automation.provider_process import install_process_hooks
from pgvector_stacks.cli import inspection, printing
from pgvector_stacks.cli.deploy import _print
from pgvector_stacks.common import row_values
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.plain_text import one_line, quote_lines, safe
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.migrations import apply
from tests.conftest import FreshDatabase, script

EVIL = "x\x1b]0;owned\x07\x1b[2J\x1b[32mall 9 checks passed\r\n::error title=pgstack::forged\n##[error]old\u202e\x9b1A"
ACTS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
WEIRD = "'x' || chr(27) || '[2J' || chr(10) || '::error::forged' || chr(13) || chr(10) || '  ##[error]old'"


def is_harmless(text: str) -> bool:
    """Nothing that a terminal obeys, and no line that a runner of workflows takes for a command."""
    lines = text.split("\n")
    return not ACTS.search(text) and not any(line.strip().startswith("::") for line in lines) and "##[" not in text


TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("\x1b\n\r\t:#[\x9b\u202e \\|\u2028\x85")), max_size=60)


@given(TEXTS)
@example(EVIL)
@example("\n\u2028::x")
@example(" \t\x0b::x")
@example("#" * 3 + "[")
def test_safe_text_is_harmless_and_stays_as_it_is(text: str) -> None:
    for make in (safe, one_line, quote_lines):
        made = make(text)
        assert is_harmless(made)
        assert make(made) == made
    assert "\n" not in one_line(text)
    assert all(line.startswith("    | ") for line in quote_lines(text).split("\n")[1:])


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=40))
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    if text.strip().startswith("::") or "##[" in text:
        return
    assert safe(text) == text == one_line(text)
    assert unicodedata.normalize("NFC", safe(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.promise("No text of others moves the terminal or forges a line")
def test_every_message_of_ours_and_every_line_printed_is_harmless(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_harmless(str(PgstackError(EVIL)))
    printing.echo(EVIL)
    _print(f"    {EVIL}")
    assert is_harmless(capsys.readouterr().out)
    assert (
        printing.escape_except_colours("\x1b[31merror\x1b[0m \x1b]0;owned\x07")
        == "\x1b[31merror\x1b[0m \\x1b]0;owned\\x07"
    )


def test_the_log_of_the_engine_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    for level in ("debug", "info", "warn", "error"):
        monkeypatch.setattr(pulumi.log, level, logged.append)
    monkeypatch.setattr("pgvector_stacks.automation.provider_process._leave_with_the_engine", lambda: None)
    monkeypatch.setattr("traceback.format_exc", lambda *_: "")
    install_process_hooks()
    pulumi.log.warn(EVIL)
    pulumi.log.info(EVIL)
    assert len(logged) == 2
    assert all(map(is_harmless, logged))


def test_a_script_cannot_forge_lines_by_raising_them(
    empty_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(row_values.VARIABLE, "1")
    raises = f"DO $$ BEGIN RAISE %s USING MESSAGE = {WEIRD}, DETAIL = {WEIRD}, HINT = {WEIRD}; END $$"
    told: list[str] = []
    request = empty_database.request(
        scripts=(script(raises % "WARNING", "0001.sql"), script(raises % "EXCEPTION", "0002.sql"))
    )
    with pytest.raises(PgstackError) as caught:
        apply.apply(empty_database.admin, request, warn=told.append)
    for text in (*told, str(caught.value)):
        assert is_harmless(text)
        assert "    | \\::error::forged" in text
        assert "\\x1b[2J" in text
    said: list[str] = []
    inspection.status(inspection.DatabaseAddresses(empty_database.admin), "local", said.append)
    assert all(map(is_harmless, said))


def test_names_of_objects_and_roles_are_one_line_each(fresh_database: FreshDatabase) -> None:
    fresh_database.do(
        f"DO $$ BEGIN EXECUTE format('CREATE TABLE app.%I (%I int)', {WEIRD}, {WEIRD});"
        f"EXECUTE format('CREATE ROLE %I CREATEDB', {WEIRD}); END $$"
    )
    said: list[str] = []
    try:
        inspection.status(inspection.DatabaseAddresses(fresh_database.admin), "local", said.append)
        with connect(fresh_database.admin) as connection:
            words = schema_drift.describe_drift(connection)
    finally:
        fresh_database.do(f"DO $$ BEGIN EXECUTE format('DROP ROLE %I', {WEIRD}); END $$")
    assert [line for line in said if line.startswith("note ") and "CREATEDB" in line]
    assert any("forged" in word for word in words)
    for line in (*words, *(line for line in said if line.startswith(("drift", "note")))):
        assert "\n" not in line
        assert is_harmless(line)


def test_the_query_of_an_open_transaction_forges_nothing_and_shows_no_constants(
    fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(row_values.VARIABLE, raising=False)
    with psycopg.connect(fresh_database.app_url) as holder:
        holder.execute("SELECT *, /*\x1b[2J*/ 'Jane Roe'\n::text FROM app.tenant")
        with pytest.raises(PgstackError) as caught:
            fresh_database.apply(script("ALTER TABLE app.tenant ADD COLUMN x int"), lock_wait_s=0.5, lock_timeout_s=0.2)
    text = str(caught.value)
    assert "(app, " in text
    assert is_harmless(text)
    assert "Jane Roe" not in text
    assert "app.tenant" not in caught.value.recorded.split("no lock")[1]


@dataclass(frozen=True)
class Leak:
    script: str
    verify: bool = False


LEAKS = (
    Leak("INSERT INTO app.person VALUES ('Jane Roe', 1)"),
    Leak("INSERT INTO app.person VALUES ('Joe Jane Roe', -1)"),
    Leak("SELECT name::int FROM app.person"),
    Leak("DO $$ DECLARE n text; BEGIN SELECT name INTO n FROM app.person; RAISE 'no' USING DETAIL = n; END $$"),
    Leak("SELECT name FROM app.person", verify=True),
)
PERSON = (
    "CREATE TABLE app.person (name text UNIQUE, n int CHECK (n > 0)); INSERT INTO app.person VALUES ('Jane Roe', 1)"
)


@pytest.mark.parametrize("shown", [False, True])
def test_values_of_rows_are_shown_where_asked_for_and_never_recorded(
    fresh_database: FreshDatabase, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_database.apply(script(PERSON, "0004.sql"))
    monkeypatch.setenv(row_values.VARIABLE, "1" if shown else "")
    for leak in LEAKS:
        check = script(leak.script, "verify/leak.sql")
        more = script("SELECT 1", "0005.sql") if leak.verify else script(leak.script, "0005.sql")
        with pytest.raises(PgstackError) as caught:
            fresh_database.apply(script(PERSON, "0004.sql"), more, verify=(check,) if leak.verify else ())
        answer = "\n".join(line for line in str(caught.value).splitlines() if not re.match(r"\s+\d+ \|", line))
        assert ("Jane Roe" in answer) is shown, leak
    events = fresh_database.ask("SELECT message FROM pgstack.event WHERE kind = 'failed'")
    assert len(events) == len(LEAKS)
    recorded = "\n".join(line for (text,) in events for line in text.splitlines() if not re.match(r"\s+\d+ \|", line))
    assert "Jane Roe" not in recorded


def test_details_without_rows_stay(fresh_database: FreshDatabase) -> None:
    fresh_database.do("CREATE VIEW app.seen AS SELECT name FROM app.tenant")
    with pytest.raises(
        PgstackError, match=r"detail: constraint .*\n    \| constraint .*\n    \| view seen depends on table"
    ):
        fresh_database.apply(script("DROP TABLE app.tenant"))


@pytest.mark.parametrize(
    ("asked", "terminal", "before", "shown"),
    [(False, False, None, False), (True, False, None, True), (False, True, None, True), (False, True, "0", False)],
)
def test_a_terminal_or_a_flag_shows_rows(
    asked: bool, terminal: bool, before: str | None, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer: Callable[[], bool] = lambda: terminal  # noqa: E731
    monkeypatch.setattr("sys.stdout.isatty", answer, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", answer, raising=False)
    environ: dict[str, Any] = {} if before is None else {row_values.VARIABLE: before}
    printing.show_rows(asked, environ)
    assert row_values.are_shown(environ) is shown

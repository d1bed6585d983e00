"""What is sent behind a script changes none of its errors, and undoes what it left set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from pgvector_stacks.common.errors import ScriptError, SqlFailed
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.connections.lock_retry import RETRIABLE
from pgvector_stacks.migrations.execution import runner
from pgvector_stacks.migrations.execution.script_session import Session
from pgvector_stacks.migrations.lexing.lexing import line_and_column
from pgvector_stacks.migrations.scripts.script_files import Script
from tests.conftest import FreshDatabase, script

TEXT = """create table ü (i int primary key, "é" text default 'ä;b'); -- eins;
create function two() returns int language sql begin atomic select case when true then 2 end; select 3; end;
insert into ü values (1, 'ü') /* ö */ ;
do $$ begin perform 1; end $$; create rule r as on delete to ü do also (select 1; select 2);
select (1 + two());
alter table ü add column j int check (j > (1 - 2))"""


@pytest.fixture
def owner(fresh_database: FreshDatabase) -> Iterator[Connection[Any]]:
    with connect(fresh_database.admin) as cluster, roles.open_owner_connection(cluster, fresh_database.admin) as owner:
        yield owner


def run(owner: Connection[Any], one: Script) -> int:
    session = Session(owner)
    session.begin()
    return runner.run_script(session, one)


def alone(owner: Connection[Any], text: str) -> tuple[str, int | None] | None:
    """What the server says to the text by itself: message and position."""
    try:
        owner.execute(text.encode())
    except psycopg.Error as error:
        position = error.diag.statement_position
        return error.diag.message_primary or "", int(position) if position else None
    finally:
        owner.rollback()
    return None


def through_us(owner: Connection[Any], one: Script) -> tuple[str, str] | None:
    """Message and place of the failure."""
    try:
        run(owner, one)
    except SqlFailed as failed:
        place, message = str(failed).splitlines()[0].removeprefix(f"{one.path}:").split(": ", 1)
        return message.rsplit(" (", 1)[0], place
    finally:
        owner.rollback()
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, len(TEXT)))
def test_a_script_cut_off_anywhere_fails_as_the_server_says_it_by_itself(owner: Connection[Any], end: int) -> None:
    try:
        one = script(TEXT[:end])
    except ScriptError:
        return  # told when the file is read
    expected, found = alone(owner, one.text), through_us(owner, one)
    if expected is None:
        assert found is None
        return
    assert found is not None
    message, position = expected
    assert found[0] == message
    if position is not None:
        line, column = line_and_column(one.text, position - 1)
        assert found[1] == f"{line}:{column}"


@pytest.mark.parametrize("end", ["", ";", " ;; ; ", " -- no line break behind this", "; /* done */", "\n\n"])
def test_only_the_scripts_own_statements_are_counted(owner: Connection[Any], end: str) -> None:
    assert run(owner, script(f"select 1;\nreset all; set constraints all immediate;; select 2{end}")) == 4


@pytest.mark.parametrize("end", ["", ";", "; -- the end", "; reset all; select 1"])
def test_a_violated_deferred_constraint_is_told_at_the_last_statement(owner: Connection[Any], end: str) -> None:
    deferred = "create table t (i int unique deferrable initially deferred);\ninsert into t\n values (1), (1)"
    with pytest.raises(SqlFailed) as failed:
        run(owner, script(deferred + end))
    assert "duplicate key value" in str(failed.value)
    assert "in: a constraint that was deferred to the end of the script" in str(failed.value)
    assert failed.value.line == (3 if "select" in end else 2)


def test_a_failing_statement_behind_a_reset_is_no_deferred_constraint(owner: Connection[Any]) -> None:
    with pytest.raises(SqlFailed) as failed:
        run(owner, script("reset all;\nselect 1/0;\nselect 2"))
    assert "sql/0004_test.sql:2: division by zero (22012)" in str(failed.value)
    assert "deferred" not in str(failed.value)


def test_what_a_script_sets_is_gone_behind_it(owner: Connection[Any]) -> None:
    def now() -> list[tuple[Any, ...]]:
        return owner.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN ('search_path', 'work_mem', 'statement_timeout')"
        ).fetchall()

    before = now()
    run(owner, script("-- pgstack: statement-timeout 7s\nset search_path = ''; set local work_mem = '7MB'"))
    assert now() == before


def test_rows_of_a_select_are_taken_and_not_kept(owner: Connection[Any]) -> None:
    assert run(owner, script("select * from generate_series(1, 100000); select 2;")) == 2


@pytest.mark.parametrize("sqlstate", sorted(RETRIABLE))
def test_a_lock_that_a_deferred_constraint_does_not_get_is_one_to_try_again(
    owner: Connection[Any], sqlstate: str
) -> None:
    text = (
        f"create function f() returns trigger language plpgsql as 'begin raise sqlstate ''{sqlstate}''; end';\n"
        "create table t (i int);\n"
        "create constraint trigger c after insert on t deferrable initially deferred\n"
        "  for each row execute function f();\n"
        "insert into t values (1);"
    )
    with pytest.raises(SqlFailed) as failed:
        run(owner, script(text))
    assert failed.value.sqlstate == sqlstate

"""A script that can't run in a transaction goes on after its last finished statement."""

from __future__ import annotations

import pytest

from pgvector_stacks.common.errors import PlanRefused, SqlFailed
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from tests.conftest import FreshDatabase, script

HEAD = "-- pgstack: no-transaction\n"


def test_create_index_concurrently_runs(fresh_database: FreshDatabase) -> None:
    apart = script(HEAD + "create index concurrently by_title on app.document (title);\nvacuum app.document")
    assert fresh_database.apply(apart).ran == ("0004_test.sql",)
    assert fresh_database.ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'app.by_title'::regclass") == [
        (True,)
    ]
    assert fresh_database.ask("SELECT count(*) FROM pgstack.statement") == [(0,)]


def test_the_scripts_before_it_stay_when_it_fails(fresh_database: FreshDatabase) -> None:
    before, apart = script("create table app.one ()", "4.sql"), script(HEAD + "vacuum app.nothing", "5.sql")
    with pytest.raises(SqlFailed, match=r'sql/5\.sql:2.* relation "app\.nothing" does not exist'):
        fresh_database.apply(before, apart)
    assert fresh_database.names()[3:] == ["4.sql"]


def test_a_rerun_goes_on_after_the_last_that_succeeded(fresh_database: FreshDatabase) -> None:
    text = HEAD + "insert into app.tenant (name) values ('a');\ninsert into app.tenant (name) values ({});"
    with pytest.raises(SqlFailed, match=r":3: .*violates unique constraint"):
        fresh_database.apply(script(text.format("'a'")))
    assert fresh_database.ask("SELECT count(*) FROM app.tenant") == [(1,)]
    assert fresh_database.apply(script(text.format("'b'"))).ran
    assert fresh_database.ask("SELECT name FROM app.tenant ORDER BY 1") == [("a",), ("b",)]


def test_an_edit_of_what_already_ran_is_refused(fresh_database: FreshDatabase) -> None:
    with pytest.raises(SqlFailed):
        fresh_database.apply(script(HEAD + "insert into app.tenant (name) values ('a'); select 1/0"))
    with pytest.raises(PlanRefused, match="stopped half-way"):
        fresh_database.apply(script(HEAD + "insert into app.tenant (name) values ('b'); select 1"))


def test_an_invalid_index_is_dropped_before_it_is_made_again(fresh_database: FreshDatabase) -> None:
    fresh_database.do("INSERT INTO app.tenant (name) VALUES ('a'), ('b')")
    fresh_database.do("ALTER TABLE app.tenant ADD COLUMN code int DEFAULT 1")
    apart = script(HEAD + "create unique index concurrently by_code on app.tenant (code)")
    with pytest.raises(SqlFailed, match="could not create unique index"):
        fresh_database.apply(apart)
    assert fresh_database.ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'app.by_code'::regclass") == [
        (False,)
    ]
    fresh_database.do("UPDATE app.tenant SET code = tenant_id")
    assert fresh_database.apply(apart).ran
    assert fresh_database.ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'app.by_code'::regclass") == [(True,)]


def test_an_index_whose_record_was_lost_in_a_crash_is_not_made_twice(fresh_database: FreshDatabase) -> None:
    apart = script(HEAD + "create index concurrently by_title on app.document (title); select 1/0")
    with pytest.raises(SqlFailed, match="division by zero"):
        fresh_database.apply(apart)
    fresh_database.do("UPDATE pgstack.statement SET state = 'started' WHERE number = 0")
    mended = script(HEAD + "create index concurrently by_title on app.document (title); select 1")
    assert fresh_database.apply(mended).ran


def test_a_procedure_may_commit(fresh_database: FreshDatabase) -> None:
    apart = script(HEAD + "do $$ begin insert into app.tenant (name) values ('x'); commit; end $$")
    assert fresh_database.apply(apart).ran
    assert fresh_database.ask("SELECT count(*) FROM app.tenant") == [(1,)]


def test_a_step_with_a_snapshot_of_its_own_is_recorded(fresh_database: FreshDatabase) -> None:
    """What it may write is left before it begins: it sees nothing that comes later."""
    text = "-- pgstack: no-transaction\n" + "".join(
        f"BEGIN ISOLATION LEVEL {level}; CREATE TABLE app.{name} (id int); INSERT INTO app.{name} VALUES (1); COMMIT;\n"
        for name, level in (("one", "REPEATABLE READ"), ("two", "SERIALIZABLE"))
    )
    assert fresh_database.apply(script(text)).ran == ("0004_test.sql",)
    assert fresh_database.ask("SELECT (SELECT count(*) FROM app.one), (SELECT count(*) FROM app.two)") == [(1, 1)]
    with connect(fresh_database.admin) as connection:
        assert schema_drift.find_drift(connection) == ()
    with pytest.raises(SqlFailed, match=r"to line 3 is done and stays; the next `up` continues after it"):
        fresh_database.apply(script(text), script(text.replace("app.", "app.x") + "SELECT 1/0", "0005.sql"))
    with connect(fresh_database.admin) as connection:
        assert schema_drift.find_drift(connection) == ()
    assert fresh_database.ask("SELECT count(*) FROM pgstack.statement") == [(8,)]

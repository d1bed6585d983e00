"""A database made by other means is adopted only where it really has what the scripts make."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgvector_stacks.common.difference import Difference
from pgvector_stacks.common.errors import PlanRefused
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.migrations import apply, baseline
from pgvector_stacks.migrations.scripts.planning import Pending
from tests.conftest import FreshDatabase, default_scripts, script

TABLE = script(
    "create table item (id int primary key, name text not null);\ncreate index by_name on item (name);", "0001.sql"
)
NEXT = script("alter table item add column price int", "0002.sql")


def adopt(database: FreshDatabase) -> apply.Outcome:
    request = apply.Request("test", (TABLE, NEXT), baseline=("0001.sql",), lock_wait_s=5.0)
    return apply.apply(database.admin, request)


def as_compose_made_it(database: FreshDatabase, text: str) -> None:
    """Made by the superuser, without a ledger."""
    database.do("ALTER DATABASE " + database.admin.database + " RESET ALL")
    database.do("CREATE EXTENSION vector")
    database.do(text)
    database.do("ALTER TABLE item OWNER TO schema_owner")


def test_what_is_there_is_recorded_and_only_the_rest_runs(empty_database: FreshDatabase) -> None:
    as_compose_made_it(empty_database, TABLE.text)
    empty_database.do("INSERT INTO item VALUES (1, 'kept')")
    adopt(empty_database)
    assert empty_database.ask("SELECT name, baseline FROM pgstack.ledger ORDER BY position") == [
        ("0001.sql", True), ("0002.sql", False),
    ]  # fmt: skip
    assert empty_database.ask("SELECT name, price FROM item") == [("kept", None)]
    assert adopt(empty_database).ran == ()


@pytest.mark.promise("A baseline records nothing where the database differs from its scripts")
@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("create table item (id int primary key, name text not null)", "index public.item.by_name is missing"),
        ("create table item (id int primary key, name text); create index by_name on item (name)",
         "column public.item.name differs: not null is none, the script makes yes"),
    ],
)  # fmt: skip
def test_what_is_missing_or_different_is_named_and_nothing_is_recorded(
    empty_database: FreshDatabase, made: str, expected: str
) -> None:
    as_compose_made_it(empty_database, made)
    with pytest.raises(PlanRefused) as refused:
        adopt(empty_database)
    assert expected in str(refused.value)
    assert empty_database.names() == []
    assert empty_database.ask("SELECT count(*) FROM pg_database WHERE datname LIKE 'pgstack_scratch%'") == [(0,)]


def test_a_whole_schema_is_adopted(fresh_database: FreshDatabase) -> None:
    fresh_database.do("DROP SCHEMA pgstack CASCADE")
    fresh_database.do("INSERT INTO app.tenant (name) VALUES ('kept')")
    names = tuple(entry.name for entry in default_scripts())
    outcome = fresh_database.apply(script("create table app.one ()"), baseline=names)
    assert outcome.ran == (*names, "0004_test.sql")
    assert fresh_database.ask("SELECT name FROM app.tenant") == [("kept",)]


LATER = script("create schema app2; create table app2.doc (id int primary key, tenant int, title text);"
               "alter table app2.doc enable row level security; create policy own on app2.doc using (tenant = 1);"
               "create view app2.live with (security_invoker = true)"
               " as select id, title from app2.doc where tenant = 1;"
               "create function app2.f() returns int language sql return 1", "0001.sql")  # fmt: skip
AFTER = script("alter table app2.doc add column price int; drop view app2.live", "0002.sql")
THEIRS = (
    "create schema app2; create table app2.doc (id int primary key, tenant int, title text);"
    "create policy own on app2.doc using (tenant = 1); create view app2.live as select id, title from app2.doc;"
    "create function app2.f() returns int language sql return 1"
)


def test_tables_and_views_are_compared_and_what_is_taken_is_the_owners_and_the_applications(
    empty_database: FreshDatabase,
) -> None:
    empty_database.do("CREATE EXTENSION vector")
    empty_database.do(THEIRS)
    password = empty_database.app_password
    request = apply.Request(
        "test",
        (LATER, AFTER),
        baseline=("0001.sql",),
        lock_wait_s=5.0,
        app_password=password,
        readonly_password=password,
    )
    with pytest.raises(PlanRefused) as refused:
        apply.apply(empty_database.admin, request)
    assert "table app2.doc differs: row security is none, the script makes on" in str(refused.value)
    assert "view app2.live differs: its query is another; options is none, the script makes " in str(refused.value)
    # made alike, it is taken: the next script may change it, the application may use it, as where the scripts ran
    empty_database.do(
        "alter table app2.doc enable row level security; grant select on app2.doc to pg_monitor;"
        "create or replace view app2.live with (security_invoker = true)"
        " as select id, title from app2.doc where tenant = 1"
    )
    apply.apply(empty_database.admin, replace(request, scripts=(LATER,)))
    with connect(empty_database.admin) as connection:
        assert schema_drift.find_drift(connection) == ()
    with connect(empty_database.as_role("app")) as connection:
        connection.execute("INSERT INTO app2.doc VALUES (1, 1, 'x')")
        assert connection.execute("SELECT title, app2.f() FROM app2.live").fetchall() == [("x", 1)]
    apply.apply(empty_database.admin, request)
    assert empty_database.ask("SELECT price FROM app2.doc") == [(None,)]


def test_what_a_baseline_script_names_is_no_drift_before_it_is_recorded() -> None:
    pending = [Pending(1, LATER, "baseline")]
    doc, other = (Difference("table", name, None, "owner: x") for name in ("app2.doc", "app2.other"))
    column = Difference("column", "app2.doc.tenant", None, "type: integer")
    assert baseline.exclude_pending([doc, other, column], pending) == (other,)
    assert baseline.exclude_pending([doc, other], [Pending(1, LATER, "new")]) == (doc, other)
    assert baseline.exclude_pending(None, pending) is None


@pytest.mark.parametrize(
    "made",
    [
        "create schema b; create collation b.c (provider = libc, locale = 'C'); create table b.t (x text collate b.c)",
        "create schema b; create function b.st(a float8, b float8) returns float8 language sql as 'select a';"
        "create function b.fin(a float8, d float8) returns float8 language sql as 'select a';"
        "create aggregate b.pct(float8 order by float8) (sfunc = b.st, stype = float8, finalfunc = b.fin)",
    ],
    ids=["collation", "ordered-set aggregate"],
)
def test_what_has_another_name_in_commands_is_taken_too(empty_database: FreshDatabase, made: str) -> None:
    empty_database.do("CREATE EXTENSION vector")
    empty_database.do(made)
    empty_database.apply(scripts=(script(made, "0001.sql"),), baseline=("0001.sql",))
    with connect(empty_database.admin) as connection:
        assert schema_drift.find_drift(connection) == ()


def test_what_a_later_baseline_script_drops_need_not_be_there(empty_database: FreshDatabase) -> None:
    as_compose_made_it(empty_database, "create table item (id int primary key)")
    first = script("create table item (id int primary key, old int); create table gone (i int)", "0001.sql")
    second = script("alter table item drop column old; drop table gone", "0002.sql")
    empty_database.apply(scripts=(first, second), baseline=("0001.sql", "0002.sql"))
    with connect(empty_database.admin) as connection:
        assert schema_drift.find_drift(connection) == ()

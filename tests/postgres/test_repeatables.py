"""Repeatable scripts that make what depends on when they ran are named."""

from __future__ import annotations

import pytest

from pgvector_stacks.common.errors import SqlFailed
from pgvector_stacks.migrations import apply
from pgvector_stacks.migrations.scripts import repeatable_warnings
from tests.conftest import FreshDatabase, script

HEAD = "-- pgstack: repeatable\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (HEAD + "grant select on all  tables in schema a to readonly", True),
        (HEAD + "alter default privileges in schema a grant select on tables to readonly", True),
        ("grant select on all tables in schema a to readonly", False),
        (HEAD + "create or replace view a.v as select 'on all tables in schema'", False),
        (HEAD + "create or replace view a.v as\nselect  * from a.t", True),
        (HEAD + "create view a.v as select distinct t.* from a.t", True),
        (HEAD + "create materialized view a.v as table a.t", True),
        (HEAD + "create view a.v as select count(*), 2 * n from a.t; select * from a.t", False),
        (HEAD + "create function a.f() returns setof a.t language sql as $$ select * from a.t $$", False),
        (
            HEAD + "do $$ declare t text; begin for t in select tablename from pg_tables loop"
            " execute format('create or replace trigger x before insert on %I', t); end loop; end $$",
            True,
        ),
        (HEAD + "create or replace view a.v as select relname from pg_class", False),
    ],
)
def test_a_repeatable_script_that_speaks_of_all_objects_is_named(text: str, named: bool) -> None:
    assert len(repeatable_warnings.warn_of_order_dependence([script(text)])) == named


def test_up_warns_of_it(empty_database: FreshDatabase) -> None:
    said: list[str] = []
    listed = (
        script("create schema a", "1.sql"),
        script(HEAD + "grant select on all tables in schema a to readonly", "2.sql"),
    )
    apply.apply(empty_database.admin, empty_database.request(scripts=listed), warn=said.append)
    (line,) = said
    assert line.startswith("sql/2.sql: ON ALL TABLES IN SCHEMA: a repeatable script doesn't run again")


OBJECTS = (
    script(HEAD + "create or replace view a.v as select 1 as x; grant select on a.v to teller", "v.sql"),
    script(HEAD + "create or replace function a.f() returns int language sql as 'select 1'", "f.sql"),
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("select 1;\ngrant usage on schema a to grafana; grant select on all tables in schema a to grafana",
         "2:37: all tables: a.v"),
        ("revoke all on all tables in schema b, a from readonly", "1:1: all tables: a.v"),
        ("grant all on all tables in schema a to app", "1:1: all tables: a.v"),
        ("revoke execute on all functions in schema a from public", "1:1: all functions: a.f"),
        ("revoke execute on all routines in schema a from public;"
         " alter default privileges in schema a revoke execute on routines from public", "1:1: all routines: a.f"),
        ("do $$ begin execute format('grant select on all tables in schema %I to grafana', 'a'); end $$",
         "1:29: all tables: a.v"),
        ("alter default privileges in schema a grant select on tables to grafana", "1:38: future tables: a.v"),
        ("alter default privileges revoke execute on functions from public", "1:26: future functions: a.f"),
        ("alter default privileges for role schema_owner in schema a grant insert on tables to app",
         "1:60: future tables: a.v"),
        ("alter default privileges in schema a grant select, insert, update, delete on tables to app", ""),
        ("grant select on all tables in schema a to app, readonly", ""),
        ("grant select on all tables in schema a to teller", ""),
        ("grant select on all tables in schema b to grafana", ""),
        ("grant select on a.t to grafana; grant usage on all sequences in schema a to grafana", ""),
        ("grant select on all tables in schema a to grafana;"
         " alter default privileges in schema a grant select on tables to grafana", ""),
        ("revoke execute on all functions in schema a from public;"
         " alter default privileges revoke execute on functions from public", ""),
        (HEAD + "grant select on all tables in schema a to grafana", ""),
    ],
)  # fmt: skip
def test_rights_on_all_objects_beside_one_that_a_repeatable_script_made_are_named(text: str, told: str) -> None:
    lines = repeatable_warnings.warn_of_rights_on_all([script(text, "4.sql")], OBJECTS)
    assert [line[: len(f"sql/4.sql:{told}")] for line in lines] == [f"sql/4.sql:{told}"] * bool(told)


def test_up_warns_of_them_only_where_the_rights_would_differ(empty_database: FreshDatabase) -> None:
    """In a database that gets both at once, the repeatable script runs last, as in a fresh one."""
    base = script("create schema a", "1.sql")
    closes = [script(f"revoke all on all tables in schema a from readonly; select {n}", f"{n}.sql") for n in (2, 3)]
    view = script(HEAD + "create or replace view a.v as select 1 as x", "v.sql")
    said: list[str] = []
    for scripts, told in (((base, closes[0], view), 0), ((base, *closes, view), 1)):
        apply.apply(empty_database.admin, empty_database.request(scripts=scripts), warn=said.append)
        assert len(said) == told
    assert said[0].startswith("sql/3.sql:1:1: all tables: a.v is made by sql/v.sql")


@pytest.mark.parametrize("listed_before", [False, True])
def test_a_view_upon_a_repeatable_one_is_there_after_its_change(
    empty_database: FreshDatabase, listed_before: bool
) -> None:
    """As in a fresh database: also where the one that drops is listed again, before what is there."""
    head, base = "-- pgstack: repeatable\n", script("create schema a", "1.sql")
    below = [
        script(f"{head}drop view if exists a.v cascade; create view a.v as select 1 as x{more}", "2.sql")
        for more in ("", ", 2 as y")
    ]
    upon = script(f"{head}create or replace view a.w as select x from a.v", "3.sql")
    made_before = script(f"{head}create or replace view a.v as select 1 as x", "0.sql")
    empty_database.apply(scripts=(base, made_before, *([] if listed_before else below[:1]), upon))
    ran = empty_database.apply(scripts=(base, made_before, below[1], upon)).ran
    assert ran == ("2.sql", "3.sql")
    assert empty_database.ask("SELECT v.y, w.x FROM a.v, a.w") == [(2, 1)]
    assert empty_database.apply(scripts=(base, made_before, below[1], upon)).ran == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("create or replace function a.f(i int, j int default 2) returns int language sql as 'select 1'",
         "a.f exists 2 times, with (i integer), (i integer, j integer), more often"),
        ("drop function if exists a.f(int); create function a.f(i text) returns int language sql as 'select 1'", ""),
        ("create or replace function a.f(i int) returns int language sql as 'select 2'", ""),
        ("create or replace function a.f(i int) returns int language sql as 'select 2';"
         "create or replace function a.f(i text) returns int language sql as 'select 1'", ""),
        ("create or replace procedure vector_dims(i int) language sql as 'select 1'", ""),
    ],
)  # fmt: skip
def test_a_function_that_stays_beside_the_one_with_new_parameters_is_named(
    empty_database: FreshDatabase, text: str, told: str
) -> None:
    """The application's calls were ambiguous in the older databases only."""
    base = script("create schema a", "1.sql")
    before = "create or replace function a.f(i int) returns int language sql as 'select 1'"
    said: list[str] = []
    for now in (before, text):
        request = empty_database.request(scripts=(base, script(HEAD + now, "f.sql")))
        apply.apply(empty_database.admin, request, warn=said.append)
    assert [told in line for line in said] == [True] * bool(told)


def test_what_a_repeatable_script_says_holds_whatever_another_replaced(empty_database: FreshDatabase) -> None:
    """As in a fresh database, where it runs last. The other's function stayed in the older ones."""
    body = "create or replace function a.f() returns int language sql as 'select {}'"
    listed = script("create schema a", "1.sql"), script(HEAD + body.format(1), "f.sql")
    empty_database.apply(scripts=listed)
    assert empty_database.apply(scripts=(*listed, script(body.format(2), "3.sql"))).ran == ("3.sql", "f.sql")
    assert empty_database.ask("SELECT a.f()") == [(1,)]


SWAP = "alter table a.t rename to t_old; create table a.t (i int); insert into a.t values (2)"


def test_a_view_is_of_the_table_that_has_its_name_now(empty_database: FreshDatabase) -> None:
    """As in a fresh database. It stayed on the former table, and nothing told."""
    listed = (
        script("create schema a; create table a.t (i int); insert into a.t values (1)", "1.sql"),
        script(HEAD + "create or replace view a.v as select i from a.t", "2.sql"),
    )
    empty_database.apply(scripts=listed)
    assert empty_database.apply(scripts=(*listed, script(SWAP, "3.sql"))).ran == ("3.sql", "2.sql")
    assert empty_database.ask("SELECT i FROM a.v") == [(2,)]


def test_a_view_that_names_what_a_script_renames_is_told_at_once(empty_database: FreshDatabase) -> None:
    """Else the first fresh database tells it."""
    listed = (
        script("create schema a; create table a.t (i int)", "1.sql"),
        script(HEAD + "create or replace view a.v as select i from a.t", "2.sql"),
    )
    empty_database.apply(scripts=listed)
    with pytest.raises(SqlFailed, match=r'sql/2\.sql:2:\d+: column "i" does not exist'):
        empty_database.apply(scripts=(*listed, script("alter table a.t rename i to j", "3.sql")))
    assert empty_database.names() == ["1.sql", "2.sql"]


VIEW = script(HEAD + "create or replace view a.recent as select 1 as x", "2.sql")
FUNCTION = script(HEAD + "create or replace function slug(text) returns text language sql as 'select $1'", "3.sql")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("create table a.t ();\ninsert into a.log select x from a.recent", "2:33: a.recent"),
        ("create materialized view a.m as select * from a.t join recent using (x)", "1:56: a.recent"),
        ("grant select on a.recent to readonly", "1:17: a.recent"),
        ("do $$ begin perform x from a.recent; end $$", "1:28: a.recent"),
        ("create index on a.t (public.slug(title))", "1:22: slug"),
        ("update a.t set s = slug(t)", "1:20: slug"),
    ],
)
def test_a_script_that_uses_what_a_repeatable_one_makes_is_named(text: str, place: str) -> None:
    (line,) = repeatable_warnings.warn_of_uses([script(text, "4.sql"), VIEW], [VIEW, FUNCTION])
    assert line.startswith(f"sql/4.sql:{place} is made by sql/{'3' if 'slug' in place else '2'}.sql, a repeatable")


@pytest.mark.parametrize(
    "text",
    [
        "drop view if exists a.recent",
        "select recent, slug from a.t where recent",
        "create view b.w as table b.recent",
        "create table a.slug (slug text); insert into slug (slug) values ('from a.recent')",
        "alter table a.t add recent int",
        "create table recent (x int); insert into a.t select x from recent",
        "create function a.f() returns int language plpgsql as 'begin return x from a.recent; end'",
    ],
)
def test_one_that_only_names_the_like_is_not(text: str) -> None:
    assert repeatable_warnings.warn_of_uses([script(text, "4.sql")], [VIEW, FUNCTION]) == []


def test_up_says_why_a_view_is_missing_in_a_fresh_database(empty_database: FreshDatabase) -> None:
    said: list[str] = []
    listed = (script("create schema a", "1.sql"), VIEW, script("create table a.t as table a.recent", "3.sql"))
    request = empty_database.request(scripts=listed)
    with pytest.raises(SqlFailed, match=r'"a\.recent" does not exist'):
        apply.apply(empty_database.admin, request, warn=said.append)
    assert said[0].startswith("sql/3.sql:1:27: a.recent is made by sql/2.sql")

"""Repeatable scripts that make what depends on when they ran are named."""

from __future__ import annotations

import pytest

from pgvector_stacks.migrations import apply
from pgvector_stacks.migrations.scripts import repeatables
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
    assert len(repeatables.warnings([script(text)])) == named


def test_up_warns_of_it(empty_database: FreshDatabase) -> None:
    said: list[str] = []
    listed = (
        script("create schema a", "1.sql"),
        script(HEAD + "grant select on all tables in schema a to readonly", "2.sql"),
    )
    apply.apply(empty_database.admin, empty_database.request(scripts=listed), warn=said.append)
    (line,) = said
    assert line.startswith("sql/2.sql: ON ALL TABLES IN SCHEMA: a repeatable script doesn't run again")


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

"""RESET in a script goes back to what the database has set now, and errors are told where they are in the file."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvector_stacks.common.errors import SqlFailed
from pgvector_stacks.migrations.scripts import resets
from tests.conftest import FreshDatabase, script

STATEMENTS = (
    "reset search_path", "RESET ALL", "set x.y to default", "select 1", "set local Time Zone Local", "reset role",
    "create table t (i int default 1)", "set session authorization default",
    "do $$ begin reset search_path; if true then set local x.y to default; end if; end $$",
    "do 'begin raise notice ''reset all''; execute ''reset all''; end'",
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(STATEMENTS), min_size=1), st.sampled_from([";", ";\n", " ; -- reset all\n"]))
def test_places_in_what_is_sent_are_those_of_the_script(statements: list[str], between: str) -> None:
    one = script(between.join(statements))
    sent, added = resets.add_statements_after_resets(
        one, one.text, {"search_path": "'b'", "TimeZone": "'UTC'", "x.y": "''"}
    )
    assert len(sent) == len(one.text) + sum(each.length for each in added)
    told = "".join(
        character
        for place, character in enumerate(sent, 1)
        if resets.position_in_script(place + 1, added) != resets.position_in_script(place, added)
    )
    assert told == one.text
    assert [each.after for each in added if each.answers] == [
        number for number, each in enumerate(statements) if "role" not in each and ("set" in each.lower().split()[0])
        and "authorization" not in each
    ]  # fmt: skip
    answering = [each.after for each in added if each.answers]
    numbers = [resets.number_in_script(number, added) for number in range(len(statements) + len(answering))]
    assert sorted(numbers) == sorted([*range(len(statements)), *answering])
    in_blocks = [
        number for number, each in enumerate(statements) for _ in range(each.count("do $$") * 2 + each.count("do '"))
    ]
    assert [each.after for each in added if not each.answers] == in_blocks


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("reset search_path; select 1;\nselect nothere", "sql/2.sql:2:8:"),
        ("set search_path to default;\nreset all; select\n1/0; select 2", "sql/2.sql:2:"),
        ("select 1/0;\nreset all", "sql/2.sql:1:"),
        ("do $$ begin\nreset search_path;\nperform nothere; end $$", "sql/2.sql:3:"),
        ("do $$ begin\nreset search_path; end $$; select\nnothere", "sql/2.sql:3:1:"),
        ("create table k (i int primary key deferrable initially deferred);\ninsert into k values (1), (1); reset all",
         "sql/2.sql:2:"),
    ],
)  # fmt: skip
def test_an_error_is_told_where_it_is(empty_database: FreshDatabase, text: str, place: str) -> None:
    sets = "do $$ begin execute format('alter database %I set search_path = public', current_database()); end $$"
    empty_database.do(f"ALTER DATABASE {empty_database.admin.database} RESET search_path")
    with pytest.raises(SqlFailed) as failed:
        empty_database.apply(scripts=(script(sets, "1.sql"), script(text, "2.sql")))
    assert str(failed.value).startswith(place)

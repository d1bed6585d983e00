"""Repeatable scripts that make what depends on when they ran are named."""

from __future__ import annotations

import pytest

from postgres import apply, repeatables
from tests.conftest import FreshDatabase, script

HEAD = "-- pgstack: repeatable\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (HEAD + "grant select on all  tables in schema a to readonly", True),
        (HEAD + "alter default privileges in schema a grant select on tables to readonly", True),
        ("grant select on all tables in schema a to readonly", False),
        (HEAD + "create or replace view a.v as select 'on all tables in schema'", False),
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

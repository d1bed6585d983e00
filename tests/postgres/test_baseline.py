"""A database made by other means is adopted only where it really has what the scripts make."""

from __future__ import annotations

import pytest

from postgres import apply
from postgres.errors import PlanRefused
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

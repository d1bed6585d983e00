"""A DO or CALL that commits inside a no-transaction script has its effect once; if it ends early, a person decides."""

from __future__ import annotations

import pytest

from pgvector_stacks.common.errors import PgstackError, PlanRefused
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.migrations.scripts.script_files import Script
from tests.conftest import FreshDatabase, script

BASE = script("create schema a; create table a.log (v text); create table a.t (i int);", "1.sql")
LOG = "select coalesce(string_agg(v, ' ' order by v), '') from a.log"


def apart(text: str) -> tuple[Script, Script]:
    return BASE, script(f"-- pgstack: no-transaction\n{text}", "2.sql")


def differences(database: FreshDatabase) -> list[str]:
    with connect(database.admin) as connection:
        return list(schema_drift.describe_differences(schema_drift.find_drift(connection)))


def way(told: str, word: str) -> str:
    """The statement that the message names for one of the two ways on."""
    return next(line[line.index(word) :] for line in told.splitlines() if word in line)


ENDS_EARLY = (
    "set search_path = a; do $$ begin insert into log values ('1'); create table made (); commit;"
    " insert into log values ('2'); {}; end $$; insert into log values ('3')"
)


@pytest.mark.promise("A `DO` or `CALL` that may have committed runs again only if you say so")
@pytest.mark.parametrize("stop", ["perform 1 / 0", "perform pg_terminate_backend(pg_backend_pid())"])
@pytest.mark.parametrize("decided", ["UPDATE", "DELETE"])
def test_what_committed_a_part_runs_again_only_if_a_person_says_so(
    empty_database: FreshDatabase, stop: str, decided: str
) -> None:
    scripts = apart(ENDS_EARLY.format(stop))
    with pytest.raises(PgstackError, match=r"division by zero|went away") as failed:
        empty_database.apply(scripts=scripts)
    assert "it may have committed part of its work" in str(failed.value)
    assert "goes on behind it" not in str(failed.value)
    assert differences(empty_database) == []
    with pytest.raises(
        PlanRefused, match=r"sql/2\.sql stopped half-way in test: a DO or CALL that commits inside"
    ) as no:
        empty_database.apply(scripts=scripts)
    for verb in ("UPDATE", "DELETE"):
        assert way(str(no.value), verb) == way(str(failed.value), verb)
    assert empty_database.ask(LOG) == [("1",)]
    empty_database.do(way(str(no.value), decided))
    if decided == "UPDATE":
        empty_database.apply(scripts=scripts)
        assert empty_database.ask(LOG) == [("1 3",)]
    else:  # the rest may change, the statement included
        empty_database.apply(
            scripts=apart(ENDS_EARLY.format("perform 1").replace("create table made ()", "drop table made"))
        )
        assert empty_database.ask(LOG) == [("1 1 2 3",)]
    assert differences(empty_database) == []
    assert empty_database.ask("SELECT FROM pgstack.statement") == []


@pytest.mark.parametrize("edit", [("'2'", "'4'"), ("do $$", "insert into a.log values ('0'); do $$"), (" do $$", "--")])
def test_an_edit_is_not_taken_for_the_word_of_a_person(empty_database: FreshDatabase, edit: tuple[str, str]) -> None:
    text = ENDS_EARLY.format("perform 1 / 0")
    with pytest.raises(PgstackError, match="division by zero"):
        empty_database.apply(scripts=apart(text))
    with pytest.raises(PlanRefused, match=r"that statement, number 2, was changed or moved") as refused:
        empty_database.apply(scripts=apart(text.replace(*edit)))
    by_hand = "DELETE FROM pgstack.statement WHERE script = '2.sql' AND number = 1"
    assert f"in `pgstack psql STACK --as admin`:\n    {by_hand}" in str(refused.value)
    assert "UPDATE" not in str(refused.value)
    assert empty_database.ask(LOG) == [("1",)]


@pytest.mark.parametrize("before", ["perform 1 / 0;", "insert into nothere values (1);", "lock table a.t;"])
def test_what_failed_before_it_committed_runs_again_freely(empty_database: FreshDatabase, before: str) -> None:
    text = f"set my.word = 'x'; do $$ begin {before} insert into a.log values ('1'); commit; end $$"
    empty_database.apply(scripts=(BASE,))
    with connect(empty_database.admin, autocommit=False) as holder:
        holder.execute("LOCK TABLE a.t IN ROW EXCLUSIVE MODE")
        with pytest.raises(PgstackError, match=r"division by zero|nothere|lock timeout") as failed:
            empty_database.apply(scripts=apart(text), lock_timeout_s=0.1, lock_wait_s=0.3)
    assert "may have committed" not in str(failed.value)
    mended = text.replace(before, "" if "lock" not in before else before).replace("'x'", "'y'")
    empty_database.apply(scripts=apart(mended))
    assert empty_database.ask(LOG) == [("1",)]

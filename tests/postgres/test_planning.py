"""What runs, given what is listed and what ran. The planner is pure, so these are tables and properties."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.common.errors import PlanRefused
from pgvector_stacks.migrations.scripts.interrupted import Progress, statement_hash
from pgvector_stacks.migrations.scripts.planning import Applied, plan
from pgvector_stacks.migrations.scripts.script_files import Script, revision
from tests.conftest import script

WHEN = datetime(2026, 11, 2, 12, tzinfo=UTC)


def ran(*scripts: Script, commit: str | None = None) -> list[Applied]:
    return [
        Applied(entry.name, position, entry.sha256, entry.normalised, WHEN, "ann@host", commit)
        for position, entry in enumerate(scripts, start=1)
    ]


def named(name: str, text: str = "select 1") -> Script:
    return script(text, name)


A, B, C = named("a.sql"), named("b.sql"), named("c.sql")


def test_everything_runs_on_an_empty_database() -> None:
    found = plan([A, B], [], where="dev")
    assert [(entry.position, entry.script.name, entry.reason) for entry in found.pending] == [
        (1, "a.sql", "new"), (2, "b.sql", "new"),
    ]  # fmt: skip
    assert (found.before, len(found.groups)) == ("empty", 1)


@pytest.mark.promise("No script runs twice")
def test_nothing_runs_twice() -> None:
    found = plan([A, B], ran(A, B), where="dev")
    assert found.pending == ()
    assert found.before == found.after


def test_only_what_is_new_runs() -> None:
    assert [entry.script.name for entry in plan([A, B, C], ran(A), where="dev").pending] == ["b.sql", "c.sql"]


@pytest.mark.parametrize(
    ("listed", "ledger", "expected"),
    [
        (
            [named("a.sql", "select 2")],
            ran(A),
            ["sql/a.sql was changed after it ran in dev (2026-11-02 12:00, by ann@host)", "git log -p -- sql/a.sql",
             "pgstack new", "-- pgstack: repeatable"],
        ),
        ([named("a.sql", "select 2")], ran(A, commit="7f3a" * 10), ["git checkout 7f3a7f3a7f3a -- sql/a.sql"]),
        ([B], ran(A, B), ["sql/a.sql ran in dev (2026-11-02 12:00, by ann@host) and is not listed any more"]),
        ([B, A], ran(A, B), ["the order changed: in dev sql/a.sql ran where sql/b.sql is listed now", "a.sql, b.sql"]),
        ([C, A], ran(A), ["sql/c.sql is new but listed before sql/a.sql"]),
    ],
)  # fmt: skip
def test_a_contradiction_is_refused_with_the_way_out(
    listed: list[Script], ledger: list[Applied], expected: list[str]
) -> None:
    with pytest.raises(PlanRefused) as refused:
        plan(listed, ledger, where="dev")
    for words in expected:
        assert words in str(refused.value)


def test_all_contradictions_are_told_at_once() -> None:
    with pytest.raises(PlanRefused) as refused:
        plan([named("b.sql", "select 9")], ran(A, B), where="dev")
    assert "a.sql ran in dev" in str(refused.value)
    assert "b.sql was changed" in str(refused.value)


def test_a_repeatable_script_runs_again_when_it_changes() -> None:
    before, after = (named("v.sql", f"-- pgstack: repeatable\nselect {n}") for n in (1, 2))
    (entry,) = plan([A, after], ran(A, before), where="dev").pending
    assert (entry.script.name, entry.reason, entry.position) == ("v.sql", "repeatable changed", 2)


@pytest.mark.parametrize(
    ("text", "again"),
    [("DROP VIEW IF EXISTS v; ALTER TABLE t ALTER c TYPE bigint", True), ("drop function f cascade", True),
     ("ALTER TABLE t DROP COLUMN c CASCADE", True), ("ALTER TABLE t DROP COLUMN c, DROP CONSTRAINT k", False),
     ("ALTER TABLE t ALTER c DROP NOT NULL", False), ("SELECT 1", False), ("ALTER TABLE t RENAME TO u", True),
     ("alter table t rename c to d", True), ("ALTER TABLE t RENAME CONSTRAINT c TO d", False),
     ("ALTER FUNCTION f SET\nSCHEMA s", True)],
)  # fmt: skip
def test_a_repeatable_script_runs_again_behind_one_that_drops_or_renames(text: str, again: bool) -> None:
    """A fresh database has what it makes: there it runs last. Also where the drop came without it."""
    view, drops = named("v.sql", "-- pgstack: repeatable\nselect 1"), named("d.sql", text)
    told = [(entry.script.name, entry.reason) for entry in plan([A, view, drops], ran(A, view), where="dev").pending]
    assert told == [("d.sql", "new"), *[("v.sql", "repeatable again")] * again]
    rows = ran(A, view, drops)
    assert plan([A, view, drops], rows, where="dev").pending == (), "together"
    rows[2] = replace(rows[2], applied_at=rows[2].applied_at + timedelta(seconds=1))
    told = [(entry.script.name, entry.reason) for entry in plan([A, view, drops], rows, where="dev").pending]
    assert told == [("v.sql", "repeatable again")] * again
    assert plan([A, view, drops], rows, where="dev", baseline=["d.sql"]).pending == ()


@pytest.mark.parametrize(
    ("text", "again"),
    [('Create  function "S" . F() returns int', True), ("create or replace function f(i int)", True),
     ("create function s.ff() returns int", False), ("create or replace view s.f as select 1", True),
     ("create table f (i int); grant execute on function s.f to app", False)],
)  # fmt: skip
def test_a_repeatable_script_runs_again_behind_one_that_replaces_what_it_makes(text: str, again: bool) -> None:
    """In a fresh database it runs last, and what it says holds."""
    makes = named("f.sql", "-- pgstack: repeatable\ncreate or replace function s.f() returns int return 1")
    other = named("g.sql", "-- pgstack: repeatable\ncreate or replace function s.g() returns int return 1")
    replaces = named("r.sql", text)
    told = [one.script.name for one in plan([A, makes, other, replaces], ran(A, makes, other), where="dev").pending]
    assert told == ["r.sql", *["f.sql"] * again]
    rows = ran(A, makes, other, replaces)
    assert plan([A, makes, other, replaces], rows, where="dev").pending == ()
    rows[3] = replace(rows[3], applied_at=rows[3].applied_at + timedelta(seconds=1))
    told = [one.script.name for one in plan([A, makes, other, replaces], rows, where="dev").pending]
    assert told == ["f.sql"] * again


def test_a_repeatable_script_runs_again_behind_a_repeatable_one_that_drops() -> None:
    """`DROP VIEW … CASCADE; CREATE VIEW` takes along what those listed behind it made upon the view."""
    head = "-- pgstack: repeatable\n"
    before, upon = named("u.sql", head + "select 1"), named("w.sql", head + "select 2")
    drops, edited = (named("v.sql", f"{head}drop view if exists v cascade; select {n}") for n in (1, 2))
    rows = ran(A, before, drops, upon)
    assert plan([A, before, drops, upon], rows, where="dev").pending == ()
    told = [(one.script.name, one.reason) for one in plan([A, before, edited, upon], rows, where="dev").pending]
    assert told == [("v.sql", "repeatable changed"), ("w.sql", "repeatable again")]
    rows[2] = replace(rows[2], applied_at=rows[2].applied_at + timedelta(seconds=1))  # changed by an older version
    told = [(one.script.name, one.reason) for one in plan([A, before, drops, upon], rows, where="dev").pending]
    assert told == [("w.sql", "repeatable again")]


def test_a_repeatable_script_runs_behind_all_others_wherever_it_is_listed() -> None:
    view, apart = (
        named("v.sql", "-- pgstack: repeatable\nselect 1"),
        named("n.sql", "-- pgstack: no-transaction\nvacuum"),
    )
    groups = plan([view, A, apart], [], where="dev").groups
    assert [[entry.script.name for entry in group.pending] for group in groups] == [["a.sql"], ["n.sql"], ["v.sql"]]
    for listed in ([view, A, B], [A, view, B], [A, B, view]):
        found = plan(listed, ran(A, view), where="dev")
        assert [entry.script.name for entry in found.pending] == ["b.sql"]
    assert not plan([A, view, B], ran(A, view, B), where="dev").moved
    assert plan([view, A, B], ran(A, view, B), where="dev").moved


def test_a_no_transaction_script_ends_the_group_before_it() -> None:
    apart = named("n.sql", "-- pgstack: no-transaction\nvacuum")
    groups = plan([A, B, apart, C], [], where="dev").groups
    assert [[entry.script.name for entry in group.pending] for group in groups] == [
        ["a.sql", "b.sql"],
        ["n.sql"],
        ["c.sql"],
    ]
    assert [group.transactional for group in groups] == [True, False, True]


def test_a_baseline_is_recorded_and_not_run() -> None:
    found = plan([A, B], [], where="dev", baseline=["a.sql"])
    assert [entry.script.name for entry in found.baseline] == ["a.sql"]
    assert [entry.script.name for group in found.groups for entry in group.pending] == ["b.sql"]


def test_a_baseline_that_is_not_listed_is_refused() -> None:
    with pytest.raises(PlanRefused, match=r"baseline names 'x\.sql'"):
        plan([A], [], where="dev", baseline=["x.sql"])


def test_a_half_finished_script_may_change_only_behind_what_ran() -> None:
    apart = named("n.sql", "-- pgstack: no-transaction\nselect 1; select 2; select 3")
    progress = {"n.sql": Progress((statement_hash(apart, 0), statement_hash(apart, 1)))}
    assert plan([apart], [], where="dev", progress=progress).pending
    mended = named("n.sql", "-- pgstack: no-transaction\nselect 1; select 2; select 33")
    assert plan([mended], [], where="dev", progress=progress).pending
    edited = named("n.sql", "-- pgstack: no-transaction\nselect 11; select 2; select 3")
    with pytest.raises(PlanRefused, match="stopped half-way"):
        plan([edited], [], where="dev", progress=progress)


SCRIPTS = st.lists(st.sampled_from("abcdef"), unique=True).map(
    lambda names: [named(f"{name}.sql", f"select '{name}'") for name in names]
)


@given(SCRIPTS, st.integers(0, 6))
def test_a_prefix_that_ran_is_continued_to_exactly_the_list(listed: list[Script], count: int) -> None:
    found = plan(listed, ran(*listed[:count]), where="dev")
    assert [entry.script for entry in found.pending] == listed[count:]
    assert found.after == revision((entry.name, entry.normalised) for entry in listed)


@pytest.mark.promise("What ran is a prefix of what is listed, or the plan is refused")
@given(SCRIPTS, SCRIPTS)
def test_what_ran_is_a_prefix_of_what_is_listed_or_the_plan_is_refused(
    listed: list[Script], past: list[Script]
) -> None:
    is_prefix = listed[: len(past)] == past
    try:
        plan(listed, ran(*past), where="dev")
    except PlanRefused:
        assert not is_prefix
    else:
        assert is_prefix

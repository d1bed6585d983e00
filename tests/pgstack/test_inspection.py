"""The state of each script, from what is listed and what the ledger says ran: a table of its own, no server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvector_stacks.cli.inspection import DatabaseAddresses, build_status_rows
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.migrations.scripts.planning import Applied
from pgvector_stacks.migrations.scripts.script_files import Script
from tests.conftest import script

WHEN = datetime(2026, 11, 2, 12, 30, 59, tzinfo=UTC)
RAN = "2026-11-02 12:30 by ann@host"


def named(name: str, text: str = "SELECT 1") -> Script:
    return script(text, name)


def ran(*scripts: Script, baseline: bool = False) -> list[Applied]:
    return [
        Applied(entry.name, position, entry.sha256, entry.normalised, WHEN, "ann@host", baseline=baseline)
        for position, entry in enumerate(scripts, start=1)
    ]


A, B = named("a.sql"), named("b.sql", "SELECT 2")
OTHER_A = named("a.sql", "SELECT 3")


@pytest.mark.parametrize(
    ("scripts", "ledger", "expected"),
    [
        ([], [], []),
        ([A, B], [], [("pending", "a.sql", ""), ("pending", "b.sql", "")]),
        ([A, B], ran(A), [("applied", "a.sql", RAN), ("pending", "b.sql", "")]),
        ([OTHER_A], ran(A), [("edited", "a.sql", RAN)]),
        ([replace(OTHER_A, repeatable=True)], ran(A), [("changed", "a.sql", RAN)]),
        ([replace(A, repeatable=True)], ran(A), [("applied", "a.sql", RAN)]),
        ([A], ran(A, baseline=True), [("applied", "a.sql", f"{RAN} (baseline)")]),
        ([B], ran(A, B), [("applied", "b.sql", RAN), ("removed", "a.sql", RAN)]),
        ([], ran(B, A), [("removed", "b.sql", RAN), ("removed", "a.sql", RAN)]),
        ([B, A], ran(A, B), [("applied", "b.sql", RAN), ("applied", "a.sql", RAN)]),
    ],
)
def test_the_state_of_each_script_is_told(
    scripts: list[Script], ledger: list[Applied], expected: list[tuple[str, str, str]]
) -> None:
    assert build_status_rows(scripts, ledger) == expected


def test_white_space_and_comments_are_no_edit() -> None:
    assert (
        build_status_rows([named("a.sql", "-- why\nSELECT  1 ;")], ran(named("a.sql", "SELECT 1;")))[0][0] == "applied"
    )


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([A, B, OTHER_A, named("c.sql"), named("d.sql")]), unique_by=lambda entry: entry.name),
    st.lists(st.sampled_from([A, B, named("c.sql"), named("e.sql")]), unique_by=lambda entry: entry.name),
)
def test_every_script_and_every_row_is_told_once_in_the_listed_order(listed: list[Script], done: list[Script]) -> None:
    found = build_status_rows(listed, ran(*done))
    names = [name for _, name, _ in found]
    assert names[: len(listed)] == [entry.name for entry in listed]
    assert sorted(names) == sorted({entry.name for entry in listed} | {entry.name for entry in done})
    for state, name, detail in found:
        assert (state == "pending") == (detail == "") == (name not in {entry.name for entry in done})
        assert (state == "removed") == (name not in {entry.name for entry in listed})


@settings(deadline=None)
@given(st.text(min_size=1), st.from_regex(r"[a-z_][a-z0-9_]{0,62}", fullmatch=True), st.integers(1, 65535))
def test_a_database_is_found_again_from_its_output_whatever_the_password(
    password: str, database: str, port: int
) -> None:
    address = Address("127.0.0.1", port, database, "postgres", password)
    assert DatabaseAddresses.from_outputs({"adminUrl": address.url}) == DatabaseAddresses(address)


def test_a_script_that_stopped_half_way_says_how_far_it_came() -> None:
    stopped = named("b.sql", "-- pgstack: no-transaction\nVACUUM; SELECT 1; SELECT 2;")
    assert build_status_rows([stopped], (), done={"b.sql": ["x", "y"]}) == [
        ("pending", "b.sql", "half-way: 2 of 3 statements are done")
    ]


def test_of_a_list_that_cant_be_read_nothing_is_said_to_be_removed() -> None:
    assert build_status_rows([], ran(named("a.sql", "SELECT 1")), known=False)[0][0] == "applied"

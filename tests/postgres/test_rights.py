"""A word about a role on what a script makes is obeyed; no other word is one."""

from __future__ import annotations

import pytest

from pgvector_stacks.migrations.scripts.application_rights import (
    CreatedObject,
    build_grants,
    find_due_grants,
    parse_revokes,
)
from tests.conftest import script

TABLE = CreatedObject(1, "TABLE", "s", "t", "s.t")
SCHEMA = CreatedObject(2, "SCHEMA", "s", "", "s")
SEQUENCE = CreatedObject(3, "SEQUENCE", "s", "q", "s.q")


def given_by(text: str, *created: CreatedObject) -> list[str]:
    return sorted(build_grants(find_due_grants(created, parse_revokes(script(text)))))


ALL = [
    "GRANT SELECT ON TABLE s.t TO readonly",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE s.t TO app",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1", ALL),
        ("revoke all on s.t from public, grafana", ALL),
        ("revoke all on s.other from app, readonly", ALL),
        ("revoke all on all tables in schema x from app, readonly", ALL),
        ("revoke app from readonly; revoke execute on function f() from app", ALL),
        ("create function f() returns void language sql as 'revoke all on s.t from app'", ALL),
        ("revoke all on t from app cascade", ALL[:1]),
        ("revoke all privileges on table s.t, s.u from group app, \"readonly\"", []),
        ("revoke select, delete on s.t from app", [ALL[0], "GRANT INSERT, UPDATE ON TABLE s.t TO app"]),
        ("revoke all on all tables in schema s from readonly", ALL[1:]),
        ("do $$ begin revoke all on s.t from readonly; end $$", ALL[1:]),
        ("do $$ begin execute format('revoke all on %1$I.%I from app, readonly', a, b); end $$", []),
        ("revoke update (a) on s.t from app", [ALL[0], "GRANT SELECT, INSERT, DELETE ON TABLE s.t TO app"]),
    ],
)  # fmt: skip
def test_what_a_script_takes_from_a_role_on_its_table_stays_taken(text: str, expected: list[str]) -> None:
    assert given_by(text, TABLE) == sorted(expected)


def test_a_role_that_the_rights_name_gets_nothing_more() -> None:
    named = CreatedObject(1, "TABLE", "s", "t", "s.t", says=frozenset({"readonly"}))
    assert given_by("select 1", named) == ALL[1:]


def test_schemas_and_sequences_have_rights_of_their_own() -> None:
    text = "revoke usage on schema s from readonly; revoke usage on sequence s.q from app"
    assert given_by(text, SCHEMA, SEQUENCE) == [
        "GRANT SELECT ON SEQUENCE s.q TO app",
        "GRANT SELECT ON SEQUENCE s.q TO readonly",
        "GRANT USAGE ON SCHEMA s TO app",
    ]


def test_a_partition_gives_no_more_than_its_table() -> None:
    part = CreatedObject(1, "TABLE", "s", "part", "s.part", parent=9)
    whole = CreatedObject(9, "TABLE", "s", "t", "s.t")
    assert given_by("revoke all on s.t from readonly; revoke delete on s.t from app", part, whole) == [
        "GRANT SELECT, INSERT, UPDATE ON TABLE s.t, s.part TO app"
    ]
    before = CreatedObject(1, "TABLE", "s", "part", "s.part", parent=9, on_parent=(frozenset({"SELECT"}), frozenset()))
    assert given_by("select 1", before) == ["GRANT SELECT ON TABLE s.part TO app"]

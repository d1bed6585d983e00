"""What decides about backups, without a server: which go, what differs, what a dump's list is split into."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.backup import drill, store
from pgvector_stacks.backup.contents import Contents, VectorIndex, describe_differences, describe_older_extensions
from pgvector_stacks.backup.manifest import BackupRefused, read
from pgvector_stacks.backup.restoring import role_statements
from pgvector_stacks.backup.restoring.restore_database import split_listing
from pgvector_stacks.backup.retention import DrilledBackup, choose_removals

HELD = Contents(
    rows={"app.a": 3, "app.b": 0}, sequences={"app.s": 10}, ledger=(("init.sql", "abc"),),
    objects={"index app.a_pkey": "on app.a"}, extensions={"vector": "0.8.5"},
    vector_indexes=(VectorIndex(oid=7, schema="app", name="near"),),
)  # fmt: skip
BACKUPS = st.lists(st.sampled_from([True, False, None]), max_size=30).map(
    lambda verdicts: [DrilledBackup(f"{number:03}", verdict) for number, verdict in enumerate(verdicts)]
)


@given(BACKUPS, st.integers(1, 40))
def test_retention_keeps_the_newest_and_the_last_good_one(backups: list[DrilledBackup], keep: int) -> None:
    gone = set(choose_removals(backups, keep))
    left = [each for each in backups if each.name not in gone]
    assert left[-keep:] == backups[-keep:]
    assert len(left) <= keep + 1
    good = [each for each in backups if each.good]
    assert good[-1:] == [each for each in left if each.good][-1:]
    if not good and any(each.good is None for each in backups):
        assert any(each.good is None for each in left)
    assert choose_removals(left, keep) == ()  # a second run removes nothing more


@given(BACKUPS, st.integers(1, 5), st.integers(1, 60))
def test_a_good_backup_survives_any_number_of_later_ones(backups: list[DrilledBackup], keep: int, later: int) -> None:
    kept = [*backups, DrilledBackup("100", True)]
    for number in range(later):
        kept.append(DrilledBackup(f"{200 + number}", False if number % 2 else None))
        gone = choose_removals(kept, keep)
        kept = [each for each in kept if each.name not in gone]
    assert "100" in {each.name for each in kept}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rows": {"app.a": 2, "app.b": 0}}, ["rows of app.a: 2, was 3"]),
        ({"rows": {"app.a": 3}}, ["rows of app.b: missing"]),
        ({"rows": {"app.a": 3, "app.b": 0, "x": 1}}, ["rows of x: not in the backup"]),
        ({"sequences": {"app.s": 9}}, ["sequence app.s: next is 9, was between 10 and 12"]),
        ({"sequences": {"app.s": 12}}, []),
        ({"sequences": {}}, ["sequence app.s: missing"]),
        ({"objects": {}}, ["index app.a_pkey: missing"]),
        ({"objects": {"index app.a_pkey": "on app.b"}}, ["index app.a_pkey: on app.b, was on app.a"]),
        ({"extensions": {}}, ["extension vector: missing"]),
        ({"large_objects": 1}, ["large objects: 1, were 0"]),
        ({"ledger": ()}, ["the ledger has 0 scripts, had 1, or other ones"]),
        ({"vector_indexes": ()}, ["vector index app.near: missing"]),
    ],
)
def test_what_differs_is_told_by_name(changed: dict[str, object], words: list[str]) -> None:
    found = HELD.model_copy(update=changed)
    assert describe_differences(HELD, {"app.s": 12}, found, vector_indexes=True) == words
    assert describe_differences(HELD, {"app.s": 12}, HELD, vector_indexes=True) == []


@pytest.mark.parametrize(
    ("here", "older"), [("0.8.4", True), ("0.8.5", False), ("0.10", False), ("0.8", True), ("next", True)]
)
def test_an_extension_may_be_newer(here: str, older: bool) -> None:
    assert bool(describe_older_extensions(HELD, HELD.model_copy(update={"extensions": {"vector": here}}))) is older


@given(st.integers(0, 3000))
def test_the_drills_server_has_room_for_the_locks_of_every_table_and_index(tables: int) -> None:
    names = [f"app.t{number}" for number in range(tables)]
    indexes = {f"index {name}": f"on {name}" for name in names}
    contents = Contents(rows=dict.fromkeys(names, 0), sequences={}, objects=indexes, extensions={})
    slots = drill.lock_limit([contents, HELD]) * int(drill.SETTINGS["max_connections"])
    assert slots >= max(2 * tables, 256 * 20) - 20


LISTING = """;
; Archive created at 2026-11-24 15:28:30 UTC
;
4; 2615 16389 SCHEMA - app schema_owner
3456; 1259 7 INDEX app near schema_owner
3457; 1259 77 INDEX app near_b schema_owner
3458; 0 0 COMMENT app INDEX near schema_owner
3459; 0 0 COMMENT app INDEX near_b schema_owner
3460; 0 0 INDEX ATTACH app near schema_owner
3461; 0 7 TABLE DATA app INDEX schema_owner
"""


def test_vector_indexes_are_split_off_with_what_hangs_on_them() -> None:
    first, second = split_listing(LISTING, HELD.vector_indexes)
    assert [line.split(";")[0] for line in second] == ["3456", "3458", "3460"]
    assert [line.split(";")[0] for line in first] == ["4", "3457", "3459", "3461"]


GLOBALS = """--
SET standard_conforming_strings = on;
\\restrict abc
CREATE ROLE app;
ALTER ROLE app WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:a=$b=:c=';
CREATE ROLE "a ""b"" c";
ALTER ROLE "a ""b"" c" WITH LOGIN;
ALTER ROLE "a ""b"" c" SET search_path TO 'x';
ALTER ROLE app SET work_mem TO '1MB';
GRANT app TO "a ""b"" c" WITH INHERIT TRUE GRANTED BY postgres;
GRANT "a ""b"" c" TO app WITH INHERIT TRUE GRANTED BY postgres;
"""


def test_only_roles_that_lack_are_made() -> None:
    found = role_statements.parse(GLOBALS)
    assert [each.line for each in found] == list(range(4, 12))
    wanted = role_statements.select_missing(found, {"app", "postgres"})
    assert [each.line for each in wanted] == [6, 7, 8, 10, 11]
    assert [each.makes for each in wanted if each.makes] == ['a "b" c']
    assert role_statements.select_missing(found, {"app", 'a "b" c'}) == []


def test_only_finished_folders_are_backups_and_the_last_good_drill_is_found(tmp_path: Path) -> None:
    for name in ("20261124T020000Z", "20261125T020000Z", "20261126T020000Z.unfinished", "other"):
        (tmp_path / name).mkdir()
    assert [each.name for each in store.list_backups(tmp_path)] == ["20261124T020000Z", "20261125T020000Z"]
    assert store.last_good_drill_time(tmp_path) is None
    at = datetime(2026, 11, 25, 3, tzinfo=UTC)
    result = store.DrillResult(ok=True, at=at, seconds=1.5, vector_indexes=False)
    store.record_drill(tmp_path / "20261124T020000Z", result)
    store.record_drill(tmp_path / "20261125T020000Z", result.model_copy(update={"ok": False, "problems": ("x",)}))
    assert store.last_good_drill_time(tmp_path) == at
    assert store.list_backups(tmp_path)[1].drill == result.model_copy(update={"ok": False, "problems": ("x",)})
    with pytest.raises(BackupRefused, match="not a finished backup"):
        read(tmp_path / "20261124T020000Z")
    with pytest.raises(BackupRefused, match="there are: 20261124T020000Z, 20261125T020000Z"):
        store.find_backup(tmp_path, "20261124")

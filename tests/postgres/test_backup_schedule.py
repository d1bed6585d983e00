"""What decides about scheduled backups, without a server; what runs in the container is asked the same questions."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvector_stacks.backup import manifest
from pgvector_stacks.backup.daily import schedule
from pgvector_stacks.backup.daily.schedule import Schedule, is_overdue, read_last_failure
from pgvector_stacks.backup.retention import DrilledBackup, choose_removals
from pgvector_stacks.common import shell
from tests.lacking import lacking

NOW = datetime(2026, 11, 24, 1, 59, tzinfo=UTC)
PERL = Path(shell.__file__).parent / "backup.pl"
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)).map(lambda at: at.replace(tzinfo=UTC, microsecond=0))


@pytest.mark.parametrize(
    ("at", "now", "expected"),
    [
        ("02:00", NOW, NOW.replace(hour=2, minute=0)),
        ("02:00", NOW.replace(hour=2, minute=0), NOW.replace(day=25, hour=2, minute=0)),
        ("00:00", NOW, NOW.replace(day=25, hour=0, minute=0)),
        ("00:30", NOW.replace(month=12, day=31), datetime(2027, 1, 1, 0, 30, tzinfo=UTC)),
        ("1:58", NOW, NOW.replace(day=25, minute=58)),
    ],
)
def test_the_next_run_is_after_now(at: str, now: datetime, expected: datetime) -> None:
    assert Schedule(at=at).next_run(now) == expected


@given(st.integers(0, 1439), TIMES)
@settings(max_examples=30, deadline=None)
def test_the_container_reckons_as_we_do(minute: int, now: datetime) -> None:
    planned = Schedule.model_validate({"at": minute})
    due = planned.next_run(now)
    assert now < due <= now + timedelta(days=1)
    said = subprocess.run(
        ["sh", "-euc", shell.get("next_run") + '\nnext_run "$1"', "-", str(int(now.timestamp()))],
        env={"SECOND": str(planned.second)}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert int(said) == int(due.timestamp())


@pytest.mark.parametrize(("given", "at"), [("02:00", "02:00"), ("9:05", "09:05"), (750, "12:30"), (0, "00:00")])
def test_a_time_is_read_however_yaml_gives_it(given: Any, at: str) -> None:
    assert Schedule.model_validate({"at": given}).at == at


def test_a_backup_is_overdue_after_26_hours_and_a_new_schedule_has_time() -> None:
    long_ago, day = NOW - timedelta(days=30), timedelta(hours=26)
    assert not is_overdue(None, NOW - day, NOW)
    assert is_overdue(None, NOW - day - timedelta(seconds=1), NOW)
    assert not is_overdue(NOW - day, long_ago, NOW)
    assert is_overdue(NOW - day - timedelta(seconds=1), long_ago, NOW)
    assert not is_overdue(long_ago, NOW, NOW)


def test_the_notes_are_kept_and_go_with_the_schedule(tmp_path: Path) -> None:
    folder = tmp_path / "dev"
    assert schedule.read_start(folder) is None
    schedule.record_start(folder, NOW)
    schedule.record_start(folder, NOW + timedelta(days=3))
    assert schedule.read_start(folder) == NOW
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / schedule.FAILED).write_text("2026-11-24 02:00 UTC\nno\n")
    os.utime(folder / schedule.FAILED, (NOW.timestamp(), NOW.timestamp()))
    assert read_last_failure(folder, None) == "2026-11-24 02:00 UTC\nno"
    assert read_last_failure(folder, NOW - timedelta(seconds=1)) != ""
    assert read_last_failure(folder, NOW + timedelta(seconds=1)) == ""
    schedule.remove_records(folder)
    assert list(folder.iterdir()) == []


def perl(*words: str) -> str:
    done = subprocess.run(["perl", *words], capture_output=True, text=True, check=False)
    if "Can't locate" in done.stderr:
        lacking(f"perl's core modules: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@given(st.lists(st.sampled_from([True, False, None]), max_size=8), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_the_container_gives_up_the_same_backups(
    tmp_path_factory: pytest.TempPathFactory, verdicts: list[bool | None], keep: int
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    backups = [DrilledBackup(f"2026112{number}T020000Z", verdict) for number, verdict in enumerate(verdicts)]
    for each in backups:
        (folder / each.name).mkdir()
        if each.good is not None:
            (folder / f"{each.name}.drill.json").write_text(json.dumps({"ok": each.good}))
    (folder / "20261130T020000Z.unfinished").mkdir()
    assert perl(str(PERL), "doomed", str(folder), str(keep)).split() == list(choose_removals(backups, keep))


def test_the_container_writes_json_as_the_manifests_digest_wants_it(tmp_path: Path) -> None:
    told = {
        "b": ["ü", '\x7f\x01\n\t"\\/', "\U0001f418"],
        "B": {"2": 1, "10": -3, "é": None, "\x7f": 0},
        "a": [True, False, 2**40, "7", {}, []],
    }
    path = tmp_path / "told.json"
    path.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    code = "require shift; print canonical(JSON::PP->new->utf8->decode(slurp(shift)))"
    said = perl("-e", code, str(PERL), str(path))
    assert (
        said
        == manifest._canonical_json(told).decode()
        == json.dumps(told, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    )


def test_the_container_signs_as_we_do(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    copied = tmp_path / "scripts" / "backup.pl"
    copied.write_bytes(PERL.read_bytes())
    (tmp_path / "backup-key").write_text("a key of the state")
    told = {"files": {"globals.sql": "\u00fc"}}
    # perl's own $0 is `-e` here; the scripts' folder is that of $0
    code = "BEGIN { $0 = $ARGV[0] } require $0; print signature(canonical(JSON::PP->new->utf8->decode($ARGV[1])))"
    said = perl("-e", code, str(copied), json.dumps(told))
    assert said == manifest._sign_manifest(told, "a key of the state")

"""What `status` and `doctor` say of a schedule, by the folder of the backups alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pgvector_stacks.backup.daily import schedule
from pgvector_stacks.cli.backup.scheduled import examine_schedule
from pgvector_stacks.config.environment import from_config

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def said(place: Path, now: datetime = NOW, keep: int = 4) -> tuple[str, bool]:
    environment = from_config("dev", {"backup": {"at": "02:00", "keep": keep}, "backupDirectory": str(place)})
    found = examine_schedule(environment, now)
    assert found is not None
    return found.found, found.is_ok


def test_a_stack_without_a_schedule_says_nothing() -> None:
    assert examine_schedule(from_config("production", {}), NOW) is None
    assert examine_schedule(from_config("local", {}), NOW) is None


def test_a_schedule_is_told_with_its_next_run_and_what_went_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "dev"
    assert said(tmp_path) == ("daily at 02:00 UTC, 4 kept; not made yet", False)
    schedule.record_start(folder, NOW)
    assert said(tmp_path) == ("daily at 02:00 UTC, 4 kept, next 2026-11-25 02:00 UTC", True)
    late = NOW + timedelta(hours=27)
    assert said(tmp_path, late) == ("daily at 02:00 UTC, 4 kept; overdue: none since 2026-11-24 12:00 UTC", False)

    (folder / "20261125T020000Z").mkdir()
    assert said(tmp_path, late) == ("daily at 02:00 UTC, 4 kept, next 2026-11-26 02:00 UTC", True)
    failed = folder / schedule.FAILED
    failed.write_text("2026-11-26 02:00 UTC\nno route to host\n")
    at = datetime(2026, 11, 26, 2, tzinfo=UTC).timestamp()
    os.utime(failed, (at, at))
    words, good = said(tmp_path, datetime(2026, 11, 26, 3, tzinfo=UTC))
    assert (words.splitlines()[1:], good) == (
        ["the last run failed, 2026-11-26 02:00 UTC", "    | no route to host"],
        False,
    )
    words, good = said(tmp_path, datetime(2026, 11, 26, 5, tzinfo=UTC))
    assert "overdue: the last is of 2026-11-25 02:00 UTC\nthe last run failed" in words
    (folder / "20261126T060000Z").mkdir()  # by hand
    assert said(tmp_path, datetime(2026, 11, 26, 7, tzinfo=UTC))[1]

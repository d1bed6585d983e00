"""The daily schedule of backups: when the next one is due, and if one is overdue. Pure, except for two small files.

The files are beside the backups, so that `status` and `doctor` can read them without a Docker Engine:
schedule.json      when the schedule began; an `up` writes it once, and an `up` without a schedule removes it
schedule.failed    when the last run failed, and its last output; the next successful run removes it
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pgvector_stacks.backup import shared_files
from pgvector_stacks.common.errors import suggest_nearest

# A day plus the time that the largest backup may take.
LONGEST = timedelta(hours=26)
SINCE, FAILED = "schedule.json", "schedule.failed"
DAY = timedelta(days=1)


def _parse_time(value: Any) -> Any:
    """Return the time as HH:MM. PyYAML reads 12:30 without quotes as the number 750, Pulumi reads it as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"{value // 60}:{value % 60:02}"
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('a time of the day in UTC, as "02:00"')
    return f"{int(found[1]):02}:{found[2]}"


class Schedule(BaseModel):
    """`pgvector:backup` of the stack file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Annotated[str, BeforeValidator(_parse_time)] = Field(
        json_schema_extra={"pattern": r"^([01]?\d|2[0-3]):[0-5]\d$"}, description='Time of the day in UTC, as "02:00".'
    )
    keep: int | None = Field(
        default=None, ge=1, le=10000, description="Backups kept; left out: as many as pgvector:backupKeep says."
    )

    @model_validator(mode="before")
    @classmethod
    def _a_map(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError('a map, as {at: "02:00", keep: 14}')
        for key in value:
            if key not in cls.model_fields:
                raise ValueError(f"unknown {key!r}{suggest_nearest(str(key), cls.model_fields)}; allowed: at, keep")
        return value

    @property
    def second(self) -> int:
        """Seconds after midnight UTC."""
        hours, minutes = self.at.split(":")
        return (int(hours) * 60 + int(minutes)) * 60

    def next_run(self, now: datetime) -> datetime:
        """Return the next run's time, always later than `now`. The container computes the same: shell/next_run.sh."""
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        today = midnight + timedelta(seconds=self.second)
        return today if today > now else today + DAY


def is_overdue(newest: datetime | None, since: datetime, now: datetime) -> bool:
    """Return True if neither the newest backup nor the schedule began within LONGEST. `newest`: the backup's start."""
    return now - max(since, newest or since) > LONGEST


def record_start(directory: Path, now: datetime) -> None:
    """Record that the schedule begins now, unless a start is recorded already. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / SINCE
    if read_start(directory) is None:
        path.unlink(missing_ok=True)  # never follows a link that the container's user created
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps({"since": now.replace(microsecond=0).isoformat()}) + "\n")


def remove_records(directory: Path) -> None:
    """Remove the files of the schedule. Raises OSError."""
    for name in (SINCE, FAILED):
        (directory / name).unlink(missing_ok=True)


def read_start(directory: Path) -> datetime | None:
    """Return when the schedule began; None if there is no schedule, or no `up` has recorded it yet."""
    try:
        return datetime.fromisoformat(json.loads(shared_files.read_note(directory / SINCE))["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_last_failure(directory: Path, newest: datetime | None) -> str:
    """Return when the last run failed, with its output; "" if it succeeded, or a backup was created since."""
    path = directory / FAILED
    try:
        text, at = shared_files.read_note(path).strip(), path.lstat().st_mtime
    except OSError:
        return ""
    return "" if newest is not None and newest.timestamp() > at else text

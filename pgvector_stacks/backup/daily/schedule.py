"""Scheduled backups, one a day: when the next is due, and whether one is overdue. Pure, but for two small files.

The notes lie beside the backups, so that `status` and `doctor` need no Docker Engine to read them:
schedule.json      since when there is a schedule; an `up` writes it once, and taking the schedule away removes it
schedule.failed    when the last run failed, and what it said last; the next one that works removes it
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
from pgvector_stacks.common.errors import nearest

# a day, and the time that the largest backup may take
LONGEST = timedelta(hours=26)
SINCE, FAILED = "schedule.json", "schedule.failed"
DAY = timedelta(days=1)


def _time(value: Any) -> Any:
    """PyYAML takes 12:30 without quotes for the number 750, Pulumi's reader for text."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"{value // 60}:{value % 60:02}"
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('a time of the day in UTC, as "02:00"')
    return f"{int(found[1]):02}:{found[2]}"


class Schedule(BaseModel):
    """`pgvector:backup` of the stack file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Annotated[str, BeforeValidator(_time)] = Field(
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
                raise ValueError(f"unknown {key!r}{nearest(str(key), cls.model_fields)}; allowed: at, keep")
        return value

    @property
    def second(self) -> int:
        """Seconds after midnight UTC."""
        hours, minutes = self.at.split(":")
        return (int(hours) * 60 + int(minutes)) * 60

    def next_run(self, now: datetime) -> datetime:
        """After `now`, never at it. The container reckons the same: shell/next_run.sh."""
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        today = midnight + timedelta(seconds=self.second)
        return today if today > now else today + DAY


def is_overdue(newest: datetime | None, since: datetime, now: datetime) -> bool:
    """True where the schedule had time enough for a backup and there is none so young. `newest`: when it began."""
    return now - max(since, newest or since) > LONGEST


def begin(directory: Path, now: datetime) -> None:
    """Note that there is a schedule from now on, unless there was one before. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / SINCE
    if since(directory) is None:
        path.unlink(missing_ok=True)  # never through a link that the container's user made
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps({"since": now.replace(microsecond=0).isoformat()}) + "\n")


def end(directory: Path) -> None:
    """There is none any more. Raises OSError."""
    for name in (SINCE, FAILED):
        (directory / name).unlink(missing_ok=True)


def since(directory: Path) -> datetime | None:
    """None where there is no schedule, or no `up` has made it yet."""
    try:
        return datetime.fromisoformat(json.loads(shared_files.note(directory / SINCE))["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def last_failure(directory: Path, newest: datetime | None) -> str:
    """When the last run failed and what it said; "" where none failed, or a backup was made since."""
    path = directory / FAILED
    try:
        text, at = shared_files.note(path).strip(), path.lstat().st_mtime
    except OSError:
        return ""
    return "" if newest is not None and newest.timestamp() > at else text

"""Describes a stack's scheduled backups (`pgvector:backup`) for `status` and `doctor`."""

from __future__ import annotations

from datetime import UTC, datetime

from pgvector_stacks.backup import store
from pgvector_stacks.backup.daily import schedule, sidecar
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.common.plain_text import quote_lines
from pgvector_stacks.config.environment import Environment

TIME = "%Y-%m-%d %H:%M UTC"
WHAT = "backup schedule"


def examine_schedule(environment: Environment, now: datetime) -> Finding | None:
    """Report the next run, the last failure, or an overdue backup, by the folder's contents; None: no schedule."""
    if environment.backup is None:
        return None
    directory, stack = environment.backups, environment.stack
    words = f"daily at {environment.backup.at} UTC, {environment.backups_kept} kept"
    since = schedule.read_start(directory)
    if since is None:
        return Finding(WHAT, f"{words}; not made yet", f"pgstack up {stack}")
    backups = store.list_backups(directory)
    newest = backups[-1].started_at if backups else None
    container = sidecar.container_name(environment.name)
    remedy = f"read its log:  docker logs {container};  make one:  pgstack backup create {stack}"
    failure = schedule.read_last_failure(directory, newest)
    said = f"\nthe last run failed, {quote_lines(failure)}" if failure else ""
    if schedule.is_overdue(newest, since, now):
        last = f"the last is of {newest:{TIME}}" if newest else f"none since {since:{TIME}}"
        return Finding(WHAT, f"{words}; overdue: {last}{said}", remedy)
    if failure:
        return Finding(WHAT, f"{words}{said}", remedy)
    return Finding(WHAT, f"{words}, next {environment.backup.next_run(now):{TIME}}")


def examine_schedule_now(environment: Environment) -> Finding | None:
    """Return what `examine_schedule` finds now."""
    return examine_schedule(environment, datetime.now(UTC))

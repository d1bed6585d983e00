"""Retries a transaction that does not get a lock in time, and reports who holds the lock."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import Connection

from pgvector_stacks.common import queries, row_values
from pgvector_stacks.common.errors import PgstackError, SqlFailed
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.connections.connection import wrap_server_error

Result = TypeVar("Result")
RETRIABLE = frozenset({"55P03", "40P01"})  # lock_not_available, deadlock_detected
ALL_UNDONE = "all was undone each time, so that nobody had to wait for us"


@dataclass(frozen=True, slots=True)
class Locks:
    """How long a step waits for a lock, in seconds: each time and in total; and the error when it does not get it."""

    timeout_s: float = 0.0
    wait_s: float = 0.0
    not_given: Callable[[Any, float], SqlFailed] | None = None
    report: Callable[[str], None] = lambda _: None


def lock_not_given(
    admin: Connection[Any], error: psycopg.Error | SqlFailed, waited_s: float, kept: str = ALL_UNDONE
) -> SqlFailed:
    """Add to the error the open transactions that may hold the lock. Their queries are shown but never recorded."""
    script, line = getattr(error, "script", ""), getattr(error, "line", 0)
    first = error.recorded if isinstance(error, SqlFailed) else str(wrap_server_error(error))
    lines = [first, f"  no lock within {waited_s:.0f} s; {kept}"]
    recorded = "\n".join(lines)
    for pid, role, application, state, since, query in admin.execute(queries.get("open_transactions")).fetchall():
        who = one_line(f"{role}, {application or 'unnamed'}, {state}")
        shown = one_line(row_values.redact_query(query, show=row_values.are_shown()))
        lines.append(f"  open for {since}: process {pid} ({who}): {shown}")
        lines.append(f"    wait for it, or end it:  SELECT pg_terminate_backend({pid})")
    return SqlFailed("\n".join(lines), sqlstate=error.sqlstate or "", script=script, line=line, recorded=recorded)


def retry_on_locks(
    attempt: Callable[[], Result], owner: Connection[Any], admin: Connection[Any], wait_s: float,
    report: Callable[[str], None], kept: str = ALL_UNDONE,
) -> Result:  # fmt: skip
    """Return the result of `attempt`, which runs in a transaction of its own on the connection `owner`.

    When a lock is not granted in time, roll back and run `attempt` again, for up to `wait_s` seconds. A savepoint would
    not do: the locks already held would stay, and readers would queue behind them. Raises SqlFailed.
    """
    deadline = time.monotonic() + wait_s
    pause = 0.2
    while True:
        try:
            return attempt()
        except (psycopg.Error, SqlFailed) as error:
            if not owner.closed:
                owner.rollback()
            if error.sqlstate not in RETRIABLE:
                raise
            if time.monotonic() + pause > deadline:
                raise lock_not_given(admin, error, wait_s, kept) from None
            report(f"waits for a lock; all is undone, again in {pause:.1f} s")
            time.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, 5.0)
        except PgstackError:
            if not owner.closed:
                owner.rollback()
            raise

"""Says who holds the lock that a script didn't get in time."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection

from postgres import queries, row_values
from postgres.connection import told
from postgres.errors import SqlFailed
from postgres.plain_text import one_line

ALL_UNDONE = "all was undone each time, so that nobody had to wait for us"


def lock_not_given(
    admin: Connection[Any], error: psycopg.Error | SqlFailed, waited_s: float, kept: str = ALL_UNDONE
) -> SqlFailed:
    """The error with the transactions that may hold the lock. Their queries are shown, and not recorded."""
    script, line = getattr(error, "script", ""), getattr(error, "line", 0)
    first = error.recorded if isinstance(error, SqlFailed) else str(told(error))
    lines = [first, f"  no lock within {waited_s:.0f} s; {kept}"]
    recorded = "\n".join(lines)
    for pid, role, application, state, since, query in admin.execute(queries.get("open_transactions")).fetchall():
        who = one_line(f"{role}, {application or 'unnamed'}, {state}")
        shown = one_line(row_values.query(query, show=row_values.shown()))
        lines.append(f"  open for {since}: process {pid} ({who}): {shown}")
        lines.append(f"    wait for it, or end it:  SELECT pg_terminate_backend({pid})")
    return SqlFailed("\n".join(lines), sqlstate=error.sqlstate or "", script=script, line=line, recorded=recorded)

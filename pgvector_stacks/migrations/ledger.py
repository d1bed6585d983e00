"""Reads the ledger, and builds the rows and events that record a run.

Rows are written in the scripts' own transaction (execution/ledger_writer.py), a failure on a connection of its own.
"""

from __future__ import annotations

import getpass
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import Connection

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import ConnectionFailed, PgstackError
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.migrations.execution import runner
from pgvector_stacks.migrations.scripts.planning import Applied


def read_ledger(connection: Connection[Any]) -> tuple[Applied, ...]:
    """Return the scripts that ran, in the order of the ledger; empty if there is no ledger."""
    exists = connection.execute("SELECT to_regclass('pgstack.ledger') IS NOT NULL").fetchone()
    if not exists or not exists[0]:
        return ()
    return tuple(Applied(*row) for row in connection.execute(queries.get("ledger_read")).fetchall())


def build_columns(entries: Sequence[runner.ScriptRun], pgvector: str) -> dict[str, Any]:
    """Return the ledger's rows as one list per column, so that one statement writes all rows."""
    scripts = [entry.pending.script for entry in entries]
    return {
        "names": [script.name for script in scripts],
        "positions": [entry.pending.position for entry in entries],
        "sha256": [script.sha256 for script in scripts],
        "normalised": [script.normalised for script in scripts],
        "statements": [entry.statements for entry in entries],
        "duration_ms": [entry.duration_ms for entry in entries],
        "baseline": [entry.pending.reason == "baseline" for entry in entries],
        "applied_by": get_user_at_host(),
        "git_commit": find_git_commit(),
        "pgvector_version": pgvector,
    }


def add_event(connection: Connection[Any], kind: str, message: str, **fields: Any) -> None:
    """Append a row to `pgstack.event`. Fields: script, line, sqlstate, revision."""
    connection.execute(*build_event(kind, message, **fields))


def build_event(kind: str, message: str, **fields: Any) -> tuple[LiteralString, dict[str, Any]]:
    values = dict.fromkeys(("script", "line", "sqlstate", "revision")) | fields
    return queries.get("event_insert"), values | {"kind": kind, "message": message, "by_whom": get_user_at_host()}


def record_failure(address: Address, error: PgstackError) -> None:
    """Record a failure on a new connection, since the failing one was rolled back. Do nothing if the server is gone."""
    script, line = getattr(error, "script", None), getattr(error, "line", None)
    try:
        with connect(address) as connection:
            state = getattr(error, "sqlstate", None)
            add_event(connection, "failed", error.recorded, script=script, line=line, sqlstate=state)
    except (ConnectionFailed, psycopg.OperationalError):
        return


def get_user_at_host() -> str:
    """Return `user@host` of the person or CI runner."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def find_git_commit() -> str | None:
    """Return the commit that holds `sql/` as it is; None outside a checkout or if files there are not committed."""
    git = ["git", "-C", str(Path(__file__).parents[2])]
    try:
        changed = subprocess.run([*git, "status", "--porcelain", "sql"], capture_output=True, text=True, check=False)
        found = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None if changed.returncode == 0 and not changed.stdout else None

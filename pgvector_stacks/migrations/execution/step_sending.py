"""Sends a message of a no-transaction script, reads the server's answer, and says how long it waits for locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from pgvector_stacks.connections.lock_retry import Locks
from pgvector_stacks.migrations.execution.runner import exchange
from pgvector_stacks.migrations.execution.sql_errors import explain
from pgvector_stacks.migrations.execution.step_message import StepMessage
from pgvector_stacks.migrations.scripts.script_files import Script


def send(owner: Connection[Any], script: Script, sent: str, message: StepMessage) -> None:
    """Send a message and wait for its results. `sent`: the script's text as it is sent. Raises SqlFailed."""
    done, failed, _ = exchange(owner, script, message.prefix + sent[message.start : message.end] + message.suffix)
    if failed is not None:
        raise explain(script, *message.locate_error(script, failed, done))


@contextmanager
def waiting_longer(owner: Connection[Any], locks: Locks) -> Iterator[float]:
    """Let the session wait for a lock as long as all tries together, unless the script has set its own lock_timeout.

    Yields how many seconds it waits.
    """
    query = "SELECT setting = reset_val FROM pg_catalog.pg_settings WHERE name = 'lock_timeout'"
    if not locks.wait_s > locks.timeout_s > 0 or owner.execute(query).fetchone() != (True,):
        yield locks.timeout_s
        return
    owner.execute(f"SET lock_timeout = {round(locks.wait_s * 1000)}".encode())
    try:
        yield locks.wait_s
    finally:
        if not owner.closed:
            owner.execute("RESET lock_timeout")

"""Tells whether a DO or CALL commits inside, and whether it has: nothing can undo that, so it must not begin again."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
from psycopg import Connection

from pgvector_stacks.common import queries
from pgvector_stacks.migrations.scripts import interrupted, steps
from pgvector_stacks.migrations.scripts.script_files import Script

# `1234` of `5/1234`: the server counts the transactions of each session, also those that a procedure ends
TRANSACTIONS = (
    "SELECT pg_catalog.split_part(virtualtransaction, '/', 2)::pg_catalog.int8 FROM pg_catalog.pg_locks"
    " WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() LIMIT 1"
)
BETWEEN = 2  # two looks at the count differ by this much if one transaction lies between


def is_found(owner: Connection[Any], script: Script, number: int) -> bool:
    """Return True for a DO or CALL whose code commits: tried in a transaction first, it would begin twice."""
    if not steps.may_commit_inside(script, number):
        return False
    asked = {"text": steps.get_statement_text(script, number), "commits": steps.COMMITS}
    return owner.execute(queries.get("commits_inside"), asked).fetchone() == (True,)


def build_note(script: Script, number: int) -> dict[str, Any]:
    """Return what is noted when a statement begins: that it may commit, and the names of what it may create."""
    if not steps.may_commit_inside(script, number):
        return {}
    return {interrupted.MAY_HAVE_COMMITTED: True, "names": steps.list_identifiers(script, number)}


def count_transactions(owner: Connection[Any]) -> int:
    """Return how many transactions the session has begun, the one of this look included."""
    row = owner.execute(TRANSACTIONS.encode()).fetchone()
    assert row is not None  # a session that looks holds the lock of its own transaction
    return int(row[0])


def has_committed(owner: Connection[Any], before: int) -> bool:
    """Return False if the statement that failed since the look `before` ended no transaction but the failed one.

    A session that can't be asked may have committed.
    """
    with suppress(psycopg.Error):
        return owner.closed or count_transactions(owner) > before + BETWEEN
    return True


def explain_commit(script: Script, number: int) -> str:
    """Return what is added to the error of a statement that may have committed."""
    ways = interrupted.describe_ways_on(script, number)
    return f"it may have committed part of its work, which stays; look, then say which holds, {ways}"

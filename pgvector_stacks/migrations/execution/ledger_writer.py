"""Lets the administrator write the ledger inside the scripts' transaction, which belongs to the owner.

Invariant: no script can write to `pgstack`, and the ledger's rows commit together with the work that they record.

The administrator leaves SQL in `pgstack.landing`, which no other role may read. It is for one session of the owner's
and, once all scripts have run, for only one transaction of that session. The owner then calls `pgstack.land()`, which
removes this SQL from the table and runs it with the administrator's rights. A script that calls `land()` finds nothing
there, and fails with 42501. See docs/decisions/0010-who-writes-the-ledger.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import ClientCursor, Connection

from pgvector_stacks.common.errors import SqlFailed

Write = tuple[str, Mapping[str, Any] | Sequence[Any] | None]  # a statement and its parameters
TRANSACTION = "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text"
LEAVE = (
    "SET LOCAL synchronous_commit = off; INSERT INTO pgstack.landing (pid, transaction, statements) VALUES (%s, %s, %s)"
)
LAND = "SELECT pgstack.land()"


def transaction(owner: Connection[Any]) -> str:
    """Return the ID of the owner's open transaction; the query assigns one if the transaction has none yet."""
    row = owner.execute(TRANSACTION).fetchone()
    return str(row[0]) if row else ""


def stage(admin: Connection[Any], owner: Connection[Any], writes: Sequence[Write], *, within: str | None) -> None:
    """Store the statements that `pgstack.land()` runs when the owner's session calls it; it runs no others.

    `within`: the ID of the only transaction that may do so. None allows any transaction of the session. It is for the
    record of a single step: a script that misuses it can only record its own step as done, in the step's transaction.
    """
    text = "\n;".join(_filled(admin, statement, values) for statement, values in writes)
    admin.execute(_filled(admin, LEAVE, (owner.info.backend_pid, within, text)).encode())


def unstage(admin: Connection[Any], owner: Connection[Any]) -> None:
    """Delete what was stored for the owner's session, which must not be in a transaction."""
    admin.execute("DELETE FROM pgstack.landing WHERE pid = %s", (owner.info.backend_pid,))


def clear(admin: Connection[Any]) -> None:
    """Delete what killed `up`s left. Call it under the lock, with no session of the owner's open."""
    admin.execute("DELETE FROM pgstack.landing")


def run_staged(admin: Connection[Any], owner: Connection[Any], writes: Sequence[Write], *, began: str) -> None:
    """Run `writes` in the owner's open transaction. `began`: the transaction's ID before the scripts ran.

    Raises SqlFailed where a script ended that transaction and began another.
    """
    if transaction(owner) != began:
        raise SqlFailed("a script ended the transaction it runs in, and began another\n  nothing was recorded of it")
    stage(admin, owner, writes, within=began)
    owner.execute(LAND)


def _filled(admin: Connection[Any], statement: str, values: Mapping[str, Any] | Sequence[Any] | None) -> str:
    """Return the statement with its parameters as constants, which mean the same under any settings of the session."""
    return statement if values is None else ClientCursor(admin).mogrify(statement.encode(), values)

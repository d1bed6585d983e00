"""How the administrator writes the ledger inside the scripts' transaction, which is the owner's.

Invariant: nothing that a script can do writes to `pgstack`; and the ledger's rows commit with what they tell of.

The administrator leaves SQL in `pgstack.landing`, which nobody else may read, for one session of the owner's, and for
one transaction of it where the scripts have all run. The owner then calls `pgstack.land()`, which takes what was left
and runs it with the administrator's rights. A script that calls it finds nothing, and fails with 42501. See
docs/decisions/0010-who-writes-the-ledger.md.
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
    """The number of the owner's open transaction, which gets one by being asked."""
    row = owner.execute(TRANSACTION).fetchone()
    return str(row[0]) if row else ""


def stage(admin: Connection[Any], owner: Connection[Any], writes: Sequence[Write], *, within: str | None) -> None:
    """Leave what the owner's session may write; `within`: the number of its transaction that alone may.

    None is for what tells of a single step of the script that runs: the step can but say of itself that it is done, and
    only in the transaction in which it is.
    """
    text = "\n;".join(_filled(admin, statement, values) for statement, values in writes)
    admin.execute(_filled(admin, LEAVE, (owner.info.backend_pid, within, text)).encode())


def unstage(admin: Connection[Any], owner: Connection[Any]) -> None:
    """Take back what was left. The owner's session is in no transaction."""
    admin.execute("DELETE FROM pgstack.landing WHERE pid = %s", (owner.info.backend_pid,))


def clear(admin: Connection[Any]) -> None:
    """Take back what killed `up`s left. The lock is held, and no session of the owner's is left."""
    admin.execute("DELETE FROM pgstack.landing")


def run_staged(admin: Connection[Any], owner: Connection[Any], writes: Sequence[Write], *, began: str) -> None:
    """Write in the owner's open transaction. `began`: its number before the scripts ran.

    Raises SqlFailed where a script has ended that transaction and begun another.
    """
    if transaction(owner) != began:
        raise SqlFailed("a script ended the transaction it runs in, and began another\n  nothing was recorded of it")
    stage(admin, owner, writes, within=began)
    owner.execute(LAND)


def _filled(admin: Connection[Any], statement: str, values: Mapping[str, Any] | Sequence[Any] | None) -> str:
    """With its parameters as constants, which read the same whatever the owner's session has set."""
    return statement if values is None else ClientCursor(admin).mogrify(statement.encode(), values)

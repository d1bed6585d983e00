"""Rights that somebody raised by hand where no drift of the schema looks: on the server, the databases and the ledger.

Invariant: none of our roles, nor everybody, may change the server's settings or what a session loads, or has a right of
its own on `postgres` or `template1`; nobody but a superuser writes in the schema pgstack. An `up` takes it back.

What an administrator or a script may have meant is noted: other parameters, and rights on the stack's own database.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from pgvector_stacks.common import queries
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.inspection import role_drift

OF_THE_SERVER = ("PARAMETER ", "DATABASE ")


@dataclass(frozen=True, slots=True)
class Raised:
    """One right, as `rights_raised.sql` finds it. `grantee`: None is everybody; `on`: as GRANT names it, quoted."""

    grantee: str | None
    privilege: str
    on: str
    grantor: str
    may_be_meant: bool

    def __str__(self) -> str:
        kind, _, name = self.on.partition(" ")
        who = "everybody" if self.grantee is None else f"role {self.grantee}"
        return one_line(f"{who} has {self.privilege} on the {kind.lower()} {name}")


def find(connection: Connection[Any], database: str) -> tuple[Raised, ...]:
    """`connection`: the administrator's, in the stack's `database`."""
    asked = {"names": list(role_drift.OURS), "forbidden": list(role_drift.FORBIDDEN), "database": database}
    return tuple(Raised(*row) for row in connection.execute(queries.get("rights_raised"), asked).fetchall())


def findings(found: Iterable[Raised]) -> tuple[str, ...]:
    """What an `up` takes back, a sentence each. Pure."""
    return tuple(str(right) for right in found if not right.may_be_meant)


def noted(found: Iterable[Raised]) -> tuple[str, ...]:
    """What stays, a sentence each. Pure."""
    return tuple(str(right) for right in found if right.may_be_meant)


def mend(connection: Connection[Any], database: str) -> None:
    """Take back what `findings` tells, and what was passed on. `connection`: as for `find`, in autocommit."""
    for right in find(connection, database):
        # asked again: CASCADE took what was passed on, and who has no right any more can't take it back
        if not right.may_be_meant and right in find(connection, database):
            _revoke(connection, right)


def _revoke(connection: Connection[Any], right: Raised) -> None:
    grantee = sql.SQL("PUBLIC") if right.grantee is None else sql.Identifier(right.grantee)
    with connection.transaction():
        # REVOKE takes what the role itself gave. In pgstack, which others may not enter, all goes back to the owner's.
        if right.on.startswith(OF_THE_SERVER):
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(right.grantor)))
        revoke = f"REVOKE {right.privilege} ON {right.on} FROM {grantee.as_string(None)} CASCADE"
        connection.execute(revoke.encode())  # the server quoted the names

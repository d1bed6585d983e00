"""Rights granted by hand that schema drift doesn't cover: on the server, on databases and on the ledger.

Invariant: neither our roles nor PUBLIC may change the server's settings or the libraries that a session loads. None of
them has rights of its own on `postgres` or `template1`. Only superusers may write in the schema pgstack, here and in
`postgres`, where the lock of an `up` is. An `up` revokes rights that break this.

Other rights may be intended by an administrator or a script, and are only noted: on other parameters, and on the
stack's own database.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection, sql

from pgvector_stacks.common import queries
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.connections.connection import INSPECTION_OPTIONS, Address, connect
from pgvector_stacks.inspection import role_drift

OF_THE_SERVER = ("PARAMETER ", "DATABASE ")
LOCK_DATABASE = "postgres"


@dataclass(frozen=True, slots=True)
class RaisedRight:
    """One row of `rights_raised.sql`. `grantee`: None is PUBLIC; `on`: the object as in GRANT, quoted."""

    grantee: str | None
    privilege: str
    on: str
    grantor: str
    may_be_meant: bool

    def __str__(self) -> str:
        kind, _, name = self.on.partition(" ")
        who = "everybody" if self.grantee is None else f"role {self.grantee}"
        return one_line(f"{who} has {self.privilege} on the {kind.lower()} {name}")


def find_raised(connection: Connection[Any], database: str) -> tuple[RaisedRight, ...]:
    """Return all raised rights. `connection`: the administrator's, to the stack's `database`, or to `postgres`."""
    asked = {"names": list(role_drift.OURS), "forbidden": list(role_drift.FORBIDDEN), "database": database}
    return tuple(RaisedRight(*row) for row in connection.execute(queries.get("rights_raised"), asked).fetchall())


def find_raised_on_lock(address: Address) -> tuple[RaisedRight, ...]:
    """Return the raised rights on the lock of an `up`, which is in the database `postgres` of the server.

    `address`: the administrator's, of the stack's database. Raises ConnectionFailed.
    """
    with connect(replace(address, database=LOCK_DATABASE), options=INSPECTION_OPTIONS) as connection:
        found = find_raised(connection, address.database)
    return tuple(right for right in found if not right.on.startswith(OF_THE_SERVER))


def describe_faults(found: Iterable[RaisedRight]) -> tuple[str, ...]:
    """Return the rights that an `up` revokes, one sentence each. Pure."""
    return tuple(str(right) for right in found if not right.may_be_meant)


def describe_intended(found: Iterable[RaisedRight]) -> tuple[str, ...]:
    """Return the rights that an `up` keeps, one sentence each. Pure."""
    return tuple(str(right) for right in found if right.may_be_meant)


def revoke_raised(connection: Connection[Any], database: str) -> None:
    """Revoke what `describe_faults` reports, and all rights that grantees passed on.

    `connection`: as for `find_raised`, autocommit.
    """
    for right in find_raised(connection, database):
        # Find again: an earlier CASCADE may have revoked this right, and its grantor may have lost the power to revoke.
        if not right.may_be_meant and right in find_raised(connection, database):
            _revoke(connection, right)


def _revoke(connection: Connection[Any], right: RaisedRight) -> None:
    """Revoke one right, and all rights that its grantee passed on."""
    grantee = sql.SQL("PUBLIC") if right.grantee is None else sql.Identifier(right.grantee)
    with connection.transaction():
        # REVOKE affects only what the current role granted. In the schema pgstack, which the grantors may not enter,
        # all grants derive from the owner's, so CASCADE reaches them.
        if right.on.startswith(OF_THE_SERVER):
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(right.grantor)))
        revoke = f"REVOKE {right.privilege} ON {right.on} FROM {grantee.as_string(None)} CASCADE"
        connection.execute(revoke.encode())  # the server quoted the names

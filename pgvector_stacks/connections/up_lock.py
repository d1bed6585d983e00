"""The lock of an `up`: one `up` at a time per server. Only the administrator can hold it.

It is a lock on a table in the database `postgres` to which no other role has access. Anyone who may connect there could
take an advisory lock instead. The advisory lock of older versions is taken as well, since they know no other, but it is
ignored where a role without superuser rights holds it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from psycopg import Connection, errors

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import ConnectionFailed
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.connections.connection import Address, connect, wrap_server_error

OLDER = {"classid": 0x7067, "objid": 0x76656374}  # pg_advisory_lock's two keys: "pg", "vect"
POLL_S = 0.1
CONNECT_WAIT_S = 30.0
# on a connection of its own that stays in the transaction; it has no snapshot, so it does not hold back vacuum
TAKE = "LOCK TABLE pgstack.up IN EXCLUSIVE MODE NOWAIT"


@contextmanager
def hold_up_lock(address: Address, wait_s: float) -> Iterator[Connection[Any]]:
    """Hold the lock, and yield the administrator's connection to the database `postgres` of that server.

    Polls for the lock, so that nothing queues behind the request. Raises ConnectionFailed where another `up` holds the
    lock for `wait_s` seconds; PgstackError where another role owns the schema pgstack there.
    """
    there = replace(address, database="postgres")
    with connect(there, wait_s=CONNECT_WAIT_S) as connection, connect(there, wait_s=CONNECT_WAIT_S) as holder:
        deadline = time.monotonic() + wait_s
        if connection.execute("SELECT to_regclass('pgstack.up')").fetchone() == (None,):
            _create(holder)
        while not _try_to_take(holder, connection):
            if time.monotonic() > deadline:
                raise ConnectionFailed(_held_by(connection, wait_s))
            time.sleep(POLL_S)
        yield connection  # closing the connection releases the lock


def _try_to_take(holder: Connection[Any], beside: Connection[Any]) -> bool:
    """Try to take both locks: the table's on `holder`, whose transaction stays open, and the older one on `beside`."""
    holder.execute("BEGIN")
    try:
        holder.execute(TAKE)
    except errors.LockNotAvailable:
        holder.execute("ROLLBACK")
        return False
    taken = beside.execute("SELECT pg_try_advisory_lock(%(classid)s::int, %(objid)s::int)", OLDER).fetchone()
    if taken == (True,) or holder.execute(queries.get("lock_holder"), OLDER).fetchone() is None:
        return True
    holder.execute("ROLLBACK")
    return False


def is_up_running(connection: Connection[Any]) -> bool:
    """Return True while an `up` runs on the connection's server."""
    row = connection.execute(queries.get("up_lock_taken"), OLDER).fetchone()
    return bool(row and row[0])


def _create(connection: Connection[Any]) -> None:
    """Create the lock's table. If two first `up`s race, one creates it and the other ignores the duplicate."""
    try:
        with suppress(errors.UniqueViolation, errors.DuplicateTable, errors.DuplicateSchema), connection.transaction():
            connection.execute(queries.get("pgstack_owners"))
            connection.execute(queries.get("up_lock_create"))
    except errors.InsufficientPrivilege as error:
        raise wrap_server_error(error) from None


def _held_by(connection: Connection[Any], waited_s: float) -> str:
    holder = connection.execute(queries.get("lock_holder"), OLDER).fetchone()
    words = one_line(f"{holder[1]} from {holder[2]}, for {holder[3]}") if holder else ""
    who = f"process {holder[0]} ({words})" if holder else "another process"
    end = f"SELECT pg_terminate_backend({holder[0]})" if holder else "SELECT pg_terminate_backend(…)"
    return (
        f"another `up` works on this server: {who} holds the lock; waited {waited_s:.0f} s\n"
        f"  wait for it, then try again; if nobody is there any more:  {end}"
    )

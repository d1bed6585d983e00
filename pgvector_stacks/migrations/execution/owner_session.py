"""Opens the owner's session for an `up`, and a new session after a setting of the database or a role changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from psycopg import Connection

from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.migrations.execution import notices
from pgvector_stacks.migrations.execution.script_session import Session, make_default_reader


def reopen_session(
    opened: ExitStack, cluster: Connection[Any], address: Address, options: str, warn: Callable[[str], None]
) -> Session:
    """Close the session that `opened` holds, if any, and return a session on a new connection.

    `cluster`: the administrator's connection that holds the lock. `warn` gets the server's notices.
    Raises ConnectionFailed.
    """
    opened.close()
    owner = opened.enter_context(roles.open_owner_connection(cluster, address, options=options))
    opened.enter_context(notices.forwarding_notices(owner, warn))
    return Session(owner, make_default_reader(cluster))

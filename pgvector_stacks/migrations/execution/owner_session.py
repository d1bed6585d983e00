"""Opens the owner's session for an `up`, and a new one where a setting of the database changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from psycopg import Connection

from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.migrations.execution import notices
from pgvector_stacks.migrations.execution.script_session import Session, underneath


def renewed(
    opened: ExitStack, cluster: Connection[Any], address: Address, options: str, warn: Callable[[str], None]
) -> Session:
    """A session on a new connection, in place of the one that `opened` holds.

    `cluster`: the administrator's connection that holds the lock. `warn` gets the server's notices.
    Raises ConnectionFailed.
    """
    opened.close()
    owner = opened.enter_context(roles.owner_connection(cluster, address, options=options))
    opened.enter_context(notices.listening(owner, warn))
    return Session(owner, underneath(cluster))

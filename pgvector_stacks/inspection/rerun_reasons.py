"""What `up` mends by running once more, though nothing else changed: the one place that says so, in words.

`read` of the schema (components/sql_schema.py) asks in each refresh and puts the words into the state as the input
`mend`. The program never declares that input, so that the engine sees a difference and runs the update, which makes
roles, passwords, rights and extensions as they are to be (migrations/apply.py) and validates again; the state that it
leaves has no `mend`. Nothing to mend: no such input, and no difference to the states of before.

To add a kind: a function from (connection, Made) to words, listed in `KINDS`. Each says what is not as `up` left it
("role app: its password was changed"); it must ask for what `apply` really restores, else each `up` finds it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection

from pgvector_stacks.common.difference import Difference
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.connections.role_limits import RoleLimits
from pgvector_stacks.inspection import backup_role, database_drift, raised_rights, role_drift


@dataclass(frozen=True, slots=True)
class Made:
    """What the last `up` left by its own record. `address`: the administrator's, in the stack's database.

    `differences`: what drifted since.
    """

    address: Address
    extensions: tuple[str, ...] = ()
    app_password: str = field(default="", repr=False)
    readonly_password: str = field(default="", repr=False)
    backup_password: str = field(default="", repr=False)  # "": no backups are scheduled
    limits: RoleLimits | None = None
    differences: tuple[Difference, ...] = ()


def find_reasons(connection: Connection[Any], made: Made) -> tuple[str, ...]:
    """Everything that an `up` would mend, in words. `connection`: to `made.address`. Raises psycopg.Error."""
    return tuple(word for kind in KINDS for word in kind(connection, made))


def lost_extensions(connection: Connection[Any], made: Made) -> tuple[str, ...]:
    """Dropped by hand: the columns of its types went with it, and are drift."""
    there = {row[0] for row in connection.execute("SELECT extname FROM pg_extension").fetchall()}
    return tuple(
        f"extension {name} is gone: it is made again, and not what went with it"
        for name in ("vector", *made.extensions)
        if name not in there
    )


def changed_roles(connection: Connection[Any], made: Made) -> tuple[str, ...]:
    """The stack's own roles, as somebody left them."""
    words = {roles.APP: made.app_password, roles.READONLY: made.readonly_password}
    return role_drift.find(connection, {role: [word] for role, word in words.items() if word}, made.limits)


def changed_backup_role(connection: Connection[Any], made: Made) -> tuple[str, ...]:
    """The role of scheduled backups, or what is left of it."""
    words = [made.backup_password] if made.backup_password else []
    return backup_role.find(connection, words, wanted=bool(words))


def changed_database(connection: Connection[Any], made: Made) -> tuple[str, ...]:
    """The stack's database itself, and who may enter its neighbours; of a database of before, what the next does."""
    found = database_drift.find(connection, made.address.database)
    return database_drift.findings(found) if found else ()


def raised_beside(connection: Connection[Any], made: Made) -> tuple[str, ...]:
    """Rights on parameters, on PostgreSQL's own databases and in the schema pgstack."""
    return raised_rights.findings(raised_rights.find(connection, made.address.database))


def lost_rights(_: Connection[Any], made: Made) -> tuple[str, ...]:
    """Rights that the scripts gave to the stack's own roles."""
    return role_drift.as_seen(made.differences, ()).mended


KINDS: tuple[Callable[[Connection[Any], Made], tuple[str, ...]], ...] = (
    lost_extensions,
    changed_roles,
    changed_backup_role,
    changed_database,
    raised_beside,
    lost_rights,
)

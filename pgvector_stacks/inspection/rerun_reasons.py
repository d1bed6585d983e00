"""Describes what an `up` would repair even though no script or key changed.

In each refresh, `read` of the schema resource (components/sql_schema.py) writes these reasons into the state as the
input `mend`. The program never declares that input, so Pulumi sees a difference and runs the update. The update
restores roles, passwords, rights and extensions (migrations/apply.py) and validates again; it leaves a state without
`mend`. If there is nothing to repair, `read` writes no such input, and Pulumi sees no difference.

To add a kind, write a function from (connection, Made) to sentences, and list it in `KINDS`. Each sentence names one
thing that was changed since the last `up` ("role app: its password was changed"). Report only what `apply` restores:
otherwise every `up` would find it again.
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
from pgvector_stacks.inspection import backup_role, database_drift, ledger_drift, raised_rights, role_drift


@dataclass(frozen=True, slots=True)
class DeployedDatabase:
    """What the last `up` created, according to the state. `address`: the administrator's, of the stack's database.

    `differences`: the schema's drift since then.
    """

    address: Address
    extensions: tuple[str, ...] = ()
    app_password: str = field(default="", repr=False)
    readonly_password: str = field(default="", repr=False)
    backup_password: str = field(default="", repr=False)  # "": no backups are scheduled
    limits: RoleLimits | None = None
    differences: tuple[Difference, ...] = ()


def find_reasons(connection: Connection[Any], made: DeployedDatabase) -> tuple[str, ...]:
    """Return all that an `up` would repair, as text. `connection` is open to `made.address`. Raises psycopg.Error."""
    return tuple(word for kind in KINDS for word in kind(connection, made))


def describe_lost_extensions(connection: Connection[Any], made: DeployedDatabase) -> tuple[str, ...]:
    """Return the extensions that were dropped by hand. The columns of their types, dropped with them, are drift."""
    there = {row[0] for row in connection.execute("SELECT extname FROM pg_extension").fetchall()}
    return tuple(
        f"extension {name} is gone: it is made again, and not what went with it"
        for name in ("vector", *made.extensions)
        if name not in there
    )


def describe_changed_roles(connection: Connection[Any], made: DeployedDatabase) -> tuple[str, ...]:
    """Return what is wrong with the stack's own roles."""
    words = {roles.APP: made.app_password, roles.READONLY: made.readonly_password}
    return role_drift.find_faults(connection, {role: [word] for role, word in words.items() if word}, made.limits)


def describe_changed_backup_role(connection: Connection[Any], made: DeployedDatabase) -> tuple[str, ...]:
    """Return what is wrong with the role of scheduled backups, or that it exists without a schedule."""
    words = [made.backup_password] if made.backup_password else []
    return backup_role.find_faults(connection, words, wanted=bool(words))


def describe_changed_database(connection: Connection[Any], made: DeployedDatabase) -> tuple[str, ...]:
    """Return what is wrong with the stack's database, and which databases PUBLIC may enter."""
    found = database_drift.read_attributes(connection, made.address.database)
    return database_drift.describe_faults(found) if found else ()


def describe_raised_rights(connection: Connection[Any], made: DeployedDatabase) -> tuple[str, ...]:
    """Return the rights to revoke: on parameters, on PostgreSQL's own databases, in the schema pgstack, on the lock."""
    found = raised_rights.find_raised(connection, made.address.database)
    return raised_rights.describe_faults((*found, *raised_rights.find_raised_on_lock(made.address)))


def describe_changed_ledger(connection: Connection[Any], _: DeployedDatabase) -> tuple[str, ...]:
    """Return what was changed by hand on the ledger's own tables and functions."""
    return ledger_drift.describe_faults(ledger_drift.read_parts(connection))


def describe_lost_rights(_: Connection[Any], made: DeployedDatabase) -> tuple[str, ...]:
    """Return the rights that the scripts granted to the stack's own roles and that these have lost."""
    return role_drift.sort_drift(made.differences, ()).repairable


KINDS: tuple[Callable[[Connection[Any], DeployedDatabase], tuple[str, ...]], ...] = (
    describe_lost_extensions,
    describe_changed_roles,
    describe_changed_backup_role,
    describe_changed_database,
    describe_raised_rights,
    describe_changed_ledger,
    describe_lost_rights,
)

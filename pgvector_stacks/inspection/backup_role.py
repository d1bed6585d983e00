"""The role of scheduled backups: it reads everything and writes nothing. It exists only while the stack has a schedule.

Invariant: `pgstack_backup` is not a superuser and is a member of only two roles, both PostgreSQL's own for reading. It
can't change any row or large object of the stack's database, even after `SET transaction_read_only = off`. An `up`
restores this, and drops the role when the stack has no schedule. Role names that begin with `pgstack_` are reserved for
pgstack: an `up` takes over a role of that name if one exists.

Why these rights: pg_dump must read the rows that policies hide (BYPASSRLS) and lock each table (SELECT is enough). The
manifest contains a setting that only members of `pg_read_all_settings` can read. `pg_read_all_data` does not include
large objects, so `lo_compat_privileges`, which only a superuser can set, turns off the checks of their rights; and the
functions that write large objects are revoked (common/queries/functions_closed.sql). The role can still execute
COMMENT ON LARGE OBJECT.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from psycopg import Connection, errors, sql

from pgvector_stacks.common import queries
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.connections import roles
from pgvector_stacks.inspection import role_drift
from pgvector_stacks.inspection.role_drift import Role, matches_verifier

ROLE = roles.BACKUP
POWERS, MEMBER_OF = ("BYPASSRLS",), ("pg_read_all_data", "pg_read_all_settings")
SETTINGS = {"default_transaction_read_only": "on", "lo_compat_privileges": "on"}
CHANGE_LARGE_OBJECTS = ("lo_put", "lo_truncate", "lo_truncate64", "lo_unlink", "lowrite")
CLOSED = (*roles.NOT_FOR_READERS, *CHANGE_LARGE_OBJECTS)
CONNECTIONS = 8  # psql, pg_dump with its two workers, and as many again from a run that was just killed
ATTRIBUTES = f"NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS INHERIT CONNECTION LIMIT {CONNECTIONS}"


def describe_faults(
    found: Role | None, closed_to: Collection[str], writes: Collection[str], passwords: Sequence[str], *, wanted: bool
) -> tuple[str, ...]:
    """Return what an `up` will repair, one sentence each. Pure.

    `closed_to`: databases that the role must dump but may not connect to; `writes`: functions of `CLOSED` that it may
    execute; `passwords`: the correct ones, or empty: the password isn't checked; `wanted`: the stack has a schedule.
    """
    if found is None:
        return (f"role {ROLE} is missing: scheduled backups connect with it",) if wanted else ()
    if not wanted:
        harmless = not (found.can_login or found.powers or found.member_of)
        return () if harmless else (f"role {ROLE} is there, and no schedule of backups",)
    lines = []
    if not found.can_login:
        lines.append("can't log in (NOLOGIN)")
    lines += [f"has {power}" for power in found.powers if power not in POWERS]
    lines += [f"lost {power}" for power in POWERS if power not in found.powers]
    groups = (*found.member_of, *found.others)
    lines += [f"is a member of {group}" for group in groups if group not in MEMBER_OF]
    lines += [f"is no member of {group}" for group in MEMBER_OF if group not in groups]
    if not found.inherits:
        lines.append("doesn't inherit (NOINHERIT)")
    if found.expired:
        lines.append(f"has a password that is valid until {found.expired} only (VALID UNTIL)")
    if found.limit != CONNECTIONS:
        lines.append(f"may have {found.limit} connections (CONNECTION LIMIT, declared is {CONNECTIONS})")
    declared = {("", name, value) for name, value in SETTINGS.items()}
    for database, name, value in sorted(set(found.settings) - declared):
        lines.append(f"sets {name} = {value}" + (f" in database {database}" if database else ""))
    lines += [f"doesn't set {name} = {value}" for _, name, value in sorted(declared - set(found.settings))]
    lines += [f"may not connect to the database {database}" for database in closed_to]
    if any(name.startswith("lo") for name in writes):
        lines.append("may change large objects")
    if any(name.startswith("pg_") for name in writes):
        lines.append("may take advisory locks")
    if passwords and not any(matches_verifier(word, found.verifier) for word in passwords):
        lines.append("has another password than the stack's")
    return tuple(one_line(f"role {ROLE} {words}") for words in lines)


def find_faults(connection: Connection[Any], passwords: Sequence[str], *, wanted: bool) -> tuple[str, ...]:
    """Describe the faults in the connection's server and database; empty if its role may not read them."""
    try:
        found = role_drift.read_roles(connection, (ROLE,))
    except errors.InsufficientPrivilege:
        return ()
    if not found:
        return describe_faults(None, (), (), (), wanted=wanted)
    return describe_faults(found[0], _closed_to(connection), _writes(connection), passwords, wanted=wanted)


def ensure(cluster: Connection[Any], password: str) -> None:
    """Create the role or repair it. `cluster`: the administrator's connection to database postgres, autocommit."""
    role = sql.Identifier(ROLE)
    with cluster.transaction():
        if cluster.execute("SELECT FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone() is None:
            cluster.execute(sql.SQL("CREATE ROLE {}").format(role))
        cluster.execute(sql.SQL(f"ALTER ROLE {{}} {ATTRIBUTES} VALID UNTIL 'infinity'").format(role))
        _leave_groups(cluster)
        for group in MEMBER_OF:
            cluster.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), role))
        _forget_settings(cluster)
        for name, value in SETTINGS.items():
            setting = sql.SQL("ALTER ROLE {} SET {} = {}")
            cluster.execute(setting.format(role, sql.Identifier(name), sql.Literal(value)))
        for database in _closed_to(cluster):
            cluster.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), role))
        roles.set_password(cluster, ROLE, password)


def close_functions(admin: Connection[Any]) -> None:
    """Revoke the functions in `CLOSED` from the role, only in the stack's database. `admin`: the administrator's."""
    with admin.transaction():
        roles.close_functions(admin, ROLE, CLOSED)


def remove(cluster: Connection[Any]) -> None:
    """Drop the role. If someone gave it objects or rights of its own, it remains but can't log in."""
    if not role_drift.read_roles(cluster, (ROLE,)):
        return
    role = sql.Identifier(ROLE)
    with cluster.transaction():
        cluster.execute(sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL {}").format(role, roles.NO_POWERS))
        _leave_groups(cluster)
        _forget_settings(cluster)
        for (database,) in cluster.execute("SELECT datname FROM pg_database").fetchall():
            cluster.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(sql.Identifier(database), role))
    try:
        cluster.execute(sql.SQL("DROP ROLE {}").format(role))
    except errors.DependentObjectsStillExist:
        return


def _leave_groups(cluster: Connection[Any]) -> None:
    """Revoke all memberships of the role."""
    (found,) = role_drift.read_roles(cluster, (ROLE,))
    role_drift.revoke_memberships(cluster, ROLE, (*found.member_of, *found.others))


def _forget_settings(cluster: Connection[Any]) -> None:
    """Reset all settings that the role has for its sessions, in every database."""
    role = sql.Identifier(ROLE)
    (found,) = role_drift.read_roles(cluster, (ROLE,))
    for database in sorted({database for database, _, _ in found.settings}):
        there = sql.SQL(" IN DATABASE {}").format(sql.Identifier(database)) if database else sql.SQL("")
        cluster.execute(sql.SQL("ALTER ROLE {}{} RESET ALL").format(role, there))


def _closed_to(connection: Connection[Any]) -> list[str]:
    """Return the databases that the role must dump but may not connect to."""
    return _names(connection.execute(queries.get("backup_role_closed_to"), {"role": ROLE}).fetchall())


def _writes(connection: Connection[Any]) -> list[str]:
    """Return the functions of `CLOSED` that the role may execute in the connection's database."""
    asked = {"role": ROLE, "closed": list(CLOSED)}
    return _names(connection.execute(queries.get("backup_role_writes"), asked).fetchall())


def _names(rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return the first column of the rows, as text."""
    return [str(row[0]) for row in rows]

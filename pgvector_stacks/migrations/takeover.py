"""Takes over a database that others made: gives its objects to `schema_owner`, once, so that scripts can change them.

What the old way made belongs to the first superuser (POSTGRES_USER), whatever its name. REASSIGN OWNED refuses that
role, so each object is altered by itself. The role stays as it is; only where it has the name of a role of ours it is
renamed, because `app` must not be a superuser. Objects of other roles and what belongs to an extension stay as they
are. An event records that it was done; an interrupted run is simply done again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import Connection, sql

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address, connect

EVENT = "adopted"
OURS = (roles.OWNER, roles.APP, roles.READONLY)
FIRST_SUPERUSER = 10  # the oid of the role that initdb makes
SUFFIX = "_superuser"


def is_done(connection: Connection[Any]) -> bool:
    """True where this database was taken over before."""
    exists = connection.execute("SELECT to_regclass('pgstack.event') IS NOT NULL").fetchone()
    if not exists or not exists[0]:
        return False
    return connection.execute("SELECT FROM pgstack.event WHERE kind = %s", (EVENT,)).fetchone() is not None


def make_room(cluster: Connection[Any], address: Address, report: Callable[[str], None]) -> None:
    """Before our roles are made: none of theirs has more rights than ours may have, and all may still connect.

    `cluster`: the administrator's connection in database postgres. Raises PgstackError, ConnectionFailed where the
    database isn't there: an adopted one is never made.
    """
    with connect(address) as admin:
        if is_done(admin):
            return
    found = cluster.execute("SELECT oid, rolname, rolsuper FROM pg_roles").fetchall()
    names = {name for _, name, _ in found}
    for oid, name, superuser in found:
        if name not in OURS:
            continue
        if oid == FIRST_SUPERUSER:
            _rename(cluster, name, names)
            report(
                f"the superuser {name} is called {name}{SUFFIX} now, its password is the same; "
                f"{name} is the stack's own role, without its powers"
            )
            continue
        cluster.execute(sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(name), roles.NO_POWERS))
        report(
            f"the role {name} is the stack's own from now on: its password is that of the stack"
            + (", and it is no superuser any more" if superuser else "")
        )
    # PUBLIC loses the right to connect
    for (name,) in cluster.execute(queries.get("takeover_logins"), {"database": address.database}).fetchall():
        cluster.execute(
            sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(
                sql.Identifier(address.database), sql.Identifier(name)
            )
        )


def _rename(cluster: Connection[Any], name: str, names: set[str]) -> None:
    if name + SUFFIX in names:
        raise PgstackError(
            f"the adopted superuser is called {name}, as a role of the stack; the name {name}{SUFFIX} is taken too\n"
            f"  rename that one:  ALTER ROLE {name}{SUFFIX} RENAME TO …"
        )
    cluster.execute(sql.SQL("ALTER ROLE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(name + SUFFIX)))


def take_over(
    admin: Connection[Any], lock_wait_s: float, report: Callable[[str], None], add_event: Callable[..., None]
) -> None:
    """Give the objects to the owner and record it. `admin`: the administrator's, in the database, autocommit.

    An object a transaction, so that no table waits for another and no lock table runs out; a run that is interrupted
    is done again. Raises psycopg's LockNotAvailable where a table stays in use for `lock_wait_s`.
    """
    if is_done(admin):
        return
    admin.execute("SELECT set_config('lock_timeout', %s, false)", (f"{max(1, round(lock_wait_s * 1000))}ms",))
    statements = [row[0] for row in admin.execute(queries.get("takeover_objects")).fetchall()]
    for statement in statements:
        admin.execute(sql.SQL(statement))
    admin.execute("RESET lock_timeout")
    with admin.transaction():
        admin.execute("SET LOCAL ROLE schema_owner")
        admin.execute(queries.get("grant_application"))
        admin.execute(queries.get("takeover_grants"))
        admin.execute("RESET ROLE")
        findings = [row[0] for row in admin.execute(queries.get("takeover_findings")).fetchall()]
        taken = f"took over {len(statements)} objects of the adopted database for {roles.OWNER}"
        add_event(admin, EVENT, "\n".join([taken, *findings, *statements]))
    report(taken)
    for finding in findings:
        report(finding)

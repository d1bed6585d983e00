"""Takes over a database that pgstack did not create: makes `schema_owner` the owner of its objects, so that scripts can
change them.

The objects belong to the first superuser (POSTGRES_USER), whatever its name. REASSIGN OWNED refuses that role, so each
object is altered on its own. The superuser stays as it is, unless it has the name of one of our roles: then it is
renamed, because `app` must not be a superuser. Objects of other roles and members of extensions stay as they are. An
event records the takeover, so that it happens once. An interrupted takeover is repeated.
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
FIRST_SUPERUSER = 10  # the OID of the role that initdb creates
SUFFIX = "_superuser"


def is_done(connection: Connection[Any]) -> bool:
    """Return True if this database was taken over before."""
    exists = connection.execute("SELECT to_regclass('pgstack.event') IS NOT NULL").fetchone()
    if not exists or not exists[0]:
        return False
    return connection.execute("SELECT FROM pgstack.event WHERE kind = %s", (EVENT,)).fetchone() is not None


def make_room(cluster: Connection[Any], address: Address, report: Callable[[str], None]) -> None:
    """Prepare the cluster's roles before ours are created, and keep the right to connect for all roles that have it.

    A first superuser with the name of one of our roles is renamed. Any other role with such a name becomes ours and
    loses its powers. `cluster`: the administrator's connection in database postgres. Raises PgstackError; raises
    ConnectionFailed where the database is missing, since pgstack never creates a database that is to be adopted.
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
    # later PUBLIC loses the right to connect: keep it for the roles that have it now
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
    """Make schema_owner the owner of the objects, and record that as an event.

    `admin`: the administrator's connection, in the database, autocommit. Each object has a transaction of its own, so
    that no table stays locked while another is waited for and the lock table does not fill up. An interrupted run is
    repeated. Raises psycopg's LockNotAvailable where a table stays in use for `lock_wait_s`.
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

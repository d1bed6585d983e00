"""Finds and repairs changes by hand to the stack's database, and to who may enter PostgreSQL's own databases.

Invariant, which an `up` restores:
- The database belongs to `schema_owner`, accepts connections and is not a template (backups omit templates).
- Neither it nor ALTER ROLE ALL sets a role or local_preload_libraries for sessions. A script could set them for the
  database, and a missing library stops every login. Only a superuser can set
  session_preload_libraries, which is noted.
- PUBLIC may not connect to it, to `postgres` or to `template1`: a session there could hold locks and fill the disk.
- `readonly` can't create large objects or take advisory locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from pgvector_stacks.common import queries
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.connections import roles

NEIGHBOURS = ("postgres", "template1")
FORBIDDEN = ("role", "local_preload_libraries")  # of these ALTER ROLE ALL may set none


@dataclass(frozen=True, slots=True)
class Attributes:
    """A row of `database_attributes.sql`. `limit`: of connections; -1: none.

    `entered_by_all`: which of this database and `NEIGHBOURS` PUBLIC may enter; `closed`: functions that `readonly` may
    execute but should not; `former`: databases that restores replaced and kept; `of_all`: (name, value) that ALTER ROLE
    ALL sets for every session.
    """

    name: str
    owner: str
    takes_connections: bool
    template: bool
    limit: int
    role: str | None
    libraries: str | None
    session_libraries: str | None
    entered_by_all: tuple[str, ...]
    closed: tuple[str, ...]
    former: tuple[str, ...]
    of_all: tuple[tuple[str, str], ...]


def describe_faults(found: Attributes) -> tuple[str, ...]:
    """Return what an `up` will repair, one sentence each. Pure."""
    name = f"database {found.name}"
    lines = []
    if found.owner != roles.OWNER:
        lines.append(f"{name} belongs to {found.owner}")
    if not found.takes_connections:
        lines.append(f"{name} takes no connections (ALLOW_CONNECTIONS false)")
    if found.limit == 0:
        lines.append(f"{name} takes no connections (CONNECTION LIMIT 0)")
    if found.template:
        lines.append(f"{name} is a template (IS_TEMPLATE): no backup has it")
    if found.role is not None:
        lines.append(f"{name} makes sessions the role {found.role} (SET role)")
    if found.libraries is not None:
        lines.append(f"{name} makes sessions load {found.libraries} (SET local_preload_libraries)")
    lines += [f"every role sets {name} = {value} (ALTER ROLE ALL)" for name, value in found.of_all if name in FORBIDDEN]
    lines += [f"everybody may enter the database {other}" for other in found.entered_by_all]
    if any(name.startswith("lo_") for name in found.closed):
        lines.append(f"role {roles.READONLY} may make large objects")
    if any(name.startswith("pg_") for name in found.closed):
        lines.append(f"role {roles.READONLY} may take advisory locks")
    return tuple(map(one_line, lines))


def describe_intended(found: Attributes) -> tuple[str, ...]:
    """Return what may be intended and stays unchanged, one sentence each. Pure."""
    lines = [
        f"database {name} is what a restore replaced, and takes its room until it is dropped" for name in found.former
    ]
    if found.session_libraries is not None:
        does = f"makes sessions load {found.session_libraries} (SET session_preload_libraries)"
        lines.append(f"database {found.name} {does}")
    if found.limit > 0:
        lines.append(f"database {found.name} takes {found.limit} connections at most (CONNECTION LIMIT)")
    lines += [
        f"every role sets {name} = {value} (ALTER ROLE ALL)" for name, value in found.of_all if name not in FORBIDDEN
    ]
    return tuple(map(one_line, lines))


def read_attributes(connection: Connection[Any], database: str) -> Attributes | None:
    """Read the attributes; None if there is no such database. `closed` is read only of the connection's database."""
    asked = {"database": database, "closed": list(roles.NOT_FOR_READERS)}
    row = connection.execute(queries.get("database_attributes"), asked).fetchone()
    if row is None:
        return None
    *before, entered, closed, former, of_all = row
    own: tuple[Any, ...] = (*before, tuple(entered), tuple(closed), tuple(former), tuple(map(tuple, of_all)))
    return Attributes(*own)


def repair(cluster: Connection[Any], database: str) -> None:
    """Repair the database's own attributes and ALTER ROLE ALL, before anything connects to it.

    `cluster`: the administrator's connection to database postgres, autocommit.
    """
    found = read_attributes(cluster, database)
    if found is None:
        return
    name = sql.Identifier(database)
    if not found.takes_connections:
        cluster.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    if found.limit == 0:
        cluster.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(name))
    if found.template:
        cluster.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(name))
    if found.role is not None:
        cluster.execute(sql.SQL("ALTER DATABASE {} RESET role").format(name))
    if found.libraries is not None:
        cluster.execute(sql.SQL("ALTER DATABASE {} RESET local_preload_libraries").format(name))
    for setting in {name for name, _ in found.of_all}.intersection(FORBIDDEN):
        cluster.execute(sql.SQL("ALTER ROLE ALL RESET {}").format(sql.Identifier(setting)))


def close_neighbours(cluster: Connection[Any], database: str) -> None:
    """Revoke CONNECT on `NEIGHBOURS` from PUBLIC. Roles that aren't ours, such as a monitor's, keep their access."""
    found = read_attributes(cluster, database)
    for other in set(NEIGHBOURS).intersection(found.entered_by_all if found else ()):
        name = sql.Identifier(other)
        for (role,) in cluster.execute(queries.get("takeover_logins"), {"database": other}).fetchall():
            cluster.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, sql.Identifier(role)))
        cluster.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(name))

"""The login that creates objects and loads rows, so that no code of their owners runs with an administrator's rights.

COPY, CREATE and ALTER evaluate CHECKs, domains and generated columns, whose functions the owner wrote. A function can
undo SET ROLE and SET SESSION AUTHORIZATION. So this login has the owners' rights and no others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from psycopg import sql

from pgvector_stacks.backup.restoring import restore_order
from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.toolbox.interface import ServerConnection, Toolbox, execute_sql, query_rows

ROLE = "pgstack_loading"
DATABASE_OWNER = "pg_database_owner"  # the database's owner is a member, and nobody can be made one
CREATE = f"CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"

# The owner of a large object or a temporary table may grant rights on it to any role. Such a grant blocks DROP ROLE.
DEPENDING = f"""
SELECT DISTINCT coalesce(d.datname, 'postgres') AS name FROM pg_shdepend s
  LEFT JOIN pg_database d ON d.oid = s.dbid
 WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = (SELECT oid FROM pg_roles WHERE rolname = '{ROLE}')
"""
HELD = """
SELECT quote_ident(n.nspname) AS name, quote_ident(r.rolname) AS owner
  FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE NOT r.rolsuper
"""
OF_A_RELATION = re.compile(r"(?:TABLE DATA|SEQUENCE SET) ")  # loading a large object runs no code of its owner
BREAKS = re.compile(r"[\r\n]")  # pg_restore writes these as blanks
TRIES = 5  # another session may grant again between DROP OWNED and DROP ROLE


def drop(toolbox: Toolbox, server: ServerConnection) -> None:
    """Drop the login, if it exists, and all that was granted to it in any database. Raises ServerError."""
    for attempt in range(1, TRIES + 1):
        for row in query_rows(toolbox, server, "postgres", DEPENDING):
            execute_sql(toolbox, server, row["name"], f"DROP OWNED BY {ROLE}")
        try:
            execute_sql(toolbox, server, "postgres", f"DROP ROLE IF EXISTS {ROLE}")
            return
        except ServerError:
            if attempt == TRIES:
                raise


def find_owners(toolbox: Toolbox, server: ServerConnection, database: str) -> dict[str, str]:
    """Return the owner of each table's rows and each sequence's number, unless a superuser owns it.

    The keys are entries of pg_restore's list, without their ids. Raises ServerError.
    """
    found = query_rows(toolbox, server, database, queries.get("loaded_owners"))
    return {
        BREAKS.sub(" ", f"{kind} {row['schema']} {row['name']} {row['owner']}"): row["owner"]
        for row in found
        for kind in ("TABLE DATA", "SEQUENCE SET")
    }


def group_by_owner(
    lines: Iterable[str], owner_of: Mapping[str, str], powerless: Collection[str]
) -> dict[str, list[str]]:
    """Group the lines of pg_restore's list by owner; "" for the lines that the administrator loads. Pure.

    For rows that `owner_of` lacks, the end of the line names the owner. The administrator only gets lines that provably
    no other role owns.
    """
    found: dict[str, list[str]] = {}
    for line in lines:
        entry = line.split(" ", 3)[-1]  # after `DUMP; TABLE OID `
        by_end = restore_order.parse_owner(line, powerless) if OF_A_RELATION.match(entry) else ""
        found.setdefault(owner_of.get(entry) or by_end, []).append(line)
    return found


def list_ordinary_roles(toolbox: Toolbox, server: ServerConnection, database: str) -> set[str]:
    """Return the roles that aren't superusers, with PostgreSQL's own: an owner of a database can give its objects to
    DATABASE_OWNER. That one is left out where a superuser owns the database. Raises ServerError.
    """
    query = f"""
        SELECT rolname AS name FROM pg_roles
         WHERE NOT rolsuper AND rolname <> '{ROLE}'
           AND (rolname <> '{DATABASE_OWNER}' OR NOT (SELECT o.rolsuper FROM pg_database d
                 JOIN pg_roles o ON o.oid = d.datdba WHERE d.datname = current_database()))"""
    return {row["name"] for row in query_rows(toolbox, server, database, query)}


@contextmanager
def holding_schemas(toolbox: Toolbox, server: ServerConnection, database: str) -> Iterator[None]:
    """Make the administrator the owner of the schemas of others, who keep their rights to use them. Undo it at the end.

    The owner of a schema may drop what a superuser has in it. Code of the owner's could then put a table of its own in
    its place, and the administrator would load the rows into that one. Call it before privileges are restored. If it
    fails, the database is thrown away. Raises ServerError.
    """
    found = query_rows(toolbox, server, database, HELD)
    for row in found:
        took = f"ALTER SCHEMA {row['name']} OWNER TO CURRENT_USER"
        execute_sql(toolbox, server, database, f"{took}; GRANT USAGE, CREATE ON SCHEMA {row['name']} TO {row['owner']}")
    yield
    for row in found:
        execute_sql(toolbox, server, database, f"ALTER SCHEMA {row['name']} OWNER TO {row['owner']}")


@contextmanager
def granting_owners(
    toolbox: Toolbox, server: ServerConnection, database: str, owners: Collection[str],
    referred: Collection[tuple[str, str]] = (),
) -> Iterator[None]:  # fmt: skip
    """Give the login the rights of all these owners, and take them away at the end.

    `referred`: (schema, table) of foreign keys; the login may refer to those that superusers own. Raises ServerError.
    """
    with ExitStack() as stack:
        for owner in sorted(owners):
            stack.enter_context(granting_owner(toolbox, server, database, owner))
        if owners and referred:
            pairs = sql.SQL(", ").join(
                sql.SQL("({}, {})").format(sql.Literal(space), sql.Literal(table)) for space, table in sorted(referred)
            )
            query = sql.SQL(queries.get("loader_references")).format(pairs).as_string(None)
            lent = [
                f"{row['right']} ON {row['what']} {row['name']}" for row in query_rows(toolbox, server, database, query)
            ]
            if lent:
                execute_sql(toolbox, server, database, ";".join(f"GRANT {right} TO {ROLE}" for right in lent))
        yield


@contextmanager
def granting_create(
    toolbox: Toolbox, server: ServerConnection, database: str, owners: Collection[str]
) -> Iterator[None]:
    """Let the owners create objects in every existing schema. Revoke these rights at the end. Raises ServerError."""
    names = sql.Literal(sorted(owners)).as_string(None)
    found = query_rows(toolbox, server, database, queries.get("loader_lacks").replace("{owners}", f"{names}::text[]"))
    lent = [(f"{row['right']} ON {row['what']} {row['name']}", row["role"]) for row in found]
    if lent:
        execute_sql(toolbox, server, database, ";".join(f"GRANT {right} TO {role}" for right, role in lent))
    try:
        yield
    finally:
        if lent:
            execute_sql(toolbox, server, database, ";".join(f"REVOKE {right} FROM {role}" for right, role in lent))


@contextmanager
def granting_owner(toolbox: Toolbox, server: ServerConnection, database: str, owner: str) -> Iterator[None]:
    """Give the login the owner's rights, lift the database's connection limit, and undo both. Raises ServerError."""
    query = (
        "SELECT datconnlimit AS most, pg_get_userbyid(datdba) AS owner FROM pg_database"
        " WHERE datname = current_database()"
    )
    (found,) = query_rows(toolbox, server, database, query)
    granted = found["owner"] if owner == DATABASE_OWNER else owner
    name, role = (sql.Identifier(word).as_string(None) for word in (database, granted))
    enter = f"ALTER DATABASE {name} CONNECTION LIMIT -1; GRANT {role} TO {ROLE}; {queries.get('loader_usage')}"
    execute_sql(toolbox, server, database, enter)
    try:
        yield
    finally:
        leave = (
            f"DROP OWNED BY {ROLE}; REVOKE {role} FROM {ROLE}; ALTER DATABASE {name} CONNECTION LIMIT {found['most']}"
        )
        execute_sql(toolbox, server, database, leave)

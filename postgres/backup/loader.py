"""The login over which rows are loaded, so that nothing that a table's owner wrote runs with an administrator's rights.

COPY evaluates CHECKs, domains and generated columns, whose functions the owner wrote. A function can undo a SET ROLE
and a SET SESSION AUTHORIZATION, so each owner's rows come over a login that has this owner's rights and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from psycopg import sql

from postgres import queries
from postgres.upgrade.workshop import Server, Workshop, execute, rows

ROLE = "pgstack_loading"
DROP = f"DROP ROLE IF EXISTS {ROLE}"
CREATE = f"CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


def owners(workshop: Workshop, server: Server, database: str) -> dict[str, str]:
    """By what pg_restore's list says of a table's rows or of a sequence's number: the owner, where it is no superuser.

    Raises ServerError.
    """
    found = rows(workshop, server, database, queries.get("loaded_owners"))
    return {
        f"{kind} {row['schema']} {row['name']} {row['owner']}": row["owner"]
        for row in found
        for kind in ("TABLE DATA", "SEQUENCE SET")
    }


def shares(lines: Iterable[str], owner_of: Mapping[str, str]) -> dict[str, list[str]]:
    """The lines of pg_restore's list by owner; "" for the administrator's share. Pure."""
    found: dict[str, list[str]] = {}
    for line in lines:
        told = line.split(" ", 3)[-1]  # behind `DUMP; TABLE OID `
        found.setdefault(owner_of.get(told, ""), []).append(line)
    return found


def keys(lines: Iterable[str], owner_of: Mapping[str, str]) -> tuple[list[str], list[str], list[str]]:
    """Of the lines of pg_restore's list: the foreign keys of tables that no superuser owns; comments on constraints,
    which come behind them; and the rest. Pure.

    The server checks a key by a query over both tables, and plans it with the rights of whoever adds it.

    >>> owner_of = {"TABLE DATA app part schema_owner": "schema_owner"}
    >>> keys(["7; 2606 9 FK CONSTRAINT app part part_item_fkey schema_owner", "8; 1259 9 INDEX app i o"], owner_of)
    (['7; 2606 9 FK CONSTRAINT app part part_item_fkey schema_owner'], [], ['8; 1259 9 INDEX app i o'])
    """
    owners_of = {told.removeprefix("TABLE DATA ").rsplit(" ", 1)[0]: owner for told, owner in owner_of.items()}
    found: list[str] = []
    behind: list[str] = []
    rest: list[str] = []
    for line in lines:
        told = line.split(" ", 3)[-1]
        if told.startswith("FK CONSTRAINT "):
            named = told.removeprefix("FK CONSTRAINT ")
            (found if any(named.startswith(f"{table} ") for table in owners_of) else rest).append(line)
        elif told.startswith("COMMENT ") and " CONSTRAINT " in told:
            behind.append(line)
        else:
            rest.append(line)
    return found, behind, rest


@contextmanager
def rights_of_all(workshop: Workshop, server: Server, database: str, owners: Iterable[str]) -> Iterator[None]:
    """The login has the rights of all of them meanwhile, and may refer to tables of a superuser. Raises ServerError."""
    with ExitStack() as stack:
        for owner in sorted(set(owners)):
            stack.enter_context(rights_of(workshop, server, database, owner))
        execute(workshop, server, database, queries.get("loader_references"))
        yield


@contextmanager
def rights_of(workshop: Workshop, server: Server, database: str, owner: str) -> Iterator[None]:
    """The login has the owner's rights meanwhile, whatever the database's connection limit is. Raises ServerError."""
    name, role = (sql.Identifier(word).as_string(None) for word in (database, owner))
    query = "SELECT datconnlimit AS most FROM pg_database WHERE datname = current_database()"
    (limit,) = rows(workshop, server, database, query)
    enter = f"ALTER DATABASE {name} CONNECTION LIMIT -1; GRANT {role} TO {ROLE}; {queries.get('loader_usage')}"
    execute(workshop, server, database, enter)
    try:
        yield
    finally:
        leave = (
            f"DROP OWNED BY {ROLE}; REVOKE {role} FROM {ROLE}; ALTER DATABASE {name} CONNECTION LIMIT {limit['most']}"
        )
        execute(workshop, server, database, leave)

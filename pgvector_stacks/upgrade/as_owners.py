"""Restores dumps into a server that has no clients yet, so that no code of an owner runs as the administrator.

PostgreSQL evaluates expressions while it creates an object: a bound of a partition whose key is a domain with a CHECK,
the first state of an aggregate, a generated column. So a login that has the owners' rights and no others creates the
schema (`backup/restoring/owner_login.py`). Only an administrator can create roles, so their dump is parsed as data
first, and psql gets SQL composed from it.
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from pgvector_stacks.backup.manifest import BackupRefused
from pgvector_stacks.backup.restoring import owner_login, restore_database, role_statements
from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.toolbox.interface import Report, ServerConnection, Toolbox, execute_sql, require_success

LOST = "\ufffd"  # replaces bytes that aren't UTF-8


def create_roles(toolbox: Toolbox, server: ServerConnection, path: str, superuser: str) -> None:
    """Create the roles of pg_dumpall's file, except `superuser`, whom initdb has created. Raises ServerError.

    `path`: the file, as the toolbox sees it. psql gets the SQL in a file, not in an argument, because it contains
    password hashes. The SQL is composed here from names and literals, so text of the file can't be a psql command.
    """
    text = require_success(f"reading {path}", toolbox.sh('cat "$F"', F=path))
    if LOST in text:
        raise ServerError("a role's name or comment isn't in UTF-8: rename it, then try again")
    try:
        statements = role_statements.parse(text)
    except BackupRefused as refusal:
        found = "\n".join(str(refusal).splitlines()[:2])
        raise ServerError(f"the roles of the old server can't be taken over: {found}") from None
    commands = [each.command for each in statements if each.makes != superuser]
    made = toolbox.put("roles.sql", sql.SQL(";\n").join([*commands, sql.SQL("")]).as_string(None))
    words = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", made)
    require_success("restoring roles", toolbox.run(server.major, "psql", *words, environment=server.environment))


def restore_dumps(
    toolbox: Toolbox, server: ServerConnection, folder: str, databases: Iterable[str], *, jobs: int, report: Report,
    watched: bool = False,
) -> None:  # fmt: skip
    """Restore the dumps `0`, `1`, … in `folder`, one per database in order. Raises ServerError.

    `watched`: code that runs with the owners' rights may not drop functions.
    """
    owner_login.drop(toolbox, server)
    execute_sql(toolbox, server, "postgres", owner_login.CREATE)
    login = ServerConnection(server.major, server.host, server.port, owner_login.ROLE, superuser=False)
    for number, database in enumerate(databases):
        report(f"restores database {database}")
        restore_database.restore_dump(
            toolbox, server, f"{folder}/{number}", database, (), jobs=jobs, vector_indexes=False, login=login,
            create=True, opening=queries.get("upgrade_watch") if watched else "",
        )  # fmt: skip
    owner_login.drop(toolbox, server)

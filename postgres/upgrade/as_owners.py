"""Restores dumps into a server behind closed doors, so that nothing that an owner wrote runs as the administrator.

PostgreSQL computes while it makes an object: a bound of a partition whose key is a domain with a CHECK, the first state
of an aggregate, a generated column. So the schema is made over the login that has the owners' rights and no others
(`backup/loader.py`), and the roles, which only an administrator makes, are read as data before psql gets them.
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from postgres import queries
from postgres.backup import loader, loading, role_statements
from postgres.backup.manifest import BackupRefused
from postgres.errors import ServerError
from postgres.upgrade.workshop import Report, Server, Workshop, execute, must

LOST = "\ufffd"  # what stands for bytes that are no UTF-8


def make_roles(workshop: Workshop, server: Server, path: str, superuser: str) -> None:
    """Those of pg_dumpall's file in the workshop, but `superuser`, which initdb has made. Raises ServerError.

    Through a file, not an argument: a password's hash is in it. What is sent is put together here, from names and
    literals, so that no word of the file is a command of psql's.
    """
    text = must(f"reading {path}", workshop.sh('cat "$F"', F=path))
    if LOST in text:
        raise ServerError("a role's name or comment isn't in UTF-8: rename it, then try again")
    try:
        statements = role_statements.parse(text)
    except BackupRefused as refusal:
        found = "\n".join(str(refusal).splitlines()[:2])
        raise ServerError(f"the roles of the old server can't be taken over: {found}") from None
    commands = [each.command for each in statements if each.makes != superuser]
    made = workshop.put("roles.sql", sql.SQL(";\n").join([*commands, sql.SQL("")]).as_string(None))
    words = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", made)
    must("restoring roles", workshop.run(server.major, "psql", *words, environment=server.environment))


def restore(
    workshop: Workshop, server: Server, folder: str, databases: Iterable[str], *, jobs: int, report: Report,
    watched: bool = False,
) -> None:  # fmt: skip
    """The dumps `0`, `1`, … in `folder`, of the databases in their order. `watched`: what runs with the owners' rights
    may drop no function. Raises ServerError.
    """
    loader.drop(workshop, server)
    execute(workshop, server, "postgres", loader.CREATE)
    login = Server(server.major, server.host, server.port, loader.ROLE, superuser=False)
    for number, database in enumerate(databases):
        report(f"restores database {database}")
        loading.load(
            workshop, server, f"{folder}/{number}", database, (), jobs=jobs, vector_indexes=False, login=login,
            create=True, opening=queries.get("upgrade_watch") if watched else "",
        )  # fmt: skip
    loader.drop(workshop, server)

"""Restores the live schema, without rows, into a scratch server of the target version before anything stops.

The rehearsal finds problems that pg_upgrade --check misses: PostgreSQL 17.12 writes an attribute option that 18.6
rejects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.toolbox.interface import (
    ServerConnection,
    Toolbox,
    execute_sql,
    query_rows,
    require_success,
    start_server,
    stop_server,
)
from pgvector_stacks.upgrade import as_owners
from pgvector_stacks.upgrade.checks.finish import carry_settings
from pgvector_stacks.upgrade.decision import Method, find_refusals
from pgvector_stacks.upgrade.facts import SourceServer, TargetVersion

# code that may run in pg_upgrade but not in a rehearsal
UNSEEN = ("inherited_checks", "calling_domains", "owners_members")
MOST = 5  # functions that a message lists
# the parts of pg_restore's error message
FAILED = {
    "entry": re.compile(r"from TOC entry \d+; \d+ \d+ (.*)"), "error": re.compile(r"(?:ERROR|FATAL): +(.*)"),
    "statement": re.compile(r"Command was: (.*)"),
}  # fmt: skip


def rehearse(
    toolbox: Toolbox,
    source: SourceServer,
    new: int,
    live: ServerConnection,
    scratch: str,
    settings: Mapping[str, str],
    report: Callable[[str], None],
    *,
    method: Method,
) -> list[str]:
    """Rehearse the upgrade, and return the names of the settings that the target has.

    Raises ServerError with what the target rejects. Raises ServerError, too, if pg_upgrade would run code of an owner:
    pg_upgrade creates the schema as the superuser.
    """
    folder = f"{scratch}.dump"
    preload = {"shared_preload_libraries": source.preload} if source.preload else {}
    try:
        _dump(toolbox, source, new, live, folder)
        counting = {"track_functions": "all"}  # counts the calls; only a superuser can turn it off
        server = start_server(toolbox, new, scratch, {**settings, **preload, **counting}, source.superuser)
        try:
            if reasons := find_refusals(source, query_target(toolbox, server)):
                raise ServerError("\n".join(reasons))
            _restore(toolbox, server, folder, source, new, watched=method != "dump")
            if method != "dump":
                _refuse_owners_code(toolbox, server, source)
            known = [row["name"] for row in query_rows(toolbox, server, "postgres", "SELECT name FROM pg_settings")]
        finally:
            stop_server(toolbox, new, scratch)
    finally:
        toolbox.sh('rm -rf "$D"', D=folder)
    if lost := carry_settings(toolbox, source, scratch, known):
        report(f"PostgreSQL {new} no longer has these settings, so they aren't carried over: {', '.join(lost)}")
    start_server(toolbox, new, scratch, {**settings, **preload}, source.superuser)
    stop_server(toolbox, new, scratch)
    report(f"rehearsed: PostgreSQL {new} takes the schema of {len(source.databases)} databases")
    return known


def query_target(toolbox: Toolbox, server: ServerConnection) -> TargetVersion:
    """Return the server's version and the extensions that it offers. Raises ServerError."""
    number = int(execute_sql(toolbox, server, "postgres", "SHOW server_version_num"))
    asked = query_rows(
        toolbox, server, "postgres", "SELECT name, default_version AS version FROM pg_available_extensions"
    )
    return TargetVersion(number // 10000, number % 10000, {row["name"]: row["version"] for row in asked})


def _dump(toolbox: Toolbox, source: SourceServer, new: int, live: ServerConnection, folder: str) -> None:
    require_success("a folder for the schema", toolbox.sh('umask 077; rm -rf "$D"; mkdir "$D"', D=folder))
    execute_sql(toolbox, live, "postgres", queries.get("empty_lists"))
    words = ("--roles-only", "--no-role-passwords", "-f", f"{folder}/roles.sql")
    require_success("dumping the roles", toolbox.run(new, "pg_dumpall", *words, environment=live.environment))
    for number, database in enumerate(source.databases):
        done = toolbox.run(
            new, "pg_dump", "-Fd", "--schema-only", "-f", f"{folder}/{number}",
            environment=live.environment | {"PGDATABASE": database},
        )  # fmt: skip
        require_success(f"dumping the schema of {database}", done)


def _refuse_owners_code(toolbox: Toolbox, server: ServerConnection, source: SourceServer) -> None:
    query = queries.get("upgrade_owners_code")
    ran = [f"{name}: {row['name']}" for name in source.databases for row in query_rows(toolbox, server, name, query)]
    unseen = (each for kind in UNSEEN for each in source.all(kind))
    ran = [one_line(each) for each in (*ran, *unseen)]
    if ran:
        raise ServerError(
            "while PostgreSQL makes the schema it runs functions of the schema's owner, or may do so: "
            f"{', '.join(ran[:MOST])}\n"
            "  a CHECK of a domain, a generated column or a constraint of a partition calls them, or somebody added "
            "them to an extension (ALTER EXTENSION … DROP … takes them out); pg_upgrade would run "
            "them with a superuser's rights\n"
            "  change what calls them, or have it made with the owner's rights (down for as long as loading takes):\n"
            "    pgvector:upgradeMethod: dump"
        )


def _restore(
    toolbox: Toolbox, server: ServerConnection, folder: str, source: SourceServer, new: int, *, watched: bool
) -> None:
    as_owners.create_roles(toolbox, server, f"{folder}/roles.sql", source.superuser)
    try:
        as_owners.restore_dumps(
            toolbox, server, folder, source.databases, jobs=1, report=lambda _: None, watched=watched
        )
    except ServerError as error:
        parts = {name: found[1] for name, pattern in FAILED.items() if (found := pattern.search(str(error)))}
        if "error" not in parts:
            raise
        raise ServerError(
            f"rehearsed on an empty server: PostgreSQL {new} doesn't take {parts.get('entry', '?')}\n"
            f"    {parts['error']}\n    {parts.get('statement', '')[:300]}\n"
            "  change it in the running database, or choose a later release of the target"
        ) from None

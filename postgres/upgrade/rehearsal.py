"""Restores the live schema, without rows, into a scratch server of the target before anything stops.

It finds what pg_upgrade --check doesn't: PostgreSQL 17.12 writes an attribute option that 18.6 rejects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from postgres import queries
from postgres.errors import ServerError
from postgres.plain_text import one_line
from postgres.upgrade import as_owners
from postgres.upgrade.decision import Method, refusals
from postgres.upgrade.facts import Source, Target
from postgres.upgrade.finish import carry_settings
from postgres.upgrade.workshop import Server, Workshop, execute, must, rows, start, stop

UNSEEN = ("inherited_checks", "calling_domains", "owners_members")  # what may run in pg_upgrade and not in a rehearsal
MOST = 5  # functions that are told
# pg_restore's words
FAILED = {
    "entry": re.compile(r"from TOC entry \d+; \d+ \d+ (.*)"), "error": re.compile(r"(?:ERROR|FATAL): +(.*)"),
    "statement": re.compile(r"Command was: (.*)"),
}  # fmt: skip


def rehearse(
    workshop: Workshop,
    source: Source,
    new: int,
    live: Server,
    scratch: str,
    settings: Mapping[str, str],
    report: Callable[[str], None],
    *,
    method: Method,
) -> list[str]:
    """Returns the names of the settings that the target has. Raises ServerError with what the target doesn't take, and
    where pg_upgrade, which makes the schema as the superuser, would run code of an owner.
    """
    folder = f"{scratch}.dump"
    preload = {"shared_preload_libraries": source.preload} if source.preload else {}
    try:
        _dump(workshop, source, new, live, folder)
        counting = {"track_functions": "all"}  # which only a superuser can turn off
        server = start(workshop, new, scratch, {**settings, **preload, **counting}, source.superuser)
        try:
            if reasons := refusals(source, target_of(workshop, server)):
                raise ServerError("\n".join(reasons))
            _restore(workshop, server, folder, source, new, watched=method != "dump")
            if method != "dump":
                _refuse_owners_code(workshop, server, source)
            known = [row["name"] for row in rows(workshop, server, "postgres", "SELECT name FROM pg_settings")]
        finally:
            stop(workshop, new, scratch)
    finally:
        workshop.sh('rm -rf "$D"', D=folder)
    if lost := carry_settings(workshop, source, scratch, known):
        report(f"PostgreSQL {new} hasn't these settings any more, they are not carried over: {', '.join(lost)}")
    start(workshop, new, scratch, {**settings, **preload}, source.superuser)
    stop(workshop, new, scratch)
    report(f"rehearsed: PostgreSQL {new} takes the schema of {len(source.databases)} databases")
    return known


def target_of(workshop: Workshop, server: Server) -> Target:
    """Its version and the extensions it has. Raises ServerError."""
    number = int(execute(workshop, server, "postgres", "SHOW server_version_num"))
    asked = rows(workshop, server, "postgres", "SELECT name, default_version AS version FROM pg_available_extensions")
    return Target(number // 10000, number % 10000, {row["name"]: row["version"] for row in asked})


def _dump(workshop: Workshop, source: Source, new: int, live: Server, folder: str) -> None:
    must("a folder for the schema", workshop.sh('umask 077; rm -rf "$D"; mkdir "$D"', D=folder))
    execute(workshop, live, "postgres", queries.get("empty_lists"))
    words = ("--roles-only", "--no-role-passwords", "-f", f"{folder}/roles.sql")
    must("dumping the roles", workshop.run(new, "pg_dumpall", *words, environment=live.environment))
    for number, database in enumerate(source.databases):
        done = workshop.run(
            new, "pg_dump", "-Fd", "--schema-only", "-f", f"{folder}/{number}",
            environment=live.environment | {"PGDATABASE": database},
        )  # fmt: skip
        must(f"dumping the schema of {database}", done)


def _refuse_owners_code(workshop: Workshop, server: Server, source: Source) -> None:
    query = queries.get("upgrade_owners_code")
    ran = [f"{name}: {row['name']}" for name in source.databases for row in rows(workshop, server, name, query)]
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


def _restore(workshop: Workshop, server: Server, folder: str, source: Source, new: int, *, watched: bool) -> None:
    as_owners.make_roles(workshop, server, f"{folder}/roles.sql", source.superuser)
    try:
        as_owners.restore(workshop, server, folder, source.databases, jobs=1, report=lambda _: None, watched=watched)
    except ServerError as error:
        told = {name: found[1] for name, pattern in FAILED.items() if (found := pattern.search(str(error)))}
        if "error" not in told:
            raise
        raise ServerError(
            f"rehearsed on an empty server: PostgreSQL {new} doesn't take {told.get('entry', '?')}\n"
            f"    {told['error']}\n    {told.get('statement', '')[:300]}\n"
            "  change it in the running database, or choose a later release of the target"
        ) from None

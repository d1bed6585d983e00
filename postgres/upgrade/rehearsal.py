"""Restores the live schema, without rows, into a scratch server of the target before anything stops.

It finds what pg_upgrade --check doesn't: PostgreSQL 17.12 writes an attribute option that 18.6 rejects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from postgres.errors import ServerError
from postgres.upgrade.decision import refusals
from postgres.upgrade.facts import Source, Target
from postgres.upgrade.finish import carry_settings
from postgres.upgrade.methods import without_own_role
from postgres.upgrade.workshop import Server, Workshop, execute, must, rows, start, stop

FAILED_AT = re.compile(r":(\d+): (ERROR|FATAL): +(.*)")


def rehearse(
    workshop: Workshop,
    source: Source,
    new: int,
    live: Server,
    scratch: str,
    settings: Mapping[str, str],
    report: Callable[[str], None],
) -> list[str]:
    """Returns the names of the settings that the target has. Raises ServerError with what the target doesn't take."""
    schema = f"{scratch}.sql"
    preload = {"shared_preload_libraries": source.preload} if source.preload else {}
    try:
        done = workshop.run(
            new, "pg_dumpall", "--schema-only", "--no-role-passwords", "-f", schema, environment=live.environment
        )
        must("dumping the live schema", done)
        without_own_role(workshop, schema, source.superuser)
        server = start(workshop, new, scratch, {**settings, **preload}, source.superuser)
        try:
            if reasons := refusals(source, target_of(workshop, server)):
                raise ServerError("\n".join(reasons))
            _restore(workshop, server, schema, new)
            known = [row["name"] for row in rows(workshop, server, "postgres", "SELECT name FROM pg_settings")]
        finally:
            stop(workshop, new, scratch)
    finally:
        workshop.sh('rm -f "$F"', F=schema)
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


def _restore(workshop: Workshop, server: Server, schema: str, new: int) -> None:
    done = workshop.run(
        new, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", schema, environment=server.environment
    )
    if done.code == 0:
        return
    at = FAILED_AT.search(done.output)
    if at is None:
        raise ServerError(f"PostgreSQL {new} doesn't take the schema\n{done.tail()}")
    line = int(at[1])
    script = 'head -n "$L" "$F" | grep "^-- Name: " | tail -n 1; sed -n "$L"p "$F"'
    named = workshop.sh(f"{script} || true", F=schema, L=str(line)).output.strip().splitlines()
    what = named[0].removeprefix("-- Name: ") if named else "?"
    statement = named[-1].strip() if named else ""
    raise ServerError(
        f"rehearsed on an empty server: PostgreSQL {new} doesn't take {what}\n    {at[3]}\n    {statement[:300]}\n"
        "  change it in the running database, or choose a later release of the target"
    )

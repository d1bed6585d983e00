"""The last work on a new server before it accepts clients: settings, extensions, collations, statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pgvector_stacks.common import queries
from pgvector_stacks.toolbox.interface import (
    Report,
    ServerConnection,
    Toolbox,
    execute_sql,
    query_rows,
    require_success,
)
from pgvector_stacks.upgrade.checks import collations
from pgvector_stacks.upgrade.decision import Reindex
from pgvector_stacks.upgrade.facts import CollatedIndex, SourceServer, parse_collated_indexes

# Settings that initdb writes for the new version, or that name the old server's places.
NOT_CARRIED = frozenset({
    "data_directory", "hba_file", "ident_file", "port", "listen_addresses", "unix_socket_directories",
    "primary_conninfo", "ssl", "ssl_cert_file", "ssl_key_file",
})  # fmt: skip


def carry_settings(toolbox: Toolbox, source: SourceServer, directory: str, known: Iterable[str]) -> list[str]:
    """Append the old server's hand-made settings to the new directory's files, if the new version knows them.

    Return the names of the unknown ones. Raises ServerError.
    """
    there, lost = set(known), []
    for name, settings in (("postgresql.conf", source.written), ("postgresql.auto.conf", source.altered)):
        lines = []
        for setting, value in sorted(settings.items()):
            if setting in NOT_CARRIED:
                continue
            if setting in there or "." in setting:
                lines.append(f"{setting} = {_quoted(value)}")
            else:
                lost.append(setting)
        if lines:
            text = "\n".join(["", f"# carried over from PostgreSQL {source.major}", *lines, ""])
            done = toolbox.sh('printf %s "$TEXT" >>"$FILE"', TEXT=text, FILE=f"{directory}/{name}")
            require_success(f"writing {name}", done)
    return lost


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


KnownIndexes = Mapping[str, Sequence[CollatedIndex]]


def finish_databases(
    toolbox: Toolbox, server: ServerConnection, databases: Iterable[str], report: Report, *, statistics: bool,
    known: KnownIndexes | None = None, reindex: Reindex = "before",
) -> None:  # fmt: skip
    """Update extensions and rebuild indexes in every database, template1 included. Raises ServerError.

    `statistics`: collect rough statistics, because pg_upgrade transferred none; `known`: the old server's text indexes
    by database, None if unknown. The order matters: REINDEX first, then record the new version of a collation.
    """
    for database in databases:
        for line in _update_extensions(toolbox, server, database):
            report(line)
        for line in _rebuild_indexes(toolbox, server, database, known, reindex):
            report(line)
        if statistics:
            # A small sample of each table gives usable plans, until `statistics.analyze_missing` runs.
            execute_sql(toolbox, server, database, "SET default_statistics_target = 1", then=("ANALYZE",))


def _update_extensions(toolbox: Toolbox, server: ServerConnection, database: str) -> list[str]:
    query = """SELECT e.extname AS name, quote_ident(e.extname) AS quoted, e.extversion AS was, a.default_version AS now
                 FROM pg_extension e JOIN pg_available_extensions a ON a.name = e.extname
                WHERE a.default_version <> e.extversion"""
    found = []
    for row in query_rows(toolbox, server, database, query):
        execute_sql(toolbox, server, database, f"ALTER EXTENSION {row['quoted']} UPDATE")
        found.append(f"{row['name']} {row['was']} → {row['now']} in {database}")
    return found


def _rebuild_indexes(
    toolbox: Toolbox, server: ServerConnection, database: str, known: KnownIndexes | None, reindex: Reindex
) -> list[str]:  # fmt: skip
    """Rebuild indexes sorted by another version of the C library or ICU, or leave them to `reindex_stale_indexes`."""
    changed = query_rows(toolbox, server, database, queries.get("upgrade_collations"))
    now = parse_collated_indexes(query_rows(toolbox, server, database, queries.get("upgrade_collation_indexes")))
    wrong = list(now) if changed else []
    if known is not None:
        wrong = collations.find_misordered(known.get(database, ()), now)
    if not changed and not wrong:
        return []
    later = [index for index in wrong if index.stale] if reindex == "after" else []
    done = [index for index in wrong if index not in later]
    for index in done:
        execute_sql(toolbox, server, database, f"REINDEX INDEX {index.name}")
    versions = ", ".join(f"{row['what']} {row['recorded']} → {row['actual']}" for row in changed)
    said = [f"collations: {len(done)} indexes of {database} rebuilt ({versions})"] if done or not later else []
    if later:
        # The old version stays recorded, so that PostgreSQL warns, and the indexes are found again after a kill.
        return [
            *said,
            f"collations: {len(later)} indexes of {database} wait ({versions}): {collations.describe_risk(later)}",
        ]
    for row in changed:
        execute_sql(toolbox, server, database, row["refresh"])
    return said

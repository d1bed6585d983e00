"""Carries pgstack's record of the schema over to another major version.

Another major version prints the same definitions differently, which isn't drift. So: find what has drifted under the
old version, and record everything else again under the new version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from psycopg import sql

from pgvector_stacks.common import queries
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.toolbox.interface import ServerConnection, Toolbox, execute_sql, query_rows

DriftByDatabase = Mapping[str, Sequence[Mapping[str, str]]]


def session_settings_sql(written: int = schema_drift.FORMAT) -> str:
    """Return the SET statements that `schema_drift.find_drift` uses. `written`: the format of the record."""
    wanted = (*schema_drift.list_format_settings(written), *schema_drift.PLANS)
    return "".join(f"SET {setting};" for setting in wanted)


def find_drift_by_database(toolbox: Toolbox, server: ServerConnection, databases: Iterable[str]) -> DriftByDatabase:
    """Return kind and identity of what differs from the record, by database. Skip databases without a record.

    Raises ServerError.
    """
    found = {}
    for database in databases:
        if (written := _record_format(toolbox, server, database)) is not None:
            asked = query_rows(
                toolbox,
                server,
                database,
                schema_drift.build_comparison_query(written),
                first=session_settings_sql(written),
            )
            found[database] = [{"kind": row["kind"], "identity": row["identity"]} for row in asked]
    return found


def find_drift(toolbox: Toolbox, server: ServerConnection, database: str) -> list[tuple[str, str]]:
    """Return kind and identity of what has drifted in a database; empty without a record. Raises ServerError."""
    written = _record_format(toolbox, server, database)
    if written is None:
        return []
    asked = query_rows(
        toolbox, server, database, schema_drift.build_comparison_query(written), first=session_settings_sql(written)
    )
    return [(row["kind"], row["identity"]) for row in asked if not row["grown"]]


def record_again(toolbox: Toolbox, server: ServerConnection, before: DriftByDatabase) -> None:
    """Record again what had not drifted. Raises ServerError."""
    for database, differences in before.items():
        literal = sql.Literal(json.dumps(differences)).as_string(None)
        table = (
            "CREATE TEMPORARY TABLE drifted AS SELECT kind, identity"
            f" FROM pg_catalog.json_to_recordset({literal}) AS found(kind text, identity text);"
        )
        execute_sql(toolbox, server, database, f"{session_settings_sql()} {table} {schema_drift.build_renewal_query()}")


def _record_format(toolbox: Toolbox, server: ServerConnection, database: str) -> int | None:
    """Return the format of the database's record; None if it has no record."""
    there = query_rows(toolbox, server, database, "SELECT to_regclass('pgstack.object') IS NOT NULL AS there")[0][
        "there"
    ]
    asked = query_rows(toolbox, server, database, queries.get("recorded_format")) if there else []
    return int(asked[0]["format"]) if asked and asked[0]["format"] is not None else None

"""Looking for drift grows with the schema, not with its square."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from psycopg import Connection

from pgvector_stacks.backup.recorded_schema import session_settings_sql
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from tests.conftest import FreshDatabase

TABLES = 300


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@pytest.mark.parametrize("prepare", [schema_drift.qualify_names, lambda c: c.execute(session_settings_sql().encode())])
def test_no_pair_of_objects_is_looked_at(
    fresh_database: FreshDatabase, prepare: Callable[[Connection[Any]], object]
) -> None:
    """The planner takes the comments for one row, and searched all of them for each table: 5,000 tables took 4 s."""
    fresh_database.do(
        f"DO $$ BEGIN FOR n IN 1..{TABLES} LOOP EXECUTE format('CREATE TABLE app.many%1$s (id bigint GENERATED ALWAYS"
        " AS IDENTITY PRIMARY KEY, name text); COMMENT ON TABLE app.many%1$s IS %1$L', n); END LOOP; END $$"
    )
    with connect(fresh_database.admin) as connection, connection.transaction(force_rollback=True):
        prepare(connection)
        row = connection.execute(
            b"EXPLAIN (ANALYZE, FORMAT JSON) " + schema_drift.build_comparison_query().encode()
        ).fetchone()
    assert row is not None
    (found,) = json.loads(row[0]) if isinstance(row[0], str) else row[0]
    in_vain = {
        f"{node['Node Type']} {node.get('Alias', '')}": node.get(key, 0) * node["Actual Loops"]
        for node in nodes(found["Plan"]) for key in ("Rows Removed by Join Filter", "Rows Removed by Filter")
        if node.get(key, 0) * node["Actual Loops"] > TABLES * TABLES // 4
    }  # fmt: skip
    assert in_vain == {}

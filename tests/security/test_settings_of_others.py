"""What a script sets for the database and for its owner keeps nobody of ours out, and makes no question of ours lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_stacks.backup.create import create
from pgvector_stacks.common.errors import ConnectionFailed
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift, validation
from tests.conftest import FreshDatabase, script

TABLE = script(
    """
    CREATE TABLE app.one (i int, d date DEFAULT '2026-02-01', f float8 DEFAULT 0.1, b bytea DEFAULT '\\x01',
        t timestamptz DEFAULT '2026-01-02 03:04+00', "select" int, v vector(3), CHECK (d > '2025-01-01'));
    CREATE INDEX ON app.one USING hnsw (v vector_l2_ops);
    INSERT INTO app.one (i, v) SELECT i, ('[1,2,' || i || ']')::vector FROM generate_series(1, 30) AS i;
    """,
    "0004_table.sql",
)
# All that a role without powers can set and that was found, or feared, to get at us
SETTINGS = {
    "local_preload_libraries": "nosuch", "transaction_timeout": "300ms", "statement_timeout": "1ms",
    "temp_buffers": "4TB", "lock_timeout": "1ms", "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "row_security": "off", "default_transaction_isolation": "serializable", "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on", "check_function_bodies": "off", "password_encryption": "md5",
    "extra_float_digits": "-15", "quote_all_identifiers": "on", "xmloption": "document", "array_nulls": "off",
    "DateStyle": "German", "IntervalStyle": "sql_standard", "bytea_output": "escape", "TimeZone": "Asia/Kathmandu",
    "client_encoding": "latin1", "client_min_messages": "error", "standard_conforming_strings": "off",
    "transform_null_equals": "on", "enable_indexscan": "off", "enable_bitmapscan": "off", "enable_sort": "off",
    "random_page_cost": "100000", "debug_parallel_query": "on", "plan_cache_mode": "force_generic_plan",
    "constraint_exclusion": "on", "hnsw.ef_search": "1", "ivfflat.probes": "1", "hnsw.max_scan_tuples": "1",
    "plpgsql.variable_conflict": "use_column", "plpgsql.extra_errors": "all", "search_path": "nowhere",
}  # fmt: skip


@pytest.mark.parametrize("whose", ["DATABASE {name}", "ROLE schema_owner IN DATABASE {name}"])
def test_what_is_set_gets_at_nothing_of_ours(fresh_database: FreshDatabase, whose: str, tmp_path: Path) -> None:
    stack = fresh_database
    stack.apply(TABLE)
    of = f"ALTER {whose.format(name=stack.admin.database)} SET "
    with connect(stack.admin) as connection:
        connection.execute("LOAD 'vector'")
        for name, value in SETTINGS.items():
            connection.execute(f"{of}{name} = '{value}'".encode())
    if whose.startswith("DATABASE"):
        with pytest.raises(ConnectionFailed, match=r"loads a library .*\n.*takes local_preload_libraries"):
            stack.ask("SELECT 1")
        with stack.programs(tmp_path / "root") as (toolbox, server):
            create(toolbox, server, tmp_path / "backups", stack="test", database=stack.admin.database)
    check = script("SELECT 'no rows' WHERE NOT EXISTS (SELECT FROM app.one)", "verify/1.sql")
    more = script(
        "UPDATE app.one SET i = i; CREATE TABLE app.two (t timestamptz DEFAULT '2026-01-02 03:04+00')", "0005.sql"
    )
    for scripts in ((TABLE,), (TABLE, more)):
        with connect(stack.admin) as connection:
            assert schema_drift.describe_drift(connection) == ()
            assert validation.validate(connection, validation.ServerRequirements()).failures == {}
        stack.apply(*scripts, verify=(check,))
    with connect(stack.admin) as connection:
        assert schema_drift.describe_drift(connection) == ()

"""What somebody changes by hand while a group of scripts runs stays drift: the scripts' record takes none of it."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.migrations import apply
from tests.conftest import FreshDatabase, script

LOCK = 4711
FIRST = script(
    """
    CREATE SCHEMA s;
    CREATE TABLE s.u (i int, j int);
    CREATE TABLE s.log (at date) PARTITION BY RANGE (at);
    CREATE VIEW s.seen AS SELECT i FROM s.u;
    CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    """,
    "0001.sql",
)
WAITS = f"SELECT pg_advisory_xact_lock({LOCK}); "
# what a hand does, what the script does after it, and the drift that is left
CASES = {
    "tables and columns": (
        "ALTER TABLE s.u ADD hand int DEFAULT 3; CREATE TABLE s.hand (id serial PRIMARY KEY)",
        "CREATE TABLE s.z (i int)",
        (
            "column s.u.hand was added", "table s.hand was added",
        ),
    ),
    "what else a schema has": (
        "CREATE INDEX hand ON s.u (j); CREATE OR REPLACE VIEW s.seen AS SELECT i + 1 AS i FROM s.u;"
        "CREATE OR REPLACE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 2'; CREATE SCHEMA other;"
        "CREATE TYPE s.mood AS ENUM ('x'); CREATE POLICY p ON s.u USING (true);"
        "CREATE RULE r AS ON DELETE TO s.u DO INSTEAD NOTHING; ALTER TABLE s.u ADD CONSTRAINT c CHECK (i > 0);"
        "CREATE FUNCTION s.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';"
        "CREATE TRIGGER t BEFORE INSERT ON s.u FOR EACH ROW EXECUTE FUNCTION s.t()",
        "CREATE TABLE s.z (i int)",
        (
            "constraint s.u.c was added", "enum s.mood was added", "function s.f() was changed",
            "function s.t() was added", "index s.u.hand was added", "policy s.u.p was added", "rule s.u.r was added",
            "schema other was added", "trigger s.u.t was added", "view s.seen was changed",
        ),
    ),
    "rights and comments": (
        "REVOKE SELECT ON s.u FROM readonly; COMMENT ON COLUMN s.u.j IS 'by hand'", "CREATE TABLE s.z (i int)",
        ("column s.u.j was changed", "table s.u was changed: readonly lost SELECT"),
    ),
    "a script that writes it afterwards": (
        "CREATE OR REPLACE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 2'",
        "CREATE OR REPLACE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 3'",
        (),
    ),
    "a savepoint of the script": (
        "SELECT 1", "DO 'BEGIN CREATE TABLE s.z (i int); EXCEPTION WHEN others THEN END'", (),
    ),
    "what the application makes and uses": (
        "SET ROLE schema_owner;"
        "CREATE TABLE s.log_1 PARTITION OF s.log FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        "CREATE TEMPORARY TABLE own (i int); INSERT INTO s.u VALUES (1, 2); ANALYZE; RESET ROLE; REINDEX DATABASE",
        "CREATE TABLE s.z (i int)",
        (),
    ),
}  # fmt: skip


@pytest.mark.promise("A change by hand while scripts run is drift")
@pytest.mark.parametrize("case", CASES)
def test_what_a_hand_changes_while_scripts_run_stays_drift(empty_database: FreshDatabase, case: str) -> None:
    by_hand, then, left = CASES[case]
    database = empty_database
    apply.apply(database.admin, database.request(scripts=(FIRST,)))
    second = database.request(scripts=(FIRST, script(WAITS + then, "0002.sql")), lock_timeout_s=60.0)
    with connect(database.admin) as hand, ThreadPoolExecutor() as pool:
        hand.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        running = pool.submit(apply.apply, database.admin, second)
        try:
            wait_for(database)
            for statement in re.split(r";(?! END)", by_hand):
                hand.execute(statement.encode())
        finally:
            hand.execute("SELECT pg_advisory_unlock_all()")
        running.result()
    with connect(database.admin) as connection:
        found = schema_drift.describe_differences(schema_drift.find_drift(connection))
    assert len(found) == len(left), found
    for line, words in zip(found, left, strict=True):
        assert line.startswith(words), found


def wait_for(database: FreshDatabase) -> None:
    """Until the script waits for the lock."""
    deadline = time.monotonic() + 60
    while not database.ask(f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK} AND NOT granted"):
        assert time.monotonic() < deadline
        time.sleep(0.02)

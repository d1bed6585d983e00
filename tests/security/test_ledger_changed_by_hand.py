"""What a superuser changes by hand on the ledger's own tables and functions is told, and the next `up` puts it back."""

from __future__ import annotations

import psycopg
import pytest

from pgvector_stacks.cli import inspection
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import rerun_reasons
from tests.conftest import FreshDatabase

NOTHING = "CREATE FUNCTION app.nothing() RETURNS trigger LANGUAGE plpgsql AS 'begin return null; end'; "
CHANGES = {
    "ALTER TABLE pgstack.event DISABLE TRIGGER append_only": "trigger append_only of pgstack.event was changed",
    "ALTER TABLE pgstack.event ENABLE REPLICA TRIGGER append_only": "trigger append_only of pgstack.event was changed",
    "DROP TRIGGER append_only ON pgstack.event": "trigger append_only of pgstack.event is gone",
    "DROP TRIGGER append_only ON pgstack.event; CREATE TRIGGER append_only BEFORE UPDATE ON pgstack.event"
    " FOR EACH STATEMENT EXECUTE FUNCTION pgstack.refuse_change()":
        "trigger append_only of pgstack.event was changed: CREATE TRIGGER append_only BEFORE UPDATE ON",
    f"{NOTHING}CREATE TRIGGER swallow BEFORE INSERT ON pgstack.event FOR EACH ROW EXECUTE FUNCTION app.nothing()":
        "trigger swallow of pgstack.event isn't pgstack's",
    "CREATE RULE quiet AS ON INSERT TO pgstack.event DO INSTEAD NOTHING": "rule quiet of pgstack.event isn't pgstack's",
    "ALTER TABLE pgstack.ledger ENABLE ROW LEVEL SECURITY": "row security of pgstack.ledger isn't pgstack's",
    "CREATE POLICY none ON pgstack.ledger USING (false)": "policy none of pgstack.ledger isn't pgstack's",
    "ALTER TABLE pgstack.ledger DROP CONSTRAINT ledger_pkey": "constraint ledger_pkey of pgstack.ledger is gone",
    "ALTER TABLE pgstack.event ADD CONSTRAINT deaf CHECK (kind <> 'failed')":
        "constraint deaf of pgstack.event isn't pgstack's: CHECK",
    "ALTER TABLE pgstack.event ALTER by_whom DROP NOT NULL": "not null by_whom of pgstack.event is gone",
    "ALTER TABLE pgstack.event ALTER revision SET NOT NULL": "not null revision of pgstack.event isn't pgstack's",
    "ALTER TABLE pgstack.event ALTER at SET DEFAULT 'epoch'": "default at of pgstack.event was changed: '1970",
    "ALTER TABLE pgstack.ledger ALTER \"position\" SET DEFAULT 1": "default position of pgstack.ledger isn't pgstack's",
    "ALTER TABLE pgstack.event SET UNLOGGED": "unlogged of pgstack.event isn't pgstack's",
    'CREATE TABLE app."a b" () INHERITS (pgstack.ledger)': 'child app."a b" of pgstack.ledger isn\'t pgstack\'s',
    "CREATE OR REPLACE FUNCTION pgstack.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'begin return null; end'":
        "function pgstack.refuse_change() was changed",
    "ALTER FUNCTION pgstack.land RESET search_path": "function pgstack.land(jsonb) was changed",
    "ALTER FUNCTION pgstack.land SECURITY INVOKER": "function pgstack.land(jsonb) was changed",
    "CREATE FUNCTION pgstack.land() RETURNS void LANGUAGE sql AS ''": "function pgstack.land() isn't pgstack's",
    "DROP FUNCTION pgstack.land": "function pgstack.land(jsonb) is gone",
    "DROP TABLE pgstack.statement": "table of pgstack.statement is gone",
}  # fmt: skip


def told(database: FreshDatabase) -> tuple[str, ...]:
    with connect(database.admin) as connection:
        return rerun_reasons.find_reasons(connection, rerun_reasons.DeployedDatabase(database.admin))


@pytest.mark.promise("A change by hand on the ledger's own tables is told, and the next `up` takes it back")
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_told_and_the_next_up_takes_it_back(fresh_database: FreshDatabase, change: str) -> None:
    fresh_database.apply()
    assert told(fresh_database) == ()
    fresh_database.do(change)
    (line,) = told(fresh_database)
    assert line.startswith(CHANGES[change])
    said: list[str] = []
    inspection.status(inspection.DatabaseAddresses(fresh_database.admin), "local", said.append)
    assert f"drift    {line} (`up` fixes it)" in said
    fresh_database.apply()
    assert told(fresh_database) == ()
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        fresh_database.do("DELETE FROM pgstack.event")


def test_all_changes_at_once_are_taken_back(fresh_database: FreshDatabase) -> None:
    fresh_database.do(";".join(change for change in CHANGES if not change.startswith(("DROP TRIGGER", "DROP FUNCTION"))
                               and "DROP TABLE" not in change))  # fmt: skip
    assert len(told(fresh_database)) == 16
    fresh_database.apply()
    assert told(fresh_database) == ()


def test_rows_that_fit_no_constraint_any_more_stop_the_up_with_the_reason(fresh_database: FreshDatabase) -> None:
    fresh_database.do(
        "ALTER TABLE pgstack.event DISABLE TRIGGER append_only; ALTER TABLE pgstack.ledger DROP CONSTRAINT ledger_pkey;"
        "INSERT INTO pgstack.ledger SELECT * FROM pgstack.ledger LIMIT 1"
    )
    before = told(fresh_database)
    with pytest.raises(
        PgstackError, match=r"the ledger can't be put right: could not create unique index.*\n  look at"
    ):
        fresh_database.apply()
    assert told(fresh_database) == before
    fresh_database.do("DELETE FROM pgstack.ledger WHERE ctid = (SELECT max(ctid) FROM pgstack.ledger)")
    fresh_database.apply()
    assert told(fresh_database) == ()

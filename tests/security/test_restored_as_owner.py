"""A drill runs nothing with an administrator's rights of what a script left to trick it.

A restore and an upgrade by dump load in the same way. `tests/postgres/test_who_runs.py` has the ordinary ways in which
code runs meanwhile.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_stacks.backup import store
from pgvector_stacks.backup.create import create
from pgvector_stacks.backup.drill import drill
from pgvector_stacks.backup.manifest import UNSIGNED
from tests.conftest import FreshDatabase, script

# Writes a file, as only a superuser may
TRAP = """
CREATE SCHEMA app;
CREATE FUNCTION app.trap(t text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('COPY (SELECT current_user) TO %L', 'FOLDER/' || t);
    RETURN true;
EXCEPTION WHEN OTHERS THEN RETURN true;
END $$;
"""
# The owner of a database is a member of pg_database_owner, and so may give away what it owns
GIVEN_AWAY = """
CREATE DOMAIN app.checked AS text CHECK (app.trap(value));
CREATE FUNCTION app.step(app.checked, int) RETURNS app.checked LANGUAGE sql AS 'SELECT $1';
CREATE AGGREGATE app.given (int) (SFUNC = app.step, STYPE = app.checked, INITCOND = 'aggregate');
CREATE TABLE app.rows (word app.checked CHECK (app.trap(word)));
INSERT INTO app.rows VALUES ('row');
GRANT CREATE ON SCHEMA app TO pg_database_owner;
ALTER AGGREGATE app.given (int) OWNER TO pg_database_owner;
ALTER TABLE app.rows OWNER TO pg_database_owner;
"""
# The owner of a schema may drop what others have in it
SWAPPED = """
CREATE FUNCTION app.swap(t text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF session_user = 'pgstack_loading' THEN
        DROP TABLE app.of_superuser;
        CREATE TABLE app.of_superuser (word text CHECK (app.trap(word)));
        ALTER TABLE app.of_superuser OWNER TO schema_owner;
    END IF;
    RETURN true;
EXCEPTION WHEN insufficient_privilege THEN RETURN true;
END $$;
CREATE TABLE app.rows (word text CHECK (app.swap(word)));
INSERT INTO app.rows VALUES ('row');
"""


@pytest.mark.promise("What a script gave to pg_database_owner runs no code as a superuser when a backup is drilled")
def test_what_is_given_to_the_databases_owner_is_made_with_its_rights(
    empty_database: FreshDatabase, tmp_path: Path
) -> None:
    assert drilled(empty_database, GIVEN_AWAY, tmp_path) == []


@pytest.mark.promise("No script's code takes the place of a superuser's table while a backup is drilled")
def test_a_superusers_table_is_not_swapped_before_its_rows_come(empty_database: FreshDatabase, tmp_path: Path) -> None:
    by_hand = "CREATE TABLE app.of_superuser AS SELECT 'row of a superuser' AS word"
    assert drilled(empty_database, SWAPPED, tmp_path, by_hand) == []


def drilled(database: FreshDatabase, text: str, folder: Path, by_hand: str = "") -> list[str]:
    """Run the script, then what a superuser does by hand, back up and drill. Return what ran as a superuser."""
    (traces := folder / "ran").mkdir()
    first = script(TRAP.replace("FOLDER", str(traces)) + text, "0001_first.sql")
    database.apply(scripts=(first,))
    if by_hand:
        database.do(by_hand)
    with database.programs(folder / "root") as (toolbox, server):
        create(toolbox, server, folder / "backups", stack="test", database=database.admin.database)
        backup = store.find_backup(folder / "backups", None)
        assert drill(toolbox, backup, trust=UNSIGNED, vector_indexes=True).problems == ()
    return [path.name for path in traces.iterdir()]

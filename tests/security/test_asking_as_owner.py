"""What an owner wrote runs while we ask about the tables: with the owner's rights, and it changes no later question."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_stacks.backup.restoring import restore_database
from pgvector_stacks.upgrade.checks import quick_check, verify
from tests.conftest import FreshDatabase, script

# run by the planner for the constant in the index of the first table; the second one is asked behind it
EVIL = r"""
CREATE TABLE app.a1 (id int); INSERT INTO app.a1 VALUES (1);
CREATE TABLE app.a2 (id int); INSERT INTO app.a2 VALUES (2);
CREATE FUNCTION app.evil() RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    ours record;
    body text := $b$BEGIN
        IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
            EXECUTE 'ALTER ROLE app SUPERUSER';
        END IF;
        RETURN QUERY SELECT '1|1'::text;
    END $b$;
BEGIN
    BEGIN
        EXECUTE 'CREATE FUNCTION pg_temp.pgstack_ask(text, text) RETURNS SETOF text LANGUAGE plpgsql AS '
            || quote_literal(body);
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    BEGIN
        EXECUTE 'SET transaction_read_only = off';
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    FOR ours IN SELECT proname FROM pg_catalog.pg_proc
                 WHERE pronamespace = pg_my_temp_schema() AND pg_get_userbyid(proowner) = current_user LOOP
        BEGIN
            EXECUTE format('CREATE OR REPLACE FUNCTION pg_temp.%I(query text) RETURNS SETOF text', ours.proname)
                || ' LANGUAGE plpgsql AS ' || quote_literal(body);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
END $f$;
CREATE FUNCTION app.fold(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM app.evil(); RETURN t; END';
CREATE INDEX folded ON app.a1 ((app.fold('x') || id::text));
"""
# the planner computes the constants of a child's CHECK to leave it out
CHILD = r"""
CREATE FUNCTION app.strike(t text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        EXECUTE 'ALTER ROLE app SUPERUSER';
    END IF;
    RETURN 1;
END $$;
CREATE TABLE app.parent (id int, v vector(2));
INSERT INTO app.parent SELECT i, ARRAY[i, 1]::vector FROM generate_series(1, 9) AS i;
CREATE INDEX ON app.parent USING hnsw (v vector_l2_ops);
CREATE TABLE app.child (CHECK (id > app.strike('x') - 100)) INHERITS (app.parent);
"""
# asks as another owner, by the functions that we made for that one
OTHER = r"""
CREATE FUNCTION app.ask(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $f$
DECLARE ours record;
BEGIN
    FOR ours IN SELECT proname FROM pg_catalog.pg_proc
                 WHERE pronamespace = pg_my_temp_schema() AND proname ~ '^of ' LOOP
        BEGIN
            EXECUTE format('SELECT pg_temp.%I(%L)', ours.proname, 'SELECT others.writes()::text');
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END;
    END LOOP;
    RETURN t;
END $f$;
CREATE TABLE app.asks (id int);
CREATE INDEX folded ON app.asks ((app.ask('x') || id::text));
INSERT INTO app.asks VALUES (1);
"""
BY_HAND = r"""
CREATE ROLE other_owner; GRANT pg_write_server_files TO other_owner; CREATE SCHEMA others AUTHORIZATION other_owner;
CREATE FUNCTION others.writes() RETURNS int LANGUAGE plpgsql AS $f$
BEGIN EXECUTE 'COPY (SELECT 1) TO ''FILE'''; RETURN 1; END $f$;
CREATE TABLE others.rows (i int);
REVOKE ALL ON FUNCTION others.writes FROM PUBLIC;
ALTER FUNCTION others.writes OWNER TO other_owner; ALTER TABLE others.rows OWNER TO other_owner;
GRANT USAGE ON SCHEMA others TO PUBLIC;
"""


def powers(database: FreshDatabase) -> list[tuple[object, ...]]:
    return database.ask("SELECT rolname FROM pg_roles WHERE rolsuper ORDER BY 1")


@pytest.mark.promise("What a table's owner wrote never runs as the superuser")
@pytest.mark.parametrize("question", ["upgrade verify", "fingerprint", "backup"])
def test_what_an_owner_wrote_makes_no_function_of_ours_anew(
    fresh_database: FreshDatabase, tmp_path: Path, question: str
) -> None:
    fresh_database.apply(script(EVIL))
    name, before = fresh_database.admin.database, powers(fresh_database)
    with fresh_database.programs(tmp_path / "ws") as (toolbox, server):
        if question == "upgrade verify":
            found = verify._sum_tables(toolbox, server, name, ["app.a1", "app.a2"])
            assert [each.count for each in found.values()] == [1, 1]
            assert found["app.a1"] != found["app.a2"]
        elif question == "fingerprint":
            assert f"{name}: table app.a2" in quick_check.take_fingerprint(toolbox, server, [name], exact=True)
        else:
            assert restore_database.query_contents(toolbox, server, name).rows["app.a2"] == 1
    assert powers(fresh_database) == before


def test_what_an_owner_wrote_asks_as_no_other_owner(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    fresh_database.do(BY_HAND.replace("FILE", str(tmp_path / "written")))
    try:
        fresh_database.apply(script(OTHER))
        with fresh_database.programs(tmp_path / "ws") as (toolbox, server):
            restore_database.query_contents(toolbox, server, fresh_database.admin.database)
        assert not (tmp_path / "written").exists()
    finally:
        fresh_database.do("DROP OWNED BY other_owner; DROP ROLE other_owner")


def test_a_vector_index_is_asked_as_its_owner_where_a_child_computes(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    fresh_database.apply(script(CHILD))
    before = powers(fresh_database)
    with fresh_database.programs(tmp_path / "ws") as (toolbox, server):
        quick_check.check_vector_indexes(toolbox, server, [fresh_database.admin.database])
    assert powers(fresh_database) == before


@pytest.mark.parametrize(
    "closing", ["ALTER DATABASE %I CONNECTION LIMIT 0", "REVOKE ALL ON DATABASE %I FROM schema_owner"]
)
def test_a_script_locks_no_later_up_out(fresh_database: FreshDatabase, closing: str) -> None:
    closes = script(f"DO $$ BEGIN EXECUTE format('{closing}', current_database()); END $$", "0004_closes.sql")
    fresh_database.apply(closes)
    fresh_database.apply(closes, script("CREATE TABLE app.later (i int)", "0005_later.sql"))
    assert fresh_database.ask("SELECT count(*) FROM app.later") == [(0,)]

"""Vector indexes are asked as the owner of their table, and what can't be compared is said."""

from __future__ import annotations

import pytest

from pgvector_stacks.connections.connection import INSPECTION_OPTIONS, connect
from pgvector_stacks.inspection.validation import ServerRequirements, ValidationReport, validate
from tests.conftest import FreshDatabase, script

CHECK = "existing vector indexes"


def report(database: FreshDatabase, *accepted: str) -> ValidationReport:
    with connect(database.admin, options=INSPECTION_OPTIONS) as connection:
        return validate(connection, ServerRequirements(settings=database.server.settings, accepted=accepted))


def apply(database: FreshDatabase, text: str) -> None:
    database.apply(script(text))


# Each note says who runs it; it is raised, since all that a question does is undone.
WHO = """
CREATE SEQUENCE app.superusers; CREATE SEQUENCE app.calls;
CREATE FUNCTION app.note() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE super boolean;
BEGIN
  BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN EXECUTE 'SET ROLE postgres'; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; EXCEPTION WHEN OTHERS THEN NULL; END;
  SELECT rolsuper INTO super FROM pg_catalog.pg_roles WHERE rolname = current_user;
  PERFORM pg_catalog.nextval('app.calls');  -- a number that was drawn stays drawn
  IF super THEN PERFORM pg_catalog.nextval('app.superusers'); END IF;
  RETURN true;
END $$;
CREATE FUNCTION app.format(f text, a name, b name) RETURNS text LANGUAGE sql AS
  $$ SELECT a || '.' || b FROM (SELECT app.note()) AS n $$;
CREATE FUNCTION app.greatest(a real, b int) RETURNS real LANGUAGE sql AS $$ SELECT a FROM (SELECT app.note()) AS n $$;
CREATE FUNCTION app.same(v public.vector) RETURNS public.vector LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN PERFORM app.note(); RETURN v; END $$;
CREATE FUNCTION app.far(a public.vector, b public.vector) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN PERFORM app.note(); RETURN 7; END $$;
CREATE OPERATOR app.<-> (LEFTARG = public.vector, RIGHTARG = public.vector, FUNCTION = app.far);
CREATE FUNCTION app.equal(a name, b text) RETURNS boolean LANGUAGE plpgsql AS
  $$ BEGIN PERFORM app.note(); RETURN a OPERATOR(pg_catalog.=) b::name; END $$;
CREATE OPERATOR app.= (LEFTARG = name, RIGHTARG = text, FUNCTION = app.equal);
CREATE TABLE app.item (id int, v public.vector(3));
INSERT INTO app.item SELECT i, ARRAY[i, i % 7, i % 5]::public.vector FROM generate_series(1, 60) i;
CREATE INDEX item_v ON app.item USING hnsw ((app.same(v)::public.vector(3)) public.vector_l2_ops) WHERE app.note();
"""


def drawn(database: FreshDatabase, sequence: str) -> int:
    return int(database.ask(f"SELECT coalesce(pg_sequence_last_value('{sequence}'), 0)")[0][0])


def test_nothing_that_an_owner_wrote_runs_as_superuser(fresh_database: FreshDatabase) -> None:
    apply(fresh_database, WHO)
    before = drawn(fresh_database, "app.calls")
    found = report(fresh_database)
    assert "1 agree with the exact scan" in found.results[CHECK]
    assert found.failures == {}
    assert drawn(fresh_database, "app.calls") > before  # the index's own functions did run
    assert drawn(fresh_database, "app.superusers") == 0


def test_a_superusers_table_is_asked_only_where_nobody_wrote_code_for_it(fresh_database: FreshDatabase) -> None:
    apply(fresh_database, WHO + "CREATE FUNCTION app.three() RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
          " $$ BEGIN PERFORM app.note(); RETURN 3; END $$")  # fmt: skip
    for table, other in (("plain", "3"), ("trap", "app.three()")):
        fresh_database.do(
            f"CREATE TABLE app.{table} (id int, v public.vector(3));"
            f" INSERT INTO app.{table} SELECT i, ARRAY[i, 1, 1]::public.vector FROM generate_series(1, 20) i;"
            f" CREATE INDEX {table}_v ON app.{table} USING hnsw (v public.vector_l2_ops);"
            f" CREATE INDEX {table}_id ON app.{table} (id) WHERE id > {other}"
        )
    before = drawn(fresh_database, "app.superusers")  # the superuser's own CREATE INDEX may have run it
    said = report(fresh_database).results[CHECK]
    assert "2 agree with the exact scan" in said
    assert "app.trap_v, of postgres (a superuser's table with code that others wrote)" in said
    assert drawn(fresh_database, "app.superusers") == before


@pytest.mark.parametrize("operators", ["cosine", "l2", "ip"])
@pytest.mark.parametrize(
    ("index", "embedded"),
    [("", 0), ("WHERE NOT deleted", 0), ("WHERE NOT deleted", 4), ("WHERE id > 2 OR deleted", 4)],
)
def test_rows_that_wait_for_their_embedding_are_left_out(
    fresh_database: FreshDatabase, operators: str, index: str, embedded: int
) -> None:
    apply(
        fresh_database,
        "CREATE TABLE app.doc (id int, deleted boolean NOT NULL DEFAULT false, v public.vector(3));"
        " INSERT INTO app.doc (id) SELECT generate_series(1, 30);"
        f" CREATE INDEX doc_live ON app.doc USING hnsw (v public.vector_{operators}_ops) {index};"
        f" UPDATE app.doc SET v = ARRAY[id, 1, 1]::public.vector WHERE id BETWEEN 3 AND {2 + embedded}",
    )
    found = report(fresh_database)
    assert found.failures == {}
    assert ("1 agree" in found.results[CHECK]) == bool(embedded)


def test_vectors_of_zeros_are_not_called_empty_and_hide_no_others(fresh_database: FreshDatabase) -> None:
    apply(
        fresh_database,
        "CREATE TABLE app.zero (v public.vector(3));"
        " CREATE INDEX zero_v ON app.zero USING hnsw (v public.vector_cosine_ops);"
        " CREATE TABLE app.first (v public.vector(3));"
        " CREATE INDEX first_v ON app.first USING hnsw (v public.vector_cosine_ops);"
        " INSERT INTO app.zero SELECT '[0,0,0]' FROM generate_series(1, 8);"
        " INSERT INTO app.first SELECT '[0,0,0]' FROM generate_series(1, 8);"
        " INSERT INTO app.first SELECT ARRAY[i, 1, 1]::public.vector FROM generate_series(1, 40) i",
    )
    said = report(fresh_database).results[CHECK]
    assert "no vector in it has a distance to others (all zero): app.zero_v" in said
    assert "1 agree with the exact scan" in said


def test_a_table_that_was_never_analysed_is_counted(
    fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgvector_stacks.inspection.recall.MOST_ROWS", 50)
    apply(
        fresh_database,
        "CREATE TABLE app.big (v public.vector(3)) WITH (autovacuum_enabled = off);"
        " CREATE INDEX big_v ON app.big USING hnsw (v public.vector_l2_ops);"
        " INSERT INTO app.big SELECT ARRAY[i, 1, 1]::public.vector FROM generate_series(1, 60) i",
    )
    assert "not compared, over 50 rows: app.big_v" in report(fresh_database).results[CHECK]


def test_an_index_full_of_duplicates_is_told_so_and_can_be_accepted_by_name(fresh_database: FreshDatabase) -> None:
    apply(
        fresh_database,
        "CREATE TABLE app.doc (v public.vector(3)); CREATE INDEX doc_e ON app.doc USING hnsw (v public.vector_l2_ops);"
        " INSERT INTO app.doc SELECT '[1,2,3]' FROM generate_series(1, 90)",
    )
    # what the index never sees, it can't find: the same finding, whatever its levels are
    fresh_database.do("UPDATE pg_index SET indisready = false WHERE indexrelid = 'app.doc_e'::regclass")
    fresh_database.do("DELETE FROM app.doc; INSERT INTO app.doc SELECT '[3,2,1]' FROM generate_series(1, 90)")
    fresh_database.do("UPDATE pg_index SET indisready = true WHERE indexrelid = 'app.doc_e'::regclass")
    told = report(fresh_database).failures[CHECK]
    assert "app.doc_e finds 0% of the neighbours" in told
    assert "90 of 90 vectors looked at are not the only one of their value" in told
    assert 'pgvector:acceptedRecall: ["app.doc_e"]' in told
    assert CHECK in report(fresh_database, "app.other").failures
    accepted = report(fresh_database, "app.doc_e")
    assert accepted.failures == {}
    assert "pgvector:acceptedRecall accepts: app.doc_e" in accepted.results[CHECK]


def test_a_table_that_its_owner_may_not_read_whole_or_that_is_locked_is_named(fresh_database: FreshDatabase) -> None:
    apply(
        fresh_database,
        "CREATE TABLE app.mine (v public.vector(3));"
        " CREATE INDEX mine_v ON app.mine USING hnsw (v public.vector_l2_ops);"
        " ALTER TABLE app.mine ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        " CREATE TABLE app.held (v public.vector(3));"
        " CREATE INDEX held_v ON app.held USING hnsw (v public.vector_l2_ops)",
    )
    with connect(fresh_database.admin, autocommit=False) as other:
        other.execute("LOCK TABLE app.held")
        found = report(fresh_database)
    assert found.failures == {}
    assert "app.mine_v, of schema_owner (query would be affected by row-level security" in found.results[CHECK]
    assert "app.held_v, of schema_owner (canceling statement due to lock timeout)" in found.results[CHECK]


def test_without_the_extension_no_check_says_ok_of_it(fresh_database: FreshDatabase) -> None:
    fresh_database.do("DROP EXTENSION vector CASCADE")
    found = report(fresh_database)
    assert {"version", "vector round trip", "distance operators", "hnsw index", "ivfflat index"} <= set(found.failures)
    assert set(found.failures.values()) == {"the extension vector is not installed"}

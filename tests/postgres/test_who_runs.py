"""Nothing that a script's owner wrote ever runs with an administrator's rights, whatever the product does.

Everything here that can run code calls `app.tries`, which tries to become the administrator and to write a file, as a
superuser alone may, also in a transaction that is read only or rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import sql

from pgstack import inspection
from postgres import apply, drift, embedded, half_way, queries, role_drift, roles, validation
from postgres.backup import store
from postgres.backup.create import create
from postgres.connection import Address, connect
from postgres.upgrade import checks, facts, local, reindex, statistics, verify
from postgres.upgrade.local import LocalWorkshop
from postgres.upgrade.workshop import Server as Reached
from postgres.upgrade.workshop import passfile_line
from tests.conftest import FreshDatabase, script

TRIES = """
CREATE FUNCTION app.tries(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN
        EXECUTE pg_catalog.format('COPY (SELECT 1) TO %L', 'FOLDER/'::text OPERATOR(pg_catalog.||) what);
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
END $$;
"""
# The signatures fit what our queries ask with better than those of pg_catalog, or as well.
FUNCTIONS = (
    ("format", "text, name"), ("format", "text, name, name"), ("format", "text, name, name, name"),
    ("format", "text, name, text"), ("format", "text, text, name"), ("format", "text, name, name, text"),
    ("format", "text, regclass"), ("format", "text, oid"), ("quote_ident", "name"), ("lower", "name"),
    ("count", "oid"), ("concat_ws", "text, name"), ("concat_ws", "text, name, name"), ("concat_ws", "text, text"),
    ("concat_ws", "text, text, text"), ("concat_ws", "text, text, text, text"), ("pg_get_expr", "pg_node_tree, regclass"),
    ("pg_get_indexdef", "regclass"), ("pg_get_userbyid", "regrole"), ("array_to_string", "name[], text"),
    ("array_to_string", "text[], text"), ("array_to_string", "anyarray, text"), ("starts_with", "name, text"),
    ("split_part", "name, text, integer"), ("to_regclass", "unknown"), ("greatest", "real, integer"),
    ("md5", "name"), ("pg_relation_size", "oid"), ("pg_total_relation_size", "oid"), ("obj_description", "oid, name"),
    ("has_table_privilege", "name, regclass, text"), ("has_schema_privilege", "name, name, text"),
    ("set_config", "name, text, boolean"), ("jsonb_build_object", "text, name"), ("length", "name"),
    ("strpos", "name, text"), ("substring", "name, text"), ("replace", "name, text, text"), ("aclexplode", "anyarray"),
)  # fmt: skip
OPERATORS = (
    ("=", "name, text"), ("=", "text, name"), ("=", "oid, regclass"), ("=", "regclass, oid"), ("=", '"char", text'),
    ("=", '"char", unknown'), ("<>", "name, text"), ("<>", "text, name"), ("~", "name, unknown"), ("!~", "name, text"),
    ("||", "text, name"), ("||", "name, text"), ("||", "text, regtype"), ("||", "text, regclass"), ("||", "text, text"),
    ("||", "text, integer"), ("||", "text, bigint"), ("||", "text, boolean"), ("<", "name, text"), (">", "real, integer"),
    ("<->", "public.vector, text"), ("<=>", "public.vector, text"), ("<>", "real, integer"), ("=", "smallint, integer"),
    ("/", "bigint, numeric"), ("-", "oid, integer"), ("&", "smallint, integer"), ("<>", "double precision, unknown"),
)  # fmt: skip
TABLES = """
CREATE FUNCTION app.word(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM app.tries('word'); RETURN t; END $$;
CREATE FUNCTION app.point(v public.vector) RETURNS public.vector LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM app.tries('point'); RETURN v; END $$;
CREATE FUNCTION app.yes(t text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM app.tries('yes'); RETURN true; END $$;
CREATE FUNCTION app.fires() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM app.tries('trigger'); RETURN new; END $$;
CREATE DOMAIN app.checked AS text CHECK (app.yes(value));
CREATE DOMAIN app.text AS pg_catalog.text CHECK (app.yes(value));
CREATE DOMAIN app.vector AS public.vector(3) CHECK (app.yes('vector'));
CREATE TABLE app.item (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word app.checked CHECK (app.yes(word)), embedding public.vector(3),
    made text GENERATED ALWAYS AS (app.word('generated')) STORED, given text DEFAULT app.word('default'),
    EXCLUDE ((app.word(id::text)) WITH =)
);
CREATE TRIGGER fires BEFORE INSERT ON app.item FOR EACH ROW EXECUTE FUNCTION app.fires();
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON app.item DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION app.fires();
CREATE RULE also AS ON UPDATE TO app.item DO ALSO SELECT app.tries('rule');
CREATE POLICY mine ON app.item USING (app.yes('policy'));
ALTER TABLE app.item ENABLE ROW LEVEL SECURITY;
INSERT INTO app.item (word, embedding)
SELECT 'w' || i, ('[1,2,' || i || ']')::public.vector FROM generate_series(1, 40) AS i;
CREATE INDEX plain ON app.item USING hnsw (embedding public.vector_l2_ops);
CREATE INDEX by_expression ON app.item USING hnsw ((app.point(embedding)::public.vector(3)) public.vector_l2_ops);
CREATE INDEX in_part ON app.item USING hnsw (embedding public.vector_cosine_ops) WHERE app.yes(word);
CREATE INDEX words ON app.item (app.word(word) COLLATE "C") WHERE app.yes(word);
CREATE STATISTICS app.widths ON (app.word(word)), (length(given)) FROM app.item;
CREATE VIEW app.shown AS SELECT app.word(word) AS word FROM app.item WHERE app.yes(word);
CREATE MATERIALIZED VIEW app.kept AS SELECT app.word(word) AS word FROM app.item;
CREATE FUNCTION app.as_text(app.item) RETURNS pg_catalog.text LANGUAGE plpgsql AS $$
BEGIN PERFORM app.tries('cast'); RETURN 'cast'; END $$;
CREATE CAST (app.item AS pg_catalog.text) WITH FUNCTION app.as_text(app.item) AS IMPLICIT;
CREATE VIEW app.pg_class AS SELECT c.*, app.word('pg_class') AS forged FROM pg_catalog.pg_class c;
CREATE TABLE app.drifted (kind text DEFAULT app.word('drifted'), identity text);
ANALYZE app.item;
"""


def overloads() -> str:
    """Functions and operators of those names, in the schemas that the database has on its path, before pg_catalog's."""
    made = []
    for number, (name, arguments) in enumerate(FUNCTIONS):
        for schema in ("app", "public"):
            made.append(
                f"CREATE FUNCTION {schema}.{name}({arguments}) RETURNS text LANGUAGE plpgsql AS $$"
                f" BEGIN PERFORM app.tries('{schema} {name} {number}'); RETURN NULL; END $$;"
            )
    for number, (name, arguments) in enumerate(OPERATORS):
        result = "text" if name in ("||", "/", "-", "&") else "boolean"
        left, right = arguments.split(", ")
        made.append(
            f"CREATE FUNCTION app.operator_{number}({arguments}) RETURNS pg_catalog.{result if result != 'text' else 'text'}"
            f" LANGUAGE plpgsql AS $$ BEGIN PERFORM app.tries('operator {number}'); RETURN NULL; END $$;"
            f"CREATE OPERATOR app.{name} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = app.operator_{number});"
        )
    return "\n".join(made)


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Where a superuser's file would lie."""
    folder = tmp_path / "ran as a superuser"
    folder.mkdir()
    return folder


@pytest.fixture
def hostile(empty_database: FreshDatabase, traces: Path) -> FreshDatabase:
    """A database whose scripts have all of that, applied."""
    name = sql.Identifier(empty_database.admin.database).as_string(None)
    path = f"CREATE SCHEMA app; ALTER DATABASE {name} SET search_path = app, public;\n"
    first = script(path + TRIES.replace("FOLDER", str(traces)) + TABLES, "0001_tables.sql")
    empty_database.apply(scripts=(first, script(overloads(), "0002_overloads.sql")))
    return empty_database


def ran(traces: Path) -> list[str]:
    found = sorted(path.name for path in traces.iterdir())
    for path in traces.iterdir():
        path.unlink()
    return found


def test_what_a_superuser_runs_is_noticed(hostile: FreshDatabase, traces: Path) -> None:
    """The test's own foundation: as the application would ask, with the database's path."""
    assert ran(traces) == []
    hostile.ask("SELECT format('%%I', relname) FROM pg_class WHERE relname = 'x'::text LIMIT 1")
    hostile.ask("SELECT as_text(item) FROM item LIMIT 1")
    assert "cast" in ran(traces)


def test_up_status_drift_and_accept_run_nothing_as_a_superuser(hostile: FreshDatabase, traces: Path) -> None:
    scripts = hostile.request().scripts
    assert scripts
    first = hostile.names()
    listed = tuple(script("", name) for name in first)
    assert len(listed) == 2

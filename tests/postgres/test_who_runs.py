"""Nothing that a script's owner wrote ever runs with an administrator's rights, whatever the product does.

Everything here that can run code calls `app.tries`, which tries to become the administrator and to write a file, as a
superuser alone may, also in a transaction that is read only or rolled back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pgvector_stacks.backup import recorded_schema, store
from pgvector_stacks.backup.create import create
from pgvector_stacks.backup.drill import drill
from pgvector_stacks.backup.manifest import UNSIGNED
from pgvector_stacks.backup.restore import restore
from pgvector_stacks.cli import inspection
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.inspection import role_drift, schema_drift, validation
from pgvector_stacks.migrations import ledger
from pgvector_stacks.migrations.scripts import interrupted
from pgvector_stacks.migrations.scripts.script_files import Script
from pgvector_stacks.toolbox.interface import execute_sql
from pgvector_stacks.upgrade import facts
from pgvector_stacks.upgrade.checks import quick_check, statistics, verify
from tests.conftest import FreshDatabase, script
from tests.upgrade import servers

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
    ("concat_ws", "text, text, text"), ("concat_ws", "text, text, text, text"),
    ("pg_get_expr", "pg_node_tree, regclass"),
    ("pg_get_indexdef", "regclass"), ("pg_get_userbyid", "regrole"), ("array_to_string", "name[], text"),
    ("array_to_string", "text[], text"), ("array_to_string", "anyarray, text"), ("starts_with", "name, text"),
    ("split_part", "name, text, integer"), ("greatest", "real, integer"),
    ("md5", "name"), ("pg_relation_size", "oid"), ("pg_total_relation_size", "oid"), ("obj_description", "oid, name"),
    ("has_table_privilege", "name, regclass, text"), ("has_schema_privilege", "name, name, text"),
    ("set_config", "name, text, boolean"), ("jsonb_build_object", "text, name"), ("length", "name"),
    ("strpos", "name, text"), ("substring", "name, text"), ("replace", "name, text, text"), ("aclexplode", "anyarray"),
)  # fmt: skip
OPERATORS = (
    ("=", "name, text"), ("=", "text, name"), ("=", "oid, regclass"), ("=", "regclass, oid"), ("=", '"char", text'),
    ("<>", "name, text"), ("<>", "text, name"), ("~", "name, text"), ("!~", "name, text"),
    ("||", "text, name"), ("||", "name, text"), ("||", "text, regtype"), ("||", "text, regclass"), ("||", "text, text"),
    ("||", "text, integer"), ("||", "text, bigint"), ("||", "text, boolean"), ("<", "name, text"),
    (">", "real, integer"),
    ("<->", "public.vector, text"), ("<=>", "public.vector, text"), ("<>", "real, integer"), ("=", "smallint, integer"),
    ("/", "bigint, numeric"), ("-", "oid, integer"), ("&", "smallint, integer"),
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
CREATE TABLE app.part (of_item int REFERENCES app.item);
CREATE INDEX folded_too ON app.part ((of_item + length(app.word('folded'))));
CREATE TRIGGER fires BEFORE INSERT ON app.item FOR EACH ROW EXECUTE FUNCTION app.fires();
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON app.item DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION app.fires();
CREATE RULE also AS ON UPDATE TO app.item DO ALSO SELECT app.tries('rule');
CREATE POLICY mine ON app.item USING (app.yes('policy'));
ALTER TABLE app.item ENABLE ROW LEVEL SECURITY;
CREATE INDEX plain ON app.item USING hnsw (embedding public.vector_l2_ops);
CREATE INDEX by_expression ON app.item USING hnsw ((app.point(embedding)::public.vector(3)) public.vector_l2_ops);
CREATE INDEX in_part ON app.item USING hnsw (embedding public.vector_cosine_ops) WHERE app.yes(word);
CREATE INDEX words ON app.item (app.word(word) COLLATE "C") WHERE app.yes(word);
CREATE INDEX folded ON app.item ((app.word('folded') || given)) WHERE app.yes('folded');
CREATE STATISTICS app.widths ON (app.word(word)), (length(given)) FROM app.item;
CREATE VIEW app.shown AS SELECT app.word(word) AS word FROM app.item WHERE app.yes(word);
CREATE MATERIALIZED VIEW app.kept AS SELECT app.word(word) AS word FROM app.item;
CREATE FUNCTION app.as_text(app.item) RETURNS pg_catalog.text LANGUAGE plpgsql AS $$
BEGIN PERFORM app.tries('cast'); RETURN 'cast'; END $$;
CREATE CAST (app.item AS pg_catalog.text) WITH FUNCTION app.as_text(app.item) AS IMPLICIT;
CREATE VIEW app.pg_class AS SELECT c.*, app.word('pg_class') AS forged FROM pg_catalog.pg_class c;
CREATE TABLE app.drifted (kind text DEFAULT app.word('drifted'), identity text);
INSERT INTO app.item (word, embedding)
SELECT 'w' || i, ('[1,2,' || i || ']')::public.vector FROM generate_series(1, 40) AS i;
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
            f"CREATE FUNCTION app.operator_{number}({arguments}) RETURNS {result}"
            f" LANGUAGE plpgsql AS $$ BEGIN PERFORM app.tries('operator {number}'); RETURN NULL; END $$;"
            f"CREATE OPERATOR app.{name} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = app.operator_{number});"
        )
    return "\n".join(made)


@dataclass(frozen=True)
class Hostile:
    """A database whose scripts have all of that, applied. `traces`: where a superuser's files lie."""

    database: FreshDatabase
    scripts: tuple[Script, ...]
    traces: Path

    def ran(self) -> list[str]:
        """What ran as a superuser since the last time."""
        paths = sorted(self.traces.iterdir())
        for path in paths:
            path.unlink()
        return [path.name for path in paths]


@pytest.fixture
def hostile(empty_database: FreshDatabase, tmp_path: Path) -> Hostile:
    traces = tmp_path / "ran"
    traces.mkdir()
    name = empty_database.admin.database
    first = f"CREATE SCHEMA app; ALTER DATABASE {name} SET search_path = app, public;\n"
    first += TRIES.replace("FOLDER", str(traces)) + TABLES
    scripts = (script(first, "0001_tables.sql"), script(overloads(), "0002_overloads.sql"))
    empty_database.apply(scripts=scripts)
    return Hostile(empty_database, scripts, traces)


def test_the_traps_work(hostile: Hostile) -> None:
    """An administrator with the database's own path runs them."""
    assert hostile.ran() == []
    hostile.database.ask("SELECT format('%%I', relname) FROM pg_catalog.pg_class LIMIT 1")
    hostile.database.ask("SELECT item::text FROM item WHERE word(given) IS NOT NULL LIMIT 1")
    hostile.database.ask("SELECT oid = 'pg_catalog.pg_class'::regclass FROM pg_catalog.pg_type LIMIT 1")
    assert hostile.ran() == ["app format 0", "cast", "operator 2", "word", "yes"]


def test_up_status_and_accept(hostile: Hostile) -> None:
    database, address = hostile.database, hostile.database.admin
    more = script("CREATE TABLE app.more (id int); COMMENT ON TABLE app.more IS 'x';", "0003_more.sql")
    concurrent = script(
        "-- pgstack: no-transaction\nCREATE INDEX CONCURRENTLY again ON app.item (app.word(word));"
        "\nREINDEX INDEX CONCURRENTLY app.words;\nREFRESH MATERIALIZED VIEW app.kept;", "0004_apart.sql",
    )  # fmt: skip
    check = script("SELECT 1 WHERE NOT app.yes('verify')", "verify/1.sql")
    for _ in range(2):
        database.apply(scripts=(*hostile.scripts, more, concurrent), verify=(check,))
    database.do("ALTER TABLE app.item ADD COLUMN by_hand int; GRANT SELECT ON app.drifted TO PUBLIC")
    assert hostile.ran() == []
    with connect(address) as connection:
        assert ledger.read_ledger(connection)
        assert interrupted.read_finished(connection) == {}
        assert len(schema_drift.find_drift(connection)) == 2
        assert schema_drift.describe_drift(connection)
        role_drift.find_faults(connection, {})
        roles.find_unreachable_tables(connection)
        schema_drift.renew(connection, [("column", "app.item.by_hand")])
        schema_drift.renew_restored(connection, None)
    inspection.accept(inspection.DatabaseAddresses(address), "column", "app.item.by_hand", lambda _: None)
    database.apply(scripts=(*hostile.scripts, more, concurrent))
    assert hostile.ran() == []


def test_backup_and_the_questions_of_an_upgrade(hostile: Hostile, tmp_path: Path) -> None:
    """Whoever plans a query over a table runs the functions of constants in its indexes: `folded`."""
    address, name = hostile.database.admin, hostile.database.admin.database
    with hostile.database.programs(tmp_path / "root") as (toolbox, server):
        create(toolbox, server, tmp_path / "backups", stack="test", database=name)
        assert hostile.ran() == []
        for exact in (True, False):
            assert any(
                "app.item" in what for what in quick_check.take_fingerprint(toolbox, server, [name], exact=exact)
            )
        assert quick_check.check_vector_indexes(toolbox, server, [name]) == 3
        before = recorded_schema.find_drift_by_database(toolbox, server, [name])
        recorded_schema.record_again(toolbox, server, before)
        assert hostile.ran() == []
        contents = verify._sum_tables(toolbox, server, name, ["app.item", verify.OBJECTS])
        assert contents["app.item"].count == 40
        asked = verify.SESSION + verify.BEGIN + f"SELECT {verify._call_as_owner('app.item')};" + verify.END
        assert len(execute_sql(toolbox, server, name, asked).split()) == 40
        left = "SELECT FROM pg_catalog.pg_roles WHERE rolname ~ '^pgstack_(asking|counting)'"
        assert hostile.database.ask(left) == []
    assert hostile.ran() == []
    source = facts.query_source(address)
    assert name in source.databases
    hostile.database.do("DROP STATISTICS app.widths; CREATE STATISTICS app.widths ON (app.word(word)) FROM app.item")
    assert statistics.analyze_missing(address) >= 1
    with connect(address) as connection:
        connection.execute(["REINDEX INDEX CONCURRENTLY app.words", " REINDEX TABLE app.item"][0].encode())
        connection.execute("REINDEX TABLE app.item")
        connection.execute("VACUUM ANALYZE app.item")
        connection.execute("REFRESH MATERIALIZED VIEW app.kept")
    assert hostile.ran() == []


LOADED = """
CREATE FUNCTION app.yes(t text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM app.tries('yes'); RETURN true; END $$;
CREATE DOMAIN app.checked AS text CHECK (app.yes(value));
CREATE FUNCTION app.word(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM app.tries('word'); RETURN t; END $$;
CREATE TABLE app.item (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word app.checked CHECK (app.yes(word)),
    made text GENERATED ALWAYS AS (app.word(word)) STORED
);
CREATE INDEX ON app.item (app.word(word)) WHERE app.yes(word);
CREATE INDEX folded ON app.item ((app.word('folded') || word)) WHERE app.yes('folded');
CREATE TABLE app.part (of_item int REFERENCES app.item);
CREATE INDEX folded_too ON app.part ((of_item::text || app.word('folded')));
CREATE MATERIALIZED VIEW app.kept AS SELECT app.word(word) AS word FROM app.item;
CREATE SEQUENCE app.numbers START 7;
CREATE TABLE app.a1 (x app.checked[] DEFAULT '{default}');
CREATE TYPE app.c AS (x app.checked);
CREATE VIEW app.v AS SELECT '(composite)'::app.c AS c;
CREATE TABLE app.p (x app.checked) PARTITION BY LIST (x);
CREATE TABLE app.p1 PARTITION OF app.p FOR VALUES IN ('bound');
CREATE FUNCTION app.zs(app.checked, int) RETURNS app.checked LANGUAGE sql AS 'select $1';
CREATE AGGREGATE app.ag(int) (sfunc = app.zs, stype = app.checked, initcond = 'first');
CREATE TABLE app.pk (x text) PARTITION BY LIST ((x || app.word('key')));
CREATE TABLE app.s (x text);
CREATE FUNCTION app.chk(r app.s) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM app.tries('row type'); RETURN true; END $$;
ALTER TABLE app.s ADD CONSTRAINT c CHECK (app.chk(s.*));
INSERT INTO app.s VALUES ('x');
CREATE TABLE app.g (x text, y text GENERATED ALWAYS AS (x || app.word('generated')) STORED);
CREATE TABLE app.po (x text);
CREATE POLICY p ON app.po USING (x = ANY ('{policy}'::app.checked[]));
CREATE TYPE app.r AS RANGE (subtype = app.checked);
CREATE TABLE app.rr (x app.r DEFAULT '[range,range]');
CREATE FUNCTION app.zz(x app.checked[] DEFAULT '{argument}') RETURNS int LANGUAGE sql AS 'select 1';
CREATE TABLE app.tw (x text);
CREATE FUNCTION app.tf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CREATE TRIGGER t BEFORE INSERT ON app.tw FOR EACH ROW WHEN (new.x = ANY ('{when}'::app.checked[]))
    EXECUTE FUNCTION app.tf();
CREATE STATISTICS app.sst ON (x || app.word('statistics')), x FROM app.tw;
CREATE INDEX in_part ON app.item (id) WHERE word = ANY ('{predicate}'::app.checked[]);
COMMENT ON CONSTRAINT c ON app.s IS 'said behind it';
REVOKE ALL ON SCHEMA app FROM PUBLIC;
REVOKE INSERT ON app.s FROM CURRENT_USER;
INSERT INTO app.item (word) SELECT 'w' || i FROM generate_series(1, 40) AS i;
DO $do$
DECLARE break text;
BEGIN  -- pg_restore writes some of these as blanks, and not all are ends of a line to it
    FOREACH break IN ARRAY ARRAY[chr(10), chr(13), chr(11), chr(133), chr(8232)] LOOP
        EXECUTE format('CREATE TABLE app.%I (i int CHECK (app.yes(i::text)))', 'x' || break || 'y');
        EXECUTE format('INSERT INTO app.%I VALUES (1)', 'x' || break || 'y');
        EXECUTE format('CREATE AGGREGATE app.%I (int) (SFUNC = app.zs, STYPE = app.checked, INITCOND = ''7'')',
                       'ag' || break || 'y');
    END LOOP;
END $do$;
"""


def test_a_drill_and_a_restore(empty_database: FreshDatabase, tmp_path: Path) -> None:
    """What the owner has is made and loaded with the owner's rights: much of it computes while it is."""
    (traces := tmp_path / "ran").mkdir()
    address, name = empty_database.admin, empty_database.admin.database
    text = "CREATE SCHEMA app;" + TRIES.replace("FOLDER", str(traces)) + LOADED
    empty_database.apply(scripts=(script(text, "0001_loaded.sql"),))
    target = replace(address, database=f"{name}_restored")
    with empty_database.programs(tmp_path / "root") as (toolbox, server):
        manifest = create(toolbox, server, tmp_path / "backups", stack="test", database=name)
        folder = store.find_backup(tmp_path / "backups", None)
        assert drill(toolbox, folder, trust=UNSIGNED, vector_indexes=True).problems == ()
        assert list(traces.iterdir()) == []
        try:
            restore(toolbox, server, target, folder, manifest, name)
            assert list(traces.iterdir()) == []
            with connect(target) as connection:
                assert connection.execute("SELECT count(*), max(made) FROM app.item").fetchone() == (40, "w9")
                left = "SELECT FROM pg_roles WHERE rolname = 'pgstack_loading'"
                assert connection.execute(left).fetchall() == []
        finally:
            with connect(replace(address, database="postgres")) as cluster:
                cluster.execute(f'DROP DATABASE IF EXISTS "{target.database}" WITH (FORCE)'.encode())


def test_validation(hostile: Hostile) -> None:
    with connect(hostile.database.admin) as connection:
        report = validation.validate(connection, validation.ServerRequirements())
    assert hostile.ran() == [], report


@pytest.mark.parametrize("event", ["ddl_command_start", "ddl_command_end", "sql_drop"])
def test_a_function_that_an_administrator_made_an_event_triggers(
    empty_database: FreshDatabase, tmp_path: Path, event: str
) -> None:
    """The function stays the owner's, who may write another one in its place."""
    (traces := tmp_path / "ran").mkdir()
    text = "CREATE SCHEMA app;" + TRIES.replace("FOLDER", str(traces))
    text += "CREATE FUNCTION app.fires() RETURNS event_trigger LANGUAGE plpgsql AS "
    text += "$$ BEGIN INSERT INTO app.fired VALUES (tg_tag); PERFORM app.tries('event trigger'); END $$;"
    first = script(f"{text} CREATE TABLE app.fired (tag text)", "0001_first.sql")
    more = script("CREATE TABLE app.more (i int); DROP TABLE app.more", "0002_more.sql")
    empty_database.apply(scripts=(first,))
    empty_database.do(f"CREATE EVENT TRIGGER fires ON {event} EXECUTE FUNCTION app.fires()")
    for path in traces.iterdir():  # of the statement above
        path.unlink()
    empty_database.apply(scripts=(first,))
    with connect(empty_database.admin) as connection:
        schema_drift.renew(connection, [])
    assert list(traces.iterdir()) == []
    empty_database.apply(scripts=(first, more))
    assert list(traces.iterdir()) == []
    assert empty_database.ask("SELECT FROM app.fired WHERE tag IN ('CREATE TABLE', 'DROP TABLE')")


def test_event_triggers_of_a_server_that_can_not_turn_them_off(tmp_path: Path) -> None:
    with servers.machine(tmp_path) as machine:
        embedded_server.initialise(machine.old, servers.PASSWORD)
        embedded_server.start(machine.old, servers.SETTINGS)
        text = "CREATE TABLE fired (tag text); CREATE FUNCTION fires() RETURNS event_trigger LANGUAGE plpgsql AS"
        text += " 'BEGIN INSERT INTO public.fired VALUES (tg_tag); END';"
        text += "CREATE EVENT TRIGGER fires ON ddl_command_end EXECUTE FUNCTION fires()"
        with connect(machine.address(machine.old), own_path=True) as connection:
            connection.execute(text.encode())
            connection.execute("CREATE TABLE one (i int)")
        with connect(machine.address(machine.old)) as connection:
            connection.execute("CREATE TABLE public.two (i int)")
            assert connection.execute("SELECT tag FROM public.fired").fetchall() == [("CREATE TABLE",)]

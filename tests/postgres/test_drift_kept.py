"""What is no drift: an older record, partitions that come at run time. What is accepted with its table."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgvector_stacks.cli import inspection
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.migrations import apply
from pgvector_stacks.migrations.scripts.script_files import Script
from tests.conftest import FreshDatabase, script

FIRST = script(
    """
    CREATE SCHEMA s;
    CREATE TABLE s.log (at date NOT NULL, v int DEFAULT 3 CHECK (v > 0), PRIMARY KEY (at)) PARTITION BY RANGE (at);
    CREATE INDEX ON s.log (v);
    CREATE TABLE s.log_1 PARTITION OF s.log FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE s.item (id serial PRIMARY KEY, name varchar(9) CHECK (name IN ('a', 'b')));
    CREATE VIEW s.seen AS SELECT name FROM s.item;
    CREATE FUNCTION s.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
    CREATE TRIGGER touch BEFORE UPDATE ON s.log FOR EACH ROW EXECUTE FUNCTION s.touch();
    """,
    "0001.sql",
)
SECOND = script("ALTER TABLE s.log ADD COLUMN w int; CREATE TABLE s.late (i int)", "0002.sql")


def bring_up(database: FreshDatabase, *scripts: Script) -> None:
    request = database.request(scripts=scripts)
    apply.apply(database.admin, request)


def words(database: FreshDatabase) -> tuple[str, ...]:
    with connect(database.admin) as connection:
        return schema_drift.describe_differences(schema_drift.find_drift(connection))


def accept(database: FreshDatabase, kind: str, identity: str) -> list[str]:
    said: list[str] = []
    inspection.accept(inspection.DatabaseAddresses(database.admin), kind, identity, said.append)
    return said


COMMENTED = script(
    """
    CREATE TYPE s.pair AS (a int, b int); COMMENT ON COLUMN s.pair.a IS E'x\\ny';
    CREATE DOMAIN s.even AS int CONSTRAINT one CHECK (value > 0); COMMENT ON CONSTRAINT one ON DOMAIN s.even IS 'x';
    CREATE TABLE s.filled (id int NOT NULL);
    DO $$ BEGIN IF current_setting('server_version_num')::int >= 180000
        THEN COMMENT ON CONSTRAINT filled_id_not_null ON s.filled IS 'x'; END IF; END $$;
    """,
    "0000_commented.sql",
)


def write_as(database: FreshDatabase, written: int) -> None:
    """The record, in the format of an earlier version."""
    with connect(database.admin) as connection, connection.transaction():
        schema_drift.qualify_names(connection, written)
        connection.execute("TRUNCATE pgstack.object")
        live = "SELECT kind, identity, definition FROM (" + schema_drift.build_inventory_query(written) + ") AS i"
        connection.execute(f"INSERT INTO pgstack.object (kind, identity, definition) {live}".encode())
        if written > 1:
            connection.execute("INSERT INTO pgstack.object VALUES ('format', 'record', %s)", (str(written),))


@pytest.mark.parametrize("written", [1, 2])
def test_a_record_of_an_earlier_version_is_compared_as_it_was_written_and_renewed_by_the_next_up(
    empty_database: FreshDatabase, written: int
) -> None:
    bring_up(empty_database, FIRST, COMMENTED)
    assert words(empty_database) == ()
    write_as(empty_database, written)
    assert words(empty_database) == ()
    empty_database.do("CREATE TABLE s.extra (id serial PRIMARY KEY, n int)")
    empty_database.do("DROP VIEW s.seen; ALTER TABLE s.item ALTER name TYPE varchar(10)")
    before = words(empty_database)
    assert "table s.extra was added" in before
    assert "view s.seen was dropped" in before
    bring_up(empty_database, FIRST, COMMENTED)
    with connect(empty_database.admin) as connection:
        assert schema_drift.read_format(connection) == schema_drift.FORMAT
        drifted = {(each.kind, each.identity) for each in schema_drift.find_drift(connection)}
    assert ("table", "s.extra") in drifted
    assert ("view", "s.seen") in drifted
    assert ("column", "s.item.name") in drifted
    # what nobody changed has not drifted, and of a table that was added nothing is recorded
    assert not any(identity.startswith(("s.log", "s.touch", "s.pair", "s.even", "s.filled")) for _, identity in drifted)
    empty_database.do("DROP TABLE s.extra")
    assert not any("s.extra" in line for line in words(empty_database))


def test_partitions_that_come_and_go_at_run_time_are_no_drift_and_those_with_something_of_their_own_are(
    empty_database: FreshDatabase,
) -> None:
    bring_up(empty_database, FIRST)
    empty_database.do(
        """
        SET ROLE schema_owner;
        CREATE TABLE s.log_2 PARTITION OF s.log FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
        CREATE TABLE s.log_3 (LIKE s.log INCLUDING ALL);
        ALTER TABLE s.log ATTACH PARTITION s.log_3 FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
        CREATE TABLE s.log_rest PARTITION OF s.log DEFAULT PARTITION BY RANGE (at);
        CREATE TABLE s.log_rest_1 PARTITION OF s.log_rest DEFAULT;
        """
    )
    assert words(empty_database) == ()
    # a later script lands, changes the parent, and makes none of them the scripts' own
    bring_up(empty_database, FIRST, SECOND)
    assert words(empty_database) == ()
    empty_database.do("ALTER TABLE s.log DETACH PARTITION s.log_2; DROP TABLE s.log_2, s.log_rest")
    assert words(empty_database) == ()
    empty_database.do("CREATE INDEX own ON s.log_3 (w)")
    assert words(empty_database) == ("index s.log_3.own was added",)
    empty_database.do("DROP INDEX s.own; GRANT SELECT ON s.log_3 TO PUBLIC")
    assert words(empty_database) == ("table s.log_3 was added",)
    empty_database.do("REVOKE SELECT ON s.log_3 FROM PUBLIC; ALTER TABLE s.log_3 OWNER TO postgres")
    assert words(empty_database) == ("table s.log_3 was added",)
    empty_database.do("DROP TABLE s.log_3; DROP TABLE s.log_1")  # one that the scripts made
    assert words(empty_database) == ("table s.log_1 was dropped",)
    assert accept(empty_database, "table", "s.log_1")
    assert words(empty_database) == ()


NAMED = script(
    """
    CREATE SCHEMA s;
    CREATE TABLE s.log (at int CONSTRAINT at_filled NOT NULL, v int NOT NULL, t text DEFAULT 'x')
        PARTITION BY RANGE (at);
    CREATE STATISTICS s.both ON at, v FROM s.log; COMMENT ON STATISTICS s.both IS 'both';
    COMMENT ON COLUMN s.log.v IS 'a number'; ALTER TABLE s.log ALTER v SET STATISTICS 50;
    """,
    "0001.sql",
)
AS_ITS_PARENT = """
    SET ROLE schema_owner;
    CREATE TABLE s.log_1 PARTITION OF s.log FOR VALUES FROM (1) TO (2);
    CREATE TABLE s.log_2 (LIKE s.log INCLUDING ALL);
    ALTER TABLE s.log ATTACH PARTITION s.log_2 FOR VALUES FROM (2) TO (3);
    CREATE TABLE s.new (LIKE s.log); ALTER TABLE s.new RENAME TO log_3;
    ALTER TABLE s.log ATTACH PARTITION s.log_3 FOR VALUES FROM (3) TO (4);
    CREATE TABLE s.log_4 PARTITION OF s.log FOR VALUES FROM (4) TO (5);
    GRANT SELECT, INSERT, UPDATE, DELETE ON s.log_4 TO app; GRANT SELECT ON s.log_4 TO readonly;
    ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO PUBLIC;
    CREATE TABLE s.log_5 PARTITION OF s.log FOR VALUES FROM (5) TO (6);
"""


def test_a_partition_has_no_more_than_its_parent_however_it_was_made_and_whatever_becomes_of_its_parent(
    empty_database: FreshDatabase,
) -> None:
    scripts = [NAMED]
    bring_up(empty_database, *scripts)
    empty_database.do(AS_ITS_PARENT)
    assert words(empty_database) == ("default rights of schema_owner on tables in s was added",)
    for text in (
        "ALTER TABLE s.log RENAME CONSTRAINT log_v_not_null TO v_filled", "ALTER TABLE s.log RENAME TO logs",
        "GRANT TRIGGER ON s.logs TO app", "ALTER SCHEMA s RENAME TO s2",
    ):  # fmt: skip
        scripts.append(script(text, f"000{len(scripts) + 1}.sql"))
        bring_up(empty_database, *scripts)
        assert [line for line in words(empty_database) if "log" in line] == []
    empty_database.do("GRANT TRUNCATE ON s2.log_4 TO app")
    assert "table s2.log_4 was added" in words(empty_database)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("COMMENT ON INDEX s.log_2_v_idx IS 'x'", "index s.log_2.log_2_v_idx was added"),
        ("ALTER INDEX s.log_2_v_idx SET (fillfactor = 50)", "index s.log_2.log_2_v_idx was added"),
        ("ALTER TABLE s.log_2 CLUSTER ON log_2_v_idx", "index s.log_2.log_2_v_idx was added"),
        ("COMMENT ON CONSTRAINT log_2_pkey ON s.log_2 IS 'x'", "constraint s.log_2.log_2_pkey was added"),
        ("ALTER TABLE s.log_2 SET (toast.autovacuum_enabled = false)", "table s.log_2 was added"),
    ],
)
def test_what_a_partition_that_came_at_run_time_has_of_its_own_is_drift(
    empty_database: FreshDatabase, change: str, expected: str
) -> None:
    bring_up(empty_database, FIRST, script("ALTER TABLE s.log ADD t text", "0002.sql"))
    empty_database.do(
        "SET ROLE schema_owner; COMMENT ON INDEX s.log_v_idx IS 'the parent''s';"
        "CREATE TABLE s.log_2 PARTITION OF s.log FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')"
    )
    accept(empty_database, "index", "s.log.log_v_idx")
    assert words(empty_database) == ()
    empty_database.do(change)
    assert words(empty_database) == (expected,)


def test_a_right_that_nobody_has_any_more_is_recorded(empty_database: FreshDatabase) -> None:
    bring_up(empty_database, FIRST)
    empty_database.do("REVOKE ALL ON FUNCTION public.l2_norm(public.halfvec) FROM PUBLIC, postgres")
    bring_up(empty_database, FIRST, SECOND)
    (said,) = words(empty_database)
    assert said == "rights on function public.l2_norm(public.halfvec) were changed"
    assert accept(empty_database, "rights", "on function public.l2_norm(public.halfvec)")
    assert words(empty_database) == ()


@pytest.mark.parametrize(
    ("change", "kind", "identity"),
    [
        ("CREATE TABLE s.extra (id serial PRIMARY KEY, n int CHECK (n > 0)); CREATE INDEX ON s.extra (n);"
         "CREATE POLICY p ON s.extra; COMMENT ON COLUMN s.extra.n IS 'n'", "table", "s.extra"),
        ("ALTER TABLE s.item ADD n serial, ADD CHECK (n > 0), ENABLE ROW LEVEL SECURITY; CREATE INDEX ON s.item (n);"
         "GRANT SELECT (name) ON s.item TO PUBLIC", "table", "s.item"),
        ("ALTER TABLE s.item ADD n int; CREATE RULE r AS ON DELETE TO s.item DO INSTEAD NOTHING", "table", "s.item"),
        ("ALTER TABLE s.item ADD n serial", "column", "s.item.n"),
        ("ALTER VIEW s.seen ALTER name SET DEFAULT 'z'; COMMENT ON VIEW s.seen IS 'v'", "view", "s.seen"),
        ("ALTER TABLE s.item ADD UNIQUE (name)", "index", "s.item.item_name_key"),
        ("DROP SCHEMA s CASCADE", "schema", "s"),
        ("CREATE SCHEMA t; CREATE TABLE t.extra (id serial)", "schema", "t"),
    ],
)  # fmt: skip
def test_accepting_takes_what_belongs_to_the_object(
    empty_database: FreshDatabase, change: str, kind: str, identity: str
) -> None:
    bring_up(empty_database, FIRST)
    empty_database.do(change)
    assert words(empty_database)
    assert accept(empty_database, kind, identity)
    assert words(empty_database) == ()
    with pytest.raises(PgstackError, match="nothing drifted"):
        accept(empty_database, kind, identity)


def test_what_others_make_and_drop_while_the_schema_is_looked_at_is_neither_drift_nor_an_error(
    empty_database: FreshDatabase,
) -> None:
    bring_up(empty_database, FIRST)
    made = "PARTITION OF s.log FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')"
    stop = threading.Event()

    def churn() -> None:
        with connect(empty_database.admin) as connection:
            connection.execute("SET ROLE schema_owner")
            for number in itertools.count():
                if stop.is_set():
                    return
                connection.execute(f"CREATE TABLE s.passing_{number} {made}".encode())
                connection.execute(f"DROP TABLE s.passing_{number}".encode())

    with ThreadPoolExecutor() as pool:
        other = pool.submit(churn)
        try:
            for _ in range(15):
                assert words(empty_database) == ()
        finally:
            stop.set()
        other.result()


ZONED = script(
    """
    CREATE SCHEMA z;
    CREATE TABLE z.log (at timestamptz DEFAULT '2026-01-01', CHECK (at > '2020-01-01')) PARTITION BY RANGE (at);
    CREATE TABLE z.log_1 PARTITION OF z.log FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE VIEW z.late AS SELECT FROM z.log WHERE at > timestamptz '2026-01-02';
    """,
    "0001.sql",
)


@pytest.mark.parametrize("form", [schema_drift.FORMAT, 1])
def test_another_time_zone_of_the_database_is_no_drift(empty_database: FreshDatabase, form: int) -> None:
    name = empty_database.admin.database
    empty_database.do(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    bring_up(empty_database, ZONED)
    if form == 1:  # what an earlier version wrote, it wrote in the database's zone: that is read so
        write_as(empty_database, 1)
        assert words(empty_database) == ()
        bring_up(empty_database, ZONED)
    empty_database.do(f"ALTER DATABASE {name} SET timezone = 'America/Lima'")
    assert words(empty_database) == ()


CUSTOMERS = script(
    "CREATE SCHEMA crm; CREATE TABLE crm.t (id int PRIMARY KEY, n int); ALTER TABLE crm.t ENABLE ROW LEVEL SECURITY;"
    "CREATE POLICY p ON crm.t USING (n = 1); CREATE INDEX t_n ON crm.t (n); CREATE INDEX t_up ON crm.t (n);"
    "CREATE TRIGGER touch BEFORE UPDATE ON crm.t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "0010.sql",
)
BY_HAND = (
    "GRANT DELETE ON crm.t TO readonly; ALTER TABLE crm.t DISABLE ROW LEVEL SECURITY; ALTER TABLE crm.t ADD hand int;"
    "ALTER POLICY p ON crm.t USING (true); DROP INDEX crm.t_n; DROP INDEX crm.t_up;"
    "CREATE INDEX t_up ON crm.t (n DESC);"
    "CREATE OR REPLACE TRIGGER touch BEFORE UPDATE OR DELETE ON crm.t FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
)


@pytest.mark.parametrize(
    ("text", "name"),
    [("ALTER TABLE crm.t RENAME TO \"T 2\"", 'crm."T 2"'), ("ALTER SCHEMA crm RENAME TO sales", "sales.t"),
     ("ALTER TABLE crm.t SET SCHEMA public", "public.t"),
     ("-- pgstack: no-transaction\nALTER TABLE crm.t RENAME TO t2", "crm.t2"),
     ("ALTER TABLE crm.t RENAME TO old; CREATE TABLE crm.t (LIKE crm.old)", "crm.old")],
)  # fmt: skip
def test_what_was_changed_by_hand_goes_along_with_a_new_name(
    empty_database: FreshDatabase, text: str, name: str
) -> None:
    bring_up(empty_database, CUSTOMERS)
    empty_database.do(BY_HAND)
    bring_up(empty_database, CUSTOMERS, script(text, "0011.sql"))
    lines = "\n".join(words(empty_database))
    for expected in (
        f"table {name} was changed: readonly gained DELETE; row security is none, was on",
        f"column {name}.hand was added (integer)", f"policy {name}.p was changed", f"index {name}.t_n was dropped",
        f"index {name}.t_up was changed", f"trigger {name}.touch was changed",
    ):  # fmt: skip
        assert expected in lines
    bring_up(empty_database, CUSTOMERS, script(text, "0011.sql"), script("SELECT 1", "0012.sql"))
    assert "\n".join(words(empty_database)) == lines
    empty_database.do(f"CREATE INDEX t_n ON {name} (n)")
    assert "t_n" not in "\n".join(words(empty_database))


@pytest.mark.parametrize(
    "text",
    ["COMMENT ON TABLE crm.t IS 'x'", "ALTER TABLE crm.t SET (fillfactor = 80)", "GRANT SELECT ON crm.t TO PUBLIC",
     "COMMENT ON POLICY p ON crm.t IS 'y'", "REVOKE INSERT ON crm.t FROM app"],
)  # fmt: skip
def test_what_was_changed_by_hand_stays_drift_where_a_script_changes_another_thing_of_the_object(
    empty_database: FreshDatabase, text: str
) -> None:
    bring_up(empty_database, CUSTOMERS)
    empty_database.do(BY_HAND)
    before = words(empty_database)
    bring_up(empty_database, CUSTOMERS, script(text, "0011.sql"))
    assert words(empty_database) == before
    empty_database.do("REVOKE DELETE ON crm.t FROM readonly; ALTER TABLE crm.t ENABLE ROW LEVEL SECURITY")
    assert not any(line.startswith("table crm.t was changed") for line in words(empty_database))


@pytest.mark.parametrize("head", ["", "-- pgstack: no-transaction\n"])
def test_what_was_dropped_by_hand_ends_with_the_table_that_a_script_drops(
    empty_database: FreshDatabase, head: str
) -> None:
    bring_up(empty_database, CUSTOMERS)
    empty_database.do("DROP INDEX crm.t_n")
    assert words(empty_database) == ("index crm.t.t_n was dropped",)
    bring_up(empty_database, CUSTOMERS, script(f"{head}DROP TABLE crm.t", "0011.sql"))
    assert words(empty_database) == ()


def test_a_schema_made_by_hand_that_the_owner_of_the_scripts_may_not_use_stops_no_up(
    empty_database: FreshDatabase,
) -> None:
    bring_up(empty_database, CUSTOMERS)
    empty_database.do("CREATE SCHEMA hand; CREATE TABLE hand.made (id int)")
    bring_up(empty_database, CUSTOMERS, script("COMMENT ON TABLE crm.t IS 'x'", "0011.sql"))
    assert words(empty_database) == ("schema hand was added", "table hand.made was added")


def test_columns_of_a_view_are_told_where_they_have_something_of_their_own(empty_database: FreshDatabase) -> None:
    first = script("CREATE SCHEMA s; CREATE VIEW s.v AS SELECT 1 AS a, 2 AS b; COMMENT ON COLUMN s.v.a IS 'x'", "1.sql")
    bring_up(empty_database, first)
    empty_database.do("CREATE OR REPLACE VIEW s.v AS SELECT 1 AS a, 2 AS b, 3 AS c")
    assert words(empty_database) == ("view s.v was changed: its query is another",)
    assert accept(empty_database, "view", "s.v")
    empty_database.do("COMMENT ON COLUMN s.v.a IS NULL; COMMENT ON COLUMN s.v.c IS 'y'")
    assert words(empty_database) == (
        "column s.v.a was changed: comment is none, was x", "column s.v.c was added",
    )  # fmt: skip


def test_another_order_of_a_types_attributes_is_drift_and_stays_so_where_a_script_changes_the_type(
    empty_database: FreshDatabase,
) -> None:
    first = script("CREATE SCHEMA s; CREATE TYPE s.two AS (k int, l int)", "0001.sql")
    bring_up(empty_database, first)
    empty_database.do("ALTER TYPE s.two DROP ATTRIBUTE k, ADD ATTRIBUTE k int")
    said = ("type s.two was changed: its attributes are in another order",)
    assert words(empty_database) == said
    bring_up(empty_database, first, script("COMMENT ON TYPE s.two IS 'x'", "0002.sql"))
    assert words(empty_database) == said

"""A database with everything in it: backed up while it is written to, restored, and found to be the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgvector_stacks.backup import store
from pgvector_stacks.backup.create import create
from pgvector_stacks.backup.drill import drill
from pgvector_stacks.backup.manifest import UNSIGNED, BackupFailed, BackupRefused, Manifest, verify
from pgvector_stacks.backup.restore import restore
from pgvector_stacks.backup.restoring import owner_login
from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.toolbox.embedded_toolbox import EmbeddedToolbox
from pgvector_stacks.toolbox.interface import ServerConnection as Reached
from tests.conftest import FreshDatabase

EVERYTHING = r'''
CREATE TABLE app.part (i int, at date, v vector(3), PRIMARY KEY (i, at)) PARTITION BY RANGE (at);
CREATE TABLE app.part_1 PARTITION OF app.part FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE app.part_2 PARTITION OF app.part DEFAULT;
INSERT INTO app.part SELECT i, date '2026-01-01' + i, '[1,2,3]' FROM generate_series(1, 300) i;
CREATE INDEX part_v ON app.part USING hnsw (v vector_l2_ops);
COMMENT ON INDEX app.part_v IS 'nearest';
CREATE TYPE app.mood AS ENUM ('good', 'bad');
CREATE DOMAIN app.short AS varchar(3) CHECK (VALUE IN ('a', 'b'));
CREATE TABLE app."It's = ""odd""" (
    id bigserial PRIMARY KEY, word varchar(9) CHECK (word IN ('one', 'two')), mood app.mood, short app.short,
    twice int GENERATED ALWAYS AS (1 + 1) STORED, "a column" text COLLATE "C", h halfvec(2),
    UNIQUE (word, mood) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO app."It's = ""odd""" (word, mood, short, h) VALUES
    ('one', 'good', 'a', '[1,2]'), ('two', 'bad', 'b', NULL);
CREATE TABLE app.child (id bigint REFERENCES app."It's = ""odd""",
    parent bigint UNIQUE REFERENCES app.child (parent));
CREATE TABLE app.base (i int); CREATE TABLE app.heir (j int) INHERITS (app.base); INSERT INTO app.heir VALUES (1, 2);
CREATE UNLOGGED TABLE app.quick AS SELECT 1 AS i;
CREATE MATERIALIZED VIEW app.seen AS SELECT count(*) FROM app.part;
INSERT INTO app.part VALUES (1000, '2027-01-01', NULL);
CREATE VIEW app.looked AS SELECT word || 'x' AS w FROM app."It's = ""odd""" WHERE word IN ('one', 'two');
CREATE SEQUENCE app.down INCREMENT -5 MINVALUE -1000 MAXVALUE 10 START 10;
SELECT nextval('app.down'), nextval('app.down');
CREATE SEQUENCE app.unused START 77; CREATE SEQUENCE app.last MAXVALUE 9223372036854775807;
SELECT setval('app.last', 9223372036854775807);
CREATE FUNCTION app.f(a int, b text DEFAULT '$x$') RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION app.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON app.child FOR EACH ROW EXECUTE FUNCTION app.t();
ALTER TABLE app.child DISABLE TRIGGER t;
CREATE FUNCTION app.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION app.e();
ALTER TABLE app.child ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON app.child FOR SELECT USING (true);
CREATE PUBLICATION p FOR TABLE app.part; CREATE STATISTICS app.st ON i, at FROM app.part_1;
SELECT lo_from_bytea(0, 'large'); CREATE SCHEMA "Other; Schema"; CREATE TABLE "Other; Schema".t (i int);
CREATE INDEX "near; it" ON app."It's = ""odd""" USING ivfflat (h halfvec_l2_ops) WITH (lists = 1);
ALTER TABLE app.child ADD CONSTRAINT later CHECK (id > 0) NOT VALID;
CREATE TABLE app.busy (i bigserial);
'''


@pytest.fixture
def everything(fresh_database: FreshDatabase) -> FreshDatabase:
    fresh_database.do(EVERYTHING)
    name = fresh_database.admin.database
    fresh_database.do(f"ALTER DATABASE {name} SET pgstack.word = 'it''s, \"quoted\"'")
    fresh_database.do(f"ALTER ROLE app IN DATABASE {name} SET work_mem = '5MB'")
    return fresh_database


@pytest.fixture
def place(everything: FreshDatabase, tmp_path: Path) -> Iterator[tuple[EmbeddedToolbox, Reached, Path]]:
    with everything.programs(tmp_path / "a root") as (made, server):
        yield made, server, tmp_path / "backups"


Place = tuple[EmbeddedToolbox, Reached, Path]


def made(place: Place, database: FreshDatabase) -> tuple[Path, Manifest]:
    toolbox, server, into = place
    create(toolbox, server, into, stack="local", database=database.admin.database)
    folder = store.find_backup(into, None)
    return folder, verify(folder)


def settings(database: FreshDatabase, name: str) -> list[tuple[object, ...]]:
    return database.ask(
        "SELECT setrole::regrole::text, unnest(setconfig) FROM pg_db_role_setting s JOIN pg_database d"
        " ON d.oid = setdatabase WHERE datname = %s ORDER BY 1, 2", name,
    )  # fmt: skip


@pytest.mark.promise("A backup is consistent while rows are written")
def test_everything_comes_back_while_rows_are_written(everything: FreshDatabase, place: Place) -> None:
    with connect(everything.admin, application="test", own_path=True) as connection:
        schema_drift.renew(connection, [])  # as if a script had made it all
        connection.execute("ALTER TABLE app.child DISABLE ROW LEVEL SECURITY")
        connection.execute("ALTER TABLE app.busy ADD CHECK (i > 0)")
    done = threading.Event()

    def write() -> None:
        with connect(everything.admin, application="test", own_path=True) as connection:
            while not done.is_set():
                connection.execute("INSERT INTO app.busy DEFAULT VALUES")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        folder, manifest = made(place, everything)
    finally:
        done.set()
        thread.join()
    own = manifest.find_database(everything.admin.database)
    assert own.sequences_after["app.busy_i_seq"] > own.contents.sequences["app.busy_i_seq"]
    assert own.contents.large_objects == 1
    assert {index.name for index in own.contents.vector_indexes} >= {"part_v", "near; it", "part_1_v_idx"}
    toolbox, server, into = place
    for vector_indexes in (False, True):
        result = drill(toolbox, folder, trust=UNSIGNED, vector_indexes=vector_indexes)
        assert result.problems == ()
    assert store.last_good_drill_time(into) is not None
    with connect(everything.admin, application="test", own_path=True) as connection:
        drifted = schema_drift.find_drift(connection)
    assert {(each.kind, each.identity) for each in drifted} == set(own.drifted or ())
    before = settings(everything, everything.admin.database)
    target: Address = replace(everything.admin, database=f"{everything.admin.database}_other")
    try:
        name = everything.admin.database
        assert restore(toolbox, server, target, folder, manifest, name) is None
        with connect(target, application="test", own_path=True) as connection:
            row = connection.execute("SELECT count(*) FROM app.part").fetchone()
            word = connection.execute("SHOW pgstack.word").fetchone()
            # what had drifted still does; what is only written in other words does not
            assert schema_drift.describe_differences(
                schema_drift.find_drift(connection)
            ) == schema_drift.describe_differences(drifted)
        assert row == (301,)
        assert word == ('it\'s, "quoted"',)
        assert settings(everything, target.database) == before
    finally:
        with connect(everything.server.admin("postgres"), application="test", own_path=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {target.database} WITH (FORCE)".encode())


def test_counting_what_a_database_holds_keeps_no_lock_on_its_tables(everything: FreshDatabase) -> None:
    with connect(everything.admin) as connection, connection.transaction():
        connection.execute(queries.get("backup_contents"))
        held = connection.execute(
            "SELECT relation::regclass::text FROM pg_locks WHERE pid = pg_backend_pid() AND relation >= 16384"
            " AND relation::regclass::text NOT LIKE 'pgstack.%'"
        ).fetchall()
    assert held == []


def test_what_isn_t_in_the_dump_is_found_by_a_drill(everything: FreshDatabase, place: Place) -> None:
    """A dump that is whole by its digests and lacks a table's rows: the manifest was written with other counts."""
    from pgvector_stacks.backup import manifest as manifests

    folder, manifest = made(place, everything)
    own = manifest.find_database(everything.admin.database)
    more = own.contents.model_copy(update={"rows": dict(own.contents.rows) | {"app.heir": 2}})
    others = [each for each in manifest.databases if each.name != own.name]
    changed = manifest.model_copy(update={"databases": (*others, own.model_copy(update={"contents": more}))})
    manifests.write(changed, folder)
    result = drill(place[0], folder, trust=UNSIGNED)
    assert not result.ok
    assert result.problems == (f"database {own.name}: rows of app.heir: 1, was 2",)
    assert store.last_good_drill_time(place[2]) is None
    with pytest.raises(BackupFailed, match=r"rows of app\.heir: 1, was 2"):
        restore(place[0], place[1], everything.admin, folder, changed, own.name)
    assert everything.ask("SELECT count(*) FROM app.part") == [(301,)]
    assert everything.ask("SELECT count(*) FROM pg_database WHERE datname LIKE 'pgstack%%'") == [(0,)]


def test_a_locale_that_the_server_lacks_is_told_and_another_provider_is_kept(
    everything: FreshDatabase, place: Place
) -> None:
    with connect(everything.server.admin("postgres"), application="test", own_path=True) as connection:
        connection.execute(
            b"CREATE DATABASE built_in TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
        )
        try:
            folder, manifest = made(place, everything)
            target = replace(everything.admin, database="built_in")
            restore(place[0], place[1], target, folder, manifest, "built_in")
            row = connection.execute(
                "SELECT datlocprovider::text FROM pg_database WHERE datname = 'built_in'"
            ).fetchone()
            assert row == ("b",)
            elsewhere = manifest.find_database("built_in").model_copy(update={"provider": "c", "collate": "xx_YY.utf8"})
            changed = manifest.model_copy(update={"databases": (elsewhere,)})
            with pytest.raises(BackupRefused, match=r"it needs the locale xx_YY\.utf8"):
                restore(place[0], place[1], target, folder, changed, "built_in")
        finally:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE datname ~ '^(built_in|pgstack_)'"
            ).fetchall()
            for (name,) in rows:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_table_that_stays_locked_fails_the_backup_and_nothing_is_kept(
    everything: FreshDatabase, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgvector_stacks.common import shell

    monkeypatch.setattr(shell, "get", lambda *names, get=shell.get: get(*names).replace("60s", "1s"))
    with connect(everything.admin, autocommit=False, application="test", own_path=True) as holder:
        holder.execute("LOCK TABLE app.base")
        with pytest.raises(BackupFailed, match="lock timeout"):
            made(place, everything)
    assert {path.name for path in place[2].iterdir()} == {".lock"}
    made(place, everything)


def test_a_failed_restore_revokes_what_it_granted_to_owners(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    fresh_database.do("CREATE SCHEMA closed")
    database = fresh_database.admin.database
    held = (
        "SELECT has_schema_privilege('app', 'closed', 'CREATE')"
        " OR has_database_privilege('app', current_database(), 'CREATE')"
    )

    def fail(toolbox: EmbeddedToolbox, server: Reached) -> None:
        with owner_login.granting_create(toolbox, server, database, ["app"]):
            assert fresh_database.ask(held) == [(True,)]
            raise ServerError("pg_restore failed")

    with (
        fresh_database.programs(tmp_path / "root") as (toolbox, server),
        pytest.raises(ServerError, match="pg_restore failed"),
    ):
        fail(toolbox, server)
    assert fresh_database.ask(held) == [(False,)]

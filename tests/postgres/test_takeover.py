"""A database of other hands is taken over once: its objects become the owner's, and nobody loses what he could do."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgvector_stacks.common.errors import ConnectionFailed, PgstackError
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.migrations import apply, ledger, takeover
from pgvector_stacks.migrations.baseline import remove_schemas
from pgvector_stacks.sizing.settings import derive_settings
from tests.conftest import LIMITS, script

THEIRS = """
CREATE SCHEMA shop;
CREATE EXTENSION vector SCHEMA shop;
CREATE TYPE shop.state AS ENUM ('open', 'paid');
CREATE DOMAIN shop.email AS text CHECK (VALUE LIKE '%@%');
CREATE TYPE shop.pair AS (a int, b int);
CREATE TYPE shop.span AS RANGE (subtype = int);
CREATE SEQUENCE shop.number;
CREATE TABLE shop.item (id serial PRIMARY KEY, n int DEFAULT nextval('shop.number'), state shop.state,
                        v shop.vector(3));
CREATE TABLE shop.part (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE shop.part_1 PARTITION OF shop.part DEFAULT;
CREATE INDEX ON shop.item USING hnsw (v shop.vector_l2_ops);
CREATE VIEW shop.open AS SELECT * FROM shop.item WHERE state = 'open';
CREATE MATERIALIZED VIEW shop.total AS SELECT count(*) FROM shop.item;
CREATE FUNCTION shop.twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
CREATE PROCEDURE shop.nothing() LANGUAGE sql AS '';
CREATE AGGREGATE shop.product(int) (sfunc = int4mul, stype = int, initcond = '1');
CREATE OPERATOR shop.=== (leftarg = int, rightarg = int, function = int4eq);
CREATE COLLATION shop.plain (provider = libc, locale = 'C');
CREATE STATISTICS shop.both ON id, n FROM shop.item;
CREATE TEXT SEARCH CONFIGURATION shop.plainly (copy = simple);
CREATE PUBLICATION changes FOR TABLE shop.item;
CREATE ROLE reporting LOGIN PASSWORD 'report';
GRANT USAGE ON SCHEMA shop TO reporting;
GRANT SELECT ON shop.item TO reporting;
CREATE ROLE other;
CREATE TABLE public.of_another (i int);
ALTER TABLE public.of_another OWNER TO other;
INSERT INTO shop.item (state, v) VALUES ('open', '[1,2,3]');
SELECT lo_create(4711);
"""


class Old:
    """A server whose first superuser has a name of the user's choosing."""

    def __init__(self, directory: embedded_server.Directory, port: int, password: str) -> None:
        self.directory, self.port, self.password = directory, port, password

    def admin(self, database: str = "shop") -> Address:
        return Address(embedded_server.HOST, self.port, database, "postgres", self.password)

    def ask(self, query: str, database: str = "shop") -> list[tuple[Any, ...]]:
        with connect(self.admin(database), application="test", own_path=True) as connection:
            found = connection.execute(query.encode())
            return found.fetchall() if found.description else []

    def take_over(self, *scripts: Any, baseline: tuple[str, ...] = ()) -> list[str]:
        said: list[str] = []
        request = apply.Request(
            "test", scripts or (script("select 1", "0001.sql"),), baseline=baseline, lock_wait_s=5.0, adopted=True,
            app_password=self.password, readonly_password=self.password,
        )  # fmt: skip
        apply.apply(self.admin(), request, said.append)
        return said


Make = Callable[[str], Old]


@pytest.fixture
def old() -> Iterator[Make]:
    """As initdb.d left it and prepare.sh opened it: `postgres` was added where the superuser isn't called so."""
    servers: list[Old] = []
    with tempfile.TemporaryDirectory(prefix="pgstack test ") as folder:

        def make(user: str) -> Old:
            directory = embedded_server.Directory(Path(folder) / "18", 18)
            server = Old(directory, 0, secrets.token_urlsafe(12))
            embedded_server.initialise(directory, server.password)
            server.port = embedded_server.start(directory, derive_settings(LIMITS))
            servers.append(server)
            if user != "postgres":  # initdb calls the first one postgres here
                server.ask("CREATE ROLE helper SUPERUSER LOGIN PASSWORD 'x'", "postgres")
                helper = replace(server.admin("postgres"), user="helper", password="x")
                with connect(helper) as connection:
                    connection.execute(f"ALTER ROLE postgres RENAME TO {user}".encode())
                    connection.execute(b"CREATE ROLE postgres SUPERUSER LOGIN")
                    connection.execute(f"ALTER ROLE postgres PASSWORD '{server.password}'".encode())
            theirs = replace(server.admin("postgres"), user=user)
            with connect(theirs) as connection:
                connection.execute(b"CREATE DATABASE shop")
            with connect(replace(theirs, database="shop")) as connection:
                connection.execute(THEIRS.encode())
            return server

        try:
            yield make
        finally:
            for server in servers:
                embedded_server.stop(server.directory)


OWNERS = """
SELECT DISTINCT pg_get_userbyid(owner) FROM (
    SELECT relowner AS owner FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relname !~ 'vector'
    UNION ALL SELECT nspowner FROM pg_namespace WHERE nspname = 'shop'
    UNION ALL SELECT proowner FROM pg_proc WHERE pronamespace = 'shop'::regnamespace
                 AND proname IN ('twice', 'nothing', 'product')
    UNION ALL SELECT typowner FROM pg_type WHERE typnamespace = 'shop'::regnamespace
                 AND typname IN ('state', 'email', 'pair', 'span', '_state', 'item')
    UNION ALL SELECT oprowner FROM pg_operator WHERE oprname = '==='
    UNION ALL SELECT collowner FROM pg_collation WHERE collname = 'plain'
    UNION ALL SELECT stxowner FROM pg_statistic_ext
    UNION ALL SELECT cfgowner FROM pg_ts_config WHERE cfgname = 'plainly'
    UNION ALL SELECT pubowner FROM pg_publication
    UNION ALL SELECT lomowner FROM pg_largeobject_metadata) all_of_them
"""


@pytest.mark.promise("Adopting a database takes no right from anybody")
@pytest.mark.parametrize("user", ["postgres", "boss", "app"])
def test_every_kind_of_object_becomes_the_owners_and_nobody_loses_a_right(old: Make, user: str) -> None:
    server = old(user)
    said = server.take_over()
    assert server.ask(OWNERS) == [("schema_owner",)]
    # the extension and another's table stay with whom they belong to
    (vector,) = server.ask("SELECT pg_get_userbyid(typowner) FROM pg_type WHERE typname = 'vector'")
    assert vector == ("app_superuser" if user == "app" else user,)
    assert server.ask("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'of_another'") == [("other",)]
    assert any("1 of the objects stay with other" in line for line in said)
    assert any(line.startswith("took over 25 objects") for line in said), said  # the range has 5 constructors
    # the application may do what it did, and is no superuser; the readers got nothing where others had rights
    app = replace(server.admin(), user="app")
    with connect(app) as connection:
        assert connection.execute("SHOW is_superuser").fetchone() == ("off",)
        connection.execute("INSERT INTO shop.item (state) VALUES ('paid')")
        connection.execute("SELECT * FROM shop.open, shop.total")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE shop.item")
    with connect(replace(app, user="readonly")) as connection:
        connection.execute("SELECT * FROM shop.part")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM shop.item")
    assert any("GRANT SELECT ON shop.item TO readonly" in line for line in said)
    with connect(replace(app, user="reporting", password="report")) as connection:
        connection.execute("SELECT * FROM shop.item")
    # the old superuser is what it was, under another name only where its own is ours
    name = "app_superuser" if user == "app" else user
    with connect(replace(server.admin(), user=name)) as connection:
        assert connection.execute("SHOW is_superuser").fetchone() == ("on",)
    # scripts can change what they did not make, and it all happened once
    server.take_over(script("select 1", "0001.sql"), script("ALTER TABLE shop.item ADD COLUMN price int", "0002.sql"))
    assert server.ask("SELECT count(*) FROM pgstack.event WHERE kind = 'adopted'") == [(1,)]


def test_an_interrupted_takeover_is_done_again(old: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    server = old("boss")
    calls = 0

    def fail(*_: object, **__: object) -> None:
        nonlocal calls
        calls += 1
        raise PgstackError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "add_event", fail)
        with pytest.raises(PgstackError, match="interrupted"):
            server.take_over()
    assert calls > 0
    assert server.ask("SELECT count(*) FROM pgstack.event WHERE kind = 'adopted'") == [(0,)]
    server.take_over()
    assert server.ask("SELECT count(*) FROM pgstack.event WHERE kind = 'adopted'") == [(1,)]
    assert server.ask(OWNERS) == [("schema_owner",)]


def test_a_role_of_theirs_with_a_name_of_ours_loses_its_powers_and_not_its_tables(old: Make) -> None:
    server = old("postgres")
    server.ask("CREATE ROLE app SUPERUSER LOGIN PASSWORD 'x'; CREATE TABLE public.mine (i int)")
    server.ask("ALTER TABLE public.mine OWNER TO app")
    said = server.take_over()
    assert "the role app is the stack's own from now on" in said[0]
    assert "no superuser any more" in said[0]
    assert server.ask("SELECT rolsuper FROM pg_roles WHERE rolname = 'app'") == [(False,)]
    assert any("REASSIGN OWNED BY app TO schema_owner" in line for line in said)


def test_what_is_in_the_way_of_renaming_is_named_and_nothing_is_changed(old: Make) -> None:
    server = old("app")
    server.ask("CREATE ROLE app_superuser")
    with pytest.raises(PgstackError, match="app_superuser is taken too\n  rename that one"):
        server.take_over()
    assert server.ask("SELECT rolname FROM pg_roles WHERE oid = 10") == [("app",)]


def test_an_adopted_database_that_is_not_there_is_never_made(old: Make) -> None:
    server = old("postgres")
    request = apply.Request("test", (script("select 1"),), adopted=True)
    with pytest.raises(ConnectionFailed, match="check pgvector:database"):
        apply.apply(server.admin("store"), request)
    assert server.ask("SELECT count(*) FROM pg_database WHERE datname = 'store'") == [(0,)]


def test_settings_of_the_old_files_and_passwords_as_md5_are_told(old: Make) -> None:
    server = old("postgres")
    server.ask("ALTER SYSTEM SET log_min_messages = 'error'")
    embedded_server.stop(server.directory)
    server.port = embedded_server.start(server.directory, derive_settings(LIMITS))
    server.ask("SET password_encryption = md5; CREATE ROLE aged LOGIN PASSWORD 'x'")
    said = "\n".join(server.take_over())
    assert "log_min_messages" in said.partition("settings of the old files that stay in force: ")[2]
    assert "pg_hba.conf refuses: aged; set them again" in said


def test_a_baseline_takes_an_extension_in_another_schema_for_the_same(old: Make) -> None:
    server = old("boss")
    theirs = script("create table shop.likeness (v vector(3)); create index by_v on shop.likeness "
                    "using hnsw (v vector_l2_ops);", "0002.sql")  # fmt: skip
    with connect(replace(server.admin(), user="boss")) as connection:
        connection.execute(b"SET search_path = shop, public")
        connection.execute(theirs.text.encode())
    server.take_over(script("create schema if not exists shop", "0001.sql"), theirs, baseline=("0002.sql",))
    assert server.ask("SELECT name, baseline FROM pgstack.ledger ORDER BY position") == [
        ("0001.sql", False), ("0002.sql", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app.vector(3)", "vector(3)"),
        ("other.app.vector app.vectors xapp.vector", "other.app.vector app.vectors xapp.vector"),
        ("(a OPERATOR(app.<=>) b)", "(a OPERATOR(<=>) b)"),
        ("app.twice(v app.vector)", "app.twice(v vector)"),
    ],
)
def test_only_names_of_extensions_lose_their_schema(text: str, expected: str) -> None:
    assert remove_schemas(text, ["app.vector", "app.<=>"]) == expected


def test_a_takeover_knows_whether_it_was_done(old: Make) -> None:
    server = old("boss")
    with connect(server.admin()) as connection:
        assert not takeover.is_done(connection)
    server.take_over()
    with connect(server.admin()) as connection:
        assert takeover.is_done(connection)

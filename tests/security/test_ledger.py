"""A script's owner can't forge the ledger: not before it lands, not while it lands, not half-way, not in an old one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from pgvector_stacks.common.errors import ConnectionFailed, PgstackError, SqlFailed
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.connections.up_lock import OLDER
from pgvector_stacks.migrations.execution import ledger_writer
from tests.conftest import FreshDatabase, script

HEAD = "-- pgstack: no-transaction\n"
MARK = (
    "insert into pgstack.ledger (name, position, sha256, normalised, statements, duration_ms, applied_by)"
    " values ('9999_later.sql', 9, 'x', 'x', 1, 1, 'nobody')"
)
ATTACKS = {
    "mark a later one": MARK,
    "change a row": "update pgstack.ledger set sha256 = 'x'",
    "forget a row": "delete from pgstack.ledger",
    "empty it": "truncate pgstack.ledger",
    "write an event": "insert into pgstack.event (kind, message, by_whom) values ('applied', 'x', 'x')",
    "change an event": "update pgstack.event set by_whom = 'x'",
    "delete events": "delete from pgstack.event",
    "hide drift": "delete from pgstack.object",
    "skip statements": "insert into pgstack.statement (script, number, normalised, state) values ('x', 0, 'x', 'done')",
    "leave something": "insert into pgstack.landing (pid, statements) values (pg_backend_pid(), 'select 1')",
    "read what is left": "select statements from pgstack.landing",
    "land": "select pgstack.land()",
    "land with settings": 'select pgstack.land(\'{"settings": {"role": "postgres"}}\')',
    "act on a table": "create trigger t before insert on pgstack.ledger execute function pgstack.refuse_change()",
    "own a function": "create or replace function pgstack.land(settings jsonb default null) returns void"
    " language sql as 'select'",
    "add to the schema": "create table pgstack.more ()",
    "take the schema": "alter schema pgstack owner to schema_owner",
    "drop the schema": "drop schema pgstack cascade",
    "rename the schema": "alter schema pgstack rename to other",
    "take a right": "grant all on pgstack.ledger to schema_owner; " + MARK,
    "have it done in a function": f"do $$ begin execute $x${MARK}$x$; end $$",
    "have it done at the end": (
        "create function app.later() returns trigger language plpgsql as $$ begin perform pgstack.land(); return null;"
        " end $$; create table app.t (id int); create constraint trigger t after insert on app.t deferrable initially"
        " deferred for each row execute function app.later(); insert into app.t values (1)"
    ),
}


def contents(database: FreshDatabase) -> list[list[tuple[Any, ...]]]:
    """All that pgstack holds, but for events of failures."""
    return [
        database.ask("SELECT * FROM pgstack.ledger ORDER BY position"),
        database.ask("SELECT * FROM pgstack.event WHERE kind <> 'failed' ORDER BY 1"),
        database.ask("SELECT * FROM pgstack.statement ORDER BY 1, 2"),
        database.ask("SELECT * FROM pgstack.object ORDER BY 1, 2"),
    ]


@pytest.mark.promise("No script can write the ledger")
def test_the_owner_writes_nothing(fresh_database: FreshDatabase) -> None:
    before = contents(fresh_database)
    cluster = connect(replace(fresh_database.admin, database="postgres"))
    with cluster, roles.open_owner_connection(cluster, fresh_database.admin) as owner:
        for attack in ATTACKS.values():
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.execute(f"{attack}; SET CONSTRAINTS ALL IMMEDIATE".encode())
            owner.rollback()
    assert contents(fresh_database) == before


@pytest.mark.parametrize("head", ["", HEAD], ids=["together", "apart"])
def test_a_script_that_lands_by_itself_fails(fresh_database: FreshDatabase, head: str) -> None:
    before = contents(fresh_database)
    for name in ("mark a later one", "land", "land with settings", "have it done at the end"):
        with pytest.raises(SqlFailed) as failed:
            fresh_database.apply(script(head + ATTACKS[name], "4_attack.sql"))
        # a step may say of itself that it is done, and once
        allowed = ("42501", "23505") if head and name.startswith("land") else ("42501",)
        assert failed.value.sqlstate in allowed, (name, str(failed.value))
        if head:  # outside of a transaction the statements before stay
            fresh_database.do("DELETE FROM pgstack.statement")
            fresh_database.do("DROP TABLE IF EXISTS app.t; DROP FUNCTION IF EXISTS app.later")
            fresh_database.do("DELETE FROM pgstack.object o WHERE o.identity ~ '(later|app\\.t)\\M'")
        assert contents(fresh_database) == before, name


@pytest.mark.parametrize("head", ["", HEAD], ids=["together", "apart"])
def test_a_script_that_goes_on_behind_the_errors_has_written_nothing(fresh_database: FreshDatabase, head: str) -> None:
    others = ("have it done at the end", "take a right", *(("land", "land with settings") if head else ()))
    caught = [
        "do $c$ begin execute $z$" + attack.replace("$$", "$y$") + "$z$; exception when others then null; end $c$"
        for name, attack in ATTACKS.items()
        if name not in others
    ]
    tried = script(head + ";\n".join(caught))
    before = contents(fresh_database)
    fresh_database.apply(tried)
    ledger, events, statements, objects = contents(fresh_database)
    assert ledger[: len(before[0])] == before[0]
    assert [row[:4] for row in ledger[len(before[0]) :]] == [("0004_test.sql", 4, "0" * 64, tried.normalised)]
    assert events[: len(before[1])] == before[1]
    assert {row[2] for row in events[len(before[1]) :]} == {"applied"}
    assert (statements, objects) == (before[2], before[3])


def test_what_is_left_for_one_transaction_is_for_no_other(fresh_database: FreshDatabase) -> None:
    """A killed `up` leaves rows; and a process number comes again."""
    fresh_database.do(
        "INSERT INTO pgstack.landing (pid, transaction, statements)"
        f" SELECT pid, kind, $x${MARK}$x$ FROM generate_series(1, 99999) AS pid, unnest('{{NULL,700}}'::xid8[]) kind"
    )
    with pytest.raises(SqlFailed, match="42501"):
        fresh_database.apply(script("select pgstack.land()"))
    assert len(fresh_database.names()) == 3
    assert fresh_database.ask("SELECT count(*) FROM pgstack.landing") == [(0,)]


def test_a_script_that_ends_its_transaction_unseen_is_not_recorded(fresh_database: FreshDatabase) -> None:
    """As one would that our scanner reads otherwise than the server does; here the group lands by hand."""
    with connect(fresh_database.admin) as admin, connect(fresh_database.admin, autocommit=False) as owner:
        began = ledger_writer.transaction(owner)
        owner.execute("COMMIT; BEGIN")
        with pytest.raises(SqlFailed, match="ended the transaction it runs in"):
            ledger_writer.run_staged(admin, owner, [(MARK, None)], began=began)
    assert len(fresh_database.names()) == 3


@pytest.mark.promise("Events are append-only, for the administrator too")
def test_events_are_append_only_for_the_administrator_too(fresh_database: FreshDatabase) -> None:
    for change in ("DELETE FROM pgstack.event", "UPDATE pgstack.event SET kind = 'x'", "TRUNCATE pgstack.event"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            fresh_database.do(change)


def test_an_old_ledger_is_taken_over(fresh_database: FreshDatabase) -> None:
    """Databases of the version before: the owner had these rights."""
    fresh_database.do(
        "DROP TABLE pgstack.landing; DROP FUNCTION pgstack.land; DROP TRIGGER append_only ON pgstack.event;"
        "GRANT SELECT, INSERT, UPDATE, DELETE ON pgstack.ledger, pgstack.statement, pgstack.object TO schema_owner;"
        "GRANT SELECT, INSERT ON pgstack.event TO schema_owner"
    )
    before = contents(fresh_database)
    with pytest.raises(SqlFailed, match="42501"):
        fresh_database.apply(script(MARK))
    assert contents(fresh_database) == before
    assert fresh_database.apply(script("create table app.more ()")).ran == ("0004_test.sql",)


def test_a_ledger_of_somebody_else_is_refused(fresh_database: FreshDatabase) -> None:
    """In a database that was adopted: its triggers and functions would run as a superuser."""
    fresh_database.do(
        "CREATE FUNCTION pgstack.mine() RETURNS void LANGUAGE sql AS 'select';"
        "ALTER FUNCTION pgstack.mine OWNER TO schema_owner"
    )
    with pytest.raises(PgstackError, match="belongs to schema_owner") as refused:
        fresh_database.apply()
    assert "ALTER SCHEMA pgstack OWNER" in str(refused.value)


def test_who_is_no_administrator_keeps_no_up_waiting(fresh_database: FreshDatabase) -> None:
    """Neither by the lock itself nor by that of older versions, also where somebody let them into `postgres`."""
    fresh_database.apply()
    fresh_database.do("GRANT CONNECT ON DATABASE postgres TO app")
    with connect(replace(fresh_database.as_role("app"), database="postgres"), autocommit=False) as other:
        for statement in ("LOCK TABLE pgstack.up IN EXCLUSIVE MODE", "SELECT FROM pgstack.up FOR UPDATE"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute(statement.encode())
            other.rollback()
        other.execute("SELECT pg_advisory_lock(%(classid)s::int, %(objid)s::int)", OLDER)
        assert fresh_database.apply(script("create table app.more ()"), lock_wait_s=0.3).ran == ("0004_test.sql",)
    fresh_database.do("REVOKE CONNECT ON DATABASE postgres FROM app")


def test_an_up_of_an_older_version_is_waited_for(fresh_database: FreshDatabase) -> None:
    with connect(replace(fresh_database.admin, database="postgres")) as older:
        older.execute("SELECT pg_advisory_lock(%(classid)s::int, %(objid)s::int)", OLDER)
        with pytest.raises(ConnectionFailed, match=r"another `up` works on this server: process \d+ \(pgstack"):
            fresh_database.apply(lock_wait_s=0.3)
    fresh_database.apply()


def test_two_first_ups_come_together(fresh_database: FreshDatabase) -> None:
    for _ in range(5):
        with connect(replace(fresh_database.admin, database="postgres")) as cluster:
            cluster.execute("DROP SCHEMA IF EXISTS pgstack CASCADE")
        with ThreadPoolExecutor(4) as pool:
            assert {made.ran for made in pool.map(lambda _: fresh_database.apply(lock_wait_s=30.0), range(4))} == {()}

"""No-transaction scripts: what ends a session half-way, what another server has, who holds a lock."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from pgvector_stacks.common.errors import PgstackError, PlanRefused, SqlFailed
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.migrations.scripts import steps
from tests.conftest import FreshDatabase, script

HEAD = "-- pgstack: no-transaction\n"
BASE = script(
    "create schema a; create schema b; create table a.log (v text); create table a.t (i int);"
    " create table a.p (i int) partition by range (i); create table a.p1 partition of a.p for values from (0) to (9)",
    "1.sql",
)
LOG = "select coalesce(string_agg(v, ' ' order by v), '') from a.log"


def up(database: FreshDatabase, text: str, **options: Any) -> None:
    database.apply(scripts=(BASE, script(HEAD + text, "2.sql")), **options)
    assert differences(database) == []
    assert database.ask("SELECT FROM pgstack.statement") == []


def stop(database: FreshDatabase, text: str, why: str = "division by zero", **options: Any) -> str:
    with pytest.raises(PgstackError, match=why) as failed:
        database.apply(scripts=(BASE, script(HEAD + text, "2.sql")), **options)
    assert differences(database) == []
    return str(failed.value)


def differences(database: FreshDatabase) -> list[str]:
    with connect(database.admin) as connection:
        return list(schema_drift.describe_differences(schema_drift.find_drift(connection)))


OPENINGS = (
    "do $$ begin execute format('alter database %I set search_path = b', current_database()); end $$; {stop};"
    " create table k (i int); insert into a.log values ('k')",
    "begin; do $$ begin execute format('alter database %I set search_path = b', current_database()); end $$; commit;"
    " set my.x = 'x'; {stop}; create table k (i int); insert into a.log values ('k')",
    "vacuum a.t; do $$ begin execute format('alter database %I set search_path = b', current_database()); end $$;"
    " {stop}; create table k (i int); insert into a.log values ('k')",
)


@pytest.mark.parametrize(("text", "stopped"), [(OPENINGS[0], False), *((text, True) for text in OPENINGS)])
def test_what_it_sets_for_the_database_holds_from_the_next_script_on(
    empty_database: FreshDatabase, text: str, stopped: bool
) -> None:
    """A rerun's new connection has the setting already; the session that the script began in hadn't."""
    if stopped:
        stop(empty_database, text.format(stop="select 1/0"))
    last = script("create table l (i int)", "3.sql")
    empty_database.apply(scripts=(BASE, script(HEAD + text.format(stop="select 1"), "2.sql"), last))
    assert differences(empty_database) == []
    found = empty_database.ask("SELECT schemaname, tablename FROM pg_tables WHERE tablename IN ('k', 'l') ORDER BY 2")
    assert found == [("public", "k"), ("b", "l")]


SETTINGS = {
    "do $$ begin perform set_config('my.a', '7', false); commit; set my.b = '8'; end $$": "78",
    "begin; savepoint s; set my.a = '1'; savepoint s; set my.b = '2'; release s; rollback to s; commit": "",
    "begin; savepoint s; set my.a = '1'; savepoint t; set my.b = '2'; rollback to s; savepoint t; set my.c = '3';"
    " rollback to t; set my.d = '4'; commit": "4",
    "select set_config('my.a', 'now'::timestamptz::text, false); "
    "insert into a.log values (current_setting('my.a'))": None,
}


@pytest.mark.parametrize("text", SETTINGS)
def test_a_rerun_has_the_settings_of_the_first_session(empty_database: FreshDatabase, text: str) -> None:
    rest = (
        "insert into a.log select string_agg(current_setting('my.' || n, true), '') from unnest('{a,b,c,d}'::text[]) n"
    )
    stop(empty_database, f"{text}; select 1/0; {rest}")
    up(empty_database, f"{text}; select 1; {rest}")
    found = [row[0] for row in empty_database.ask("SELECT v FROM a.log")]
    if SETTINGS[text] is None:  # a time of day, logged twice
        assert len(found) == 2
        assert len(set(found)) == 1
    else:
        assert [value or "" for value in found] == [SETTINGS[text]]


def test_only_what_is_made_temporary_is_temporary() -> None:
    """TEMP is no reserved word: weather has a column of that name."""
    made = script(HEAD + "create table a.w (temp int); create index concurrently on a.w (temp); select 1::int")
    assert [step.kind for step in steps.split_into_steps(made)[0]] == ["statement"] * 3
    assert steps.split_into_steps(made)[1] == ()
    for word in ("temp", "temporary", "local temp", "global temporary", "or replace temp"):
        kind = "view x as select 1 as i" if "replace" in word else "table x (i int)"
        used = script(HEAD + f"create {word} {kind}; select * from x")
        assert [step.kind for step in steps.split_into_steps(used)[0]] == ["temporary"]


TAKEN_AWAY = {
    "drop index concurrently a.x": "SELECT count(*) FROM pg_class WHERE relname = 'x'",
    "alter table a.p detach partition a.p1 concurrently": "SELECT count(*) FROM pg_inherits WHERE inhrelid::regclass"
    " = 'a.p1'::regclass",
}


@pytest.mark.parametrize("statement", TAKEN_AWAY)
def test_what_a_restored_backup_still_has_is_taken_away(empty_database: FreshDatabase, statement: str) -> None:
    """A dump taken while the statement was waiting: the OIDs in its note are those of the other server."""
    text = f"create index x on a.t (i); {statement}; "
    lock = "LOCK TABLE a.t, a.p, a.p1 IN ACCESS SHARE MODE"
    with connect(empty_database.admin, autocommit=False) as reader:
        stop(empty_database, "create index x on a.t (i); select 1/0")
        reader.execute(lock.encode())
        stop(empty_database, text + "select 1", "lock timeout", lock_timeout_s=0.1, lock_wait_s=0.2)
    # as in a restored one: what was there is whole, and has other numbers
    empty_database.do(
        "DO $$ BEGIN IF NOT (SELECT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid ="
        " to_regclass('a.x')), false)) THEN DROP INDEX IF EXISTS a.x; SET ROLE schema_owner;"
        " CREATE INDEX x ON a.t (i); RESET ROLE; END IF; END $$"
    )
    if "detach" in statement:
        if empty_database.ask("SELECT FROM pg_inherits WHERE inhdetachpending"):
            empty_database.do("ALTER TABLE a.p DETACH PARTITION a.p1 FINALIZE")
            empty_database.do("ALTER TABLE a.p ATTACH PARTITION a.p1 FOR VALUES FROM (0) TO (9)")
        empty_database.do("UPDATE pgstack.statement SET note = note || '{\"oid\": 1}' WHERE state = 'started'")
    up(empty_database, text + "select 1")
    assert empty_database.ask(TAKEN_AWAY[statement]) == [(0,)]


COMMITS = (
    "do $$ begin insert into a.log values ('1'); commit; lock table a.t in share mode; insert into a.log values ('2');"
    " end $$; insert into a.log values ('3')"
)


def test_a_procedure_that_commits_waits_and_is_not_tried_again(empty_database: FreshDatabase) -> None:
    """What it committed before the lock would come twice."""
    empty_database.apply(scripts=(BASE,))
    with connect(empty_database.admin, autocommit=False) as holder:
        holder.execute("LOCK TABLE a.t IN ROW EXCLUSIVE MODE")

        def let_go() -> None:
            while empty_database.ask(LOG) == [("",)]:
                time.sleep(0.05)
            time.sleep(0.4)
            holder.rollback()

        ends = threading.Thread(target=let_go)
        ends.start()
        up(empty_database, COMMITS, lock_timeout_s=0.1, lock_wait_s=10)
        ends.join()
    assert empty_database.ask(LOG) == [("1 2 3",)]


def test_a_procedure_that_commits_and_gets_no_lock_is_told(empty_database: FreshDatabase) -> None:
    empty_database.apply(scripts=(BASE,))
    with connect(empty_database.admin, autocommit=False) as holder:
        holder.execute("LOCK TABLE a.t IN ROW EXCLUSIVE MODE")
        told = stop(empty_database, COMMITS, "lock timeout", lock_timeout_s=0.1, lock_wait_s=0.5)
    assert "may have committed part of its work" in told
    assert empty_database.ask(LOG) == [("1",)]


def test_what_committed_inside_is_done_though_its_record_lost_its_connection(empty_database: FreshDatabase) -> None:
    """It began again in the next `up`. The administrator's connection says nothing while it runs, for hours perhaps."""
    empty_database.apply(scripts=(BASE,))
    text = "do $$ begin insert into a.log values ('1'); commit; perform pg_sleep(1); end $$; select 2"

    def cut() -> None:
        while empty_database.ask(LOG) == [("",)]:
            time.sleep(0.05)
        empty_database.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = 'postgres' AND datname = current_database() AND pid <> pg_backend_pid()"
        )

    cuts = threading.Thread(target=cut)
    cuts.start()
    stop(empty_database, text, "went away")
    cuts.join()
    up(empty_database, text)
    assert empty_database.ask(LOG) == [("1",)]


@pytest.mark.parametrize("text", ["insert into a.log values ('1')", "vacuum a.t; insert into a.log values ('1')"])
def test_a_locked_catalog_is_waited_for(empty_database: FreshDatabase, text: str) -> None:
    """Looking at the schema needs locks, too: before the first step, after each, and at the end."""
    empty_database.apply(scripts=(BASE,))
    with connect(empty_database.admin, autocommit=False, application="reporting") as holder:
        holder.execute("CREATE INDEX ON a.t (i)")
        holder.execute("LOCK TABLE a.t, a.p IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(SqlFailed, match=r"(?s)lock timeout.*no lock within.*reporting"):
            empty_database.apply(scripts=(BASE, script(HEAD + text, "2.sql")), lock_timeout_s=0.1, lock_wait_s=0.5)
        ends = threading.Timer(0.8, holder.rollback)
        ends.start()
        up(empty_database, text, lock_timeout_s=0.1, lock_wait_s=5)
        ends.join()
    assert empty_database.ask(LOG) == [("1",)]


def test_an_error_in_a_prepared_text_is_told_as_it_is(empty_database: FreshDatabase) -> None:
    """Its position is one of the text that was prepared."""
    text = "set search_path = a; prepare p as insert into log values (current_user); set search_path = b; execute p"
    for head in (HEAD, ""):
        with pytest.raises(SqlFailed, match=r'2\.sql:\d(:\d+)?: relation "log" does not exist \(42P01\)'):
            empty_database.apply(scripts=(BASE, script(head + text, "2.sql")))


def test_an_edit_of_what_ran_names_the_statement(empty_database: FreshDatabase) -> None:
    first = "insert into a.log values ('1');\ninsert into a.log values ('2');\n"
    stop(empty_database, first + "select 1/0")
    for text, told in (
        (
            first.replace("'2'", "'3'") + "select 1",
            r"(?s)statement 2, line 3, .*3 \| insert into a\.log values \('3'\)",
        ),
        (first.split("\n")[0], r"it has 1 statements? now, but 2 ran"),
        ("select 0;\n" + first, r"statement 1, line 2, is not the one that ran"),
    ):
        with pytest.raises(PlanRefused, match=told) as refused:
            up(empty_database, text)
        assert "the first 2 statements stay as they ran" in str(refused.value)
        by_hand = "DELETE FROM pgstack.statement WHERE script = '2.sql'"
        assert f"in `pgstack psql STACK --as admin`:\n    {by_hand}" in str(refused.value)
    up(empty_database, first + "select 1")
    assert empty_database.ask(LOG) == [("1 2",)]


COMMENTED = "commit /* ; */ -- so far\n"


@pytest.mark.parametrize(
    ("call", "commit"),
    [
        ("DO $$ {body} $$", "COMMIT"),
        ("DO $$ {body} $$", COMMENTED),
        ('CALL s."Outer one"()', COMMENTED),
        ('DO $$ BEGIN CALL s."Outer one"(); END $$', "COMMIT AND CHAIN"),
        ("CALL s.outermost()", "COMMIT"),
    ],
)
def test_what_commits_inside_begins_once(empty_database: FreshDatabase, call: str, commit: str) -> None:
    """Tried in a transaction first it took a number of the sequence that no row had."""
    body = f"BEGIN FOR i IN 1..3 LOOP INSERT INTO s.kept DEFAULT VALUES; {commit}; END LOOP; END"
    made = script(
        "CREATE SCHEMA s; CREATE TABLE s.kept (id serial);"
        f"CREATE PROCEDURE s.fill() LANGUAGE plpgsql AS $$ {body} $$;"
        'CREATE PROCEDURE s."Outer one"() LANGUAGE plpgsql AS $$ BEGIN CALL s.fill(); END $$;'
        'CREATE PROCEDURE s.outermost() LANGUAGE plpgsql AS $$ BEGIN CALL S."Outer one"(); END $$',
        "0001.sql",
    )
    apart = script(f"-- pgstack: no-transaction\n{call.format(body=body)}", "0002.sql")
    empty_database.apply(scripts=(made, apart))
    assert empty_database.ask("SELECT array_agg(id ORDER BY id) FROM s.kept") == [([1, 2, 3],)]


def test_a_setting_for_the_transaction_alone_is_neither_kept_nor_computed_again(empty_database: FreshDatabase) -> None:
    """A rerun took it for the session's: rows went into another schema's table."""
    text = (
        "create sequence a.s; create table a.one (i int); create table b.one (i int); set search_path = a;"
        " do $$ begin execute 'select set_config(''search_path'', ''b'', true)'; insert into one values (1); end $$;"
        " select set_config('my.n', nextval('a.s')::text, true);"
        " begin; select pg_catalog.set_config('search_path', 'B'::text, 'on'); select set_config('my.n',"
        " nextval('a.s')::text, (true)::bool and true); commit; {stop}; insert into one values (nextval('a.s'))"
    )
    stop(empty_database, text.format(stop="select 1/0"))
    up(empty_database, text.format(stop="select 1"))
    assert empty_database.ask("select (select array_agg(i) from a.one), (select array_agg(i) from b.one)") == [
        ([3], [1])
    ]


def test_what_a_block_resets_stays_reset(empty_database: FreshDatabase) -> None:
    text = (
        "set my.word = 'set'; do $$ begin execute 'reset my.word'; end $$; {stop};"
        " insert into a.log values ('<' || {value} || '>')"
    )
    value = "current_setting('my.word')"
    stop(empty_database, text.format(stop="select 1/0", value=value))
    up(empty_database, text.format(stop="select 1", value=value))
    assert empty_database.ask(LOG) == [("<>",)]


def test_an_advisory_lock_is_taken_again_however_its_call_is_written(empty_database: FreshDatabase) -> None:
    text = (
        "select pg_catalog.pg_advisory_lock(5); vacuum a.t; {stop}; insert into a.log select count(*)::text"
        " from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
    )
    stop(empty_database, text.format(stop="select 1/0"))
    up(empty_database, text.format(stop="select 1"))
    assert empty_database.ask(LOG) == [("1",)]


def test_what_commits_beside_a_temporary_table_is_told_to_use_another(empty_database: FreshDatabase) -> None:
    text = "create temp table x as select 1 i; do $$ begin perform i from x; commit; end $$; drop table x"
    told = stop(empty_database, text, "invalid transaction termination")
    assert "which share a temporary object" in told
    assert "BEGIN … COMMIT" not in told

"""Scripts land whole or not at all, in order, once; and an error says where. On a real server."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import psycopg
import pytest

from pgvector_stacks.common import row_values
from pgvector_stacks.common.errors import ConnectionFailed, PlanRefused, SqlFailed, ValidationFailed
from pgvector_stacks.config.environment import SQL
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.migrations.scripts.script_files import load_verify
from tests.conftest import FreshDatabase, script


def test_the_default_scripts_are_in_the_ledger_in_their_order(fresh_database: FreshDatabase) -> None:
    assert fresh_database.names() == ["init.sql", "integration_upgrade.sql", "install_pgvector.sql"]
    assert fresh_database.apply().ran == ()


def test_a_new_script_runs_once(fresh_database: FreshDatabase) -> None:
    new = script("create table app.thing (id int); insert into app.thing values (1)")
    assert fresh_database.apply(new).ran == ("0004_test.sql",)
    assert fresh_database.apply(new).ran == ()
    assert fresh_database.ask("SELECT count(*) FROM app.thing") == [(1,)]


@pytest.mark.promise("The scripts of an `up` land whole or not at all")
def test_a_failing_script_undoes_the_scripts_before_it(fresh_database: FreshDatabase) -> None:
    good, bad = script("create table app.one ()", "4.sql"), script("select 1;\nselect 1/0", "5.sql")
    with pytest.raises(SqlFailed, match=r"sql/5\.sql:2: division by zero \(22012\)"):
        fresh_database.apply(good, bad)
    assert fresh_database.ask("SELECT to_regclass('app.one')") == [(None,)]
    assert len(fresh_database.names()) == 3


@pytest.mark.promise("A verify script that finds a mistake undoes the scripts")
def test_a_failing_verify_script_undoes_the_scripts(
    fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(row_values.VARIABLE, "1")
    verify = script("select 'wrong' as problem where to_regclass('app.one') is not null", "verify/x.sql")
    with pytest.raises(ValidationFailed, match=r"verify/x\.sql:1: found 1 row\(s\) .*\n  problem=wrong"):
        fresh_database.apply(script("create table app.one ()"), verify=(verify,))
    assert fresh_database.ask("SELECT to_regclass('app.one')") == [(None,)]
    assert len(fresh_database.names()) == 3


def test_a_new_verify_script_runs_though_no_script_is_pending(fresh_database: FreshDatabase) -> None:
    wrong = script("insert into app.tenant (name) values ('x'); select 'wrong' as problem", "verify/x.sql")
    before = fresh_database.ask("SELECT * FROM pgstack.ledger ORDER BY position")
    with pytest.raises(ValidationFailed, match=r"verify/x\.sql:1: found 1 row\(s\)"):
        fresh_database.apply(verify=(wrong,))
    with pytest.raises(SqlFailed, match="42703"):
        fresh_database.apply(verify=(script("select nonsense", "verify/x.sql"),))
    fresh_database.apply(verify=(script("insert into app.tenant (name) values ('x')", "verify/x.sql"),))
    assert fresh_database.ask("SELECT count(*) FROM app.tenant") == [(0,)]
    assert fresh_database.ask("SELECT * FROM pgstack.ledger ORDER BY position") == before
    assert fresh_database.ask("SELECT script FROM pgstack.event WHERE kind = 'failed' ORDER BY id")[-1:] == [
        ("verify/x.sql",)
    ]


def test_a_verify_script_that_reads_its_strings_otherwise_ends_nothing(fresh_database: FreshDatabase) -> None:
    """What is one statement to us would be several to a server that takes a backslash for an escape."""
    text = (
        "set standard_conforming_strings = off;\n"
        r"select '\'' where false; release savepoint pgstack_verify; create table app.unseen ();"
        " savepoint pgstack_verify; select 1 where false --' where false;"
    )
    with pytest.raises(SqlFailed, match="42601"):
        fresh_database.apply(verify=(script(text, "verify/x.sql"),))
    assert fresh_database.ask("SELECT to_regclass('app.unseen')") == [(None,)]


def test_verify_scripts_leave_nothing_behind(fresh_database: FreshDatabase) -> None:
    fresh_database.apply(script("create table app.one ()"), verify=load_verify(SQL))
    assert fresh_database.ask("SELECT count(*) FROM app.tenant") == [(0,)]
    fresh_database.do("INSERT INTO app.tenant (name) VALUES ('first')")
    assert fresh_database.ask("SELECT tenant_id FROM app.tenant") == [(1,)]


def test_a_failure_is_an_event_although_its_transaction_is_gone(fresh_database: FreshDatabase) -> None:
    with pytest.raises(SqlFailed):
        fresh_database.apply(script("select 1;\nselect nonsense"))
    (event,) = fresh_database.ask("SELECT script, line, sqlstate FROM pgstack.event WHERE kind = 'failed'")
    assert event == ("0004_test.sql", 2, "42703")


@pytest.mark.promise("An error in a script says file, line, column and what to do")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1;\n" * 399 + "selec 1;", ':400:1: syntax error at or near "selec" (42601)\n  400 | selec 1;'),
        ("select 'é',\n  tenat from app.tenant", ":2:3: column \"tenat\" does not exist (42703)"),
        ("select 1;\n\ninsert into app.tenant (name) values ('')", ":3: new row for relation"),
        ("do $$\nbegin\n  perform 1;\n  perform 1/0;\nend $$", ":4: division by zero"),
        ("select 1;\ndo $$begin\n  insert into app.tenant (nme) values ('x');\nend $$", ":3: column"),
        ("create table app.tenant ()", "pgvector:baseline"),
        ("vacuum", "head"),
        ("create role x superuser", "scripts run as schema_owner"),
        ("copy app.tenant to stdout", "COPY needs a client"),
        ("create table t (i int primary key deferrable initially deferred); insert into t values (1), (1)", "(23505)"),
        ("alter type app.sync_status add value 'late'; select 'late'::app.sync_status",
         "no-transaction"),
    ],
)  # fmt: skip
def test_an_error_says_where_and_what_to_do(fresh_database: FreshDatabase, text: str, expected: str) -> None:
    with pytest.raises(SqlFailed) as failed:
        fresh_database.apply(script(text))
    assert expected in str(failed.value)
    assert "Traceback" not in str(failed.value)
    assert fresh_database.server.password not in str(failed.value)


def test_a_new_enum_value_used_in_the_next_script_gets_its_own_advice(fresh_database: FreshDatabase) -> None:
    add = script("alter type app.sync_status add value 'late'", "4.sql")
    use = script("create table app.x (s app.sync_status default 'late')", "5.sql")
    with pytest.raises(SqlFailed, match=r"head the script that adds it with  -- pgstack: no-transaction"):
        fresh_database.apply(add, use)
    apart = script("-- pgstack: no-transaction\nalter type app.sync_status add value 'late'", "4.sql")
    assert fresh_database.apply(apart, use).ran == ("4.sql", "5.sql")


def test_a_pg_dump_file_is_a_script(fresh_database: FreshDatabase) -> None:
    """It empties search_path and sets a dozen settings; the next script must not feel it."""
    fresh_database.do("CREATE SCHEMA other; CREATE TABLE other.t (i int); INSERT INTO other.t VALUES (1), (2)")
    tool = embedded_server.find_bin_directory(18) / "pg_dump"
    command = [str(tool), "--inserts", "--no-owner", "--no-privileges", "-n", "other", fresh_database.admin.url]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    fresh_database.do("DROP SCHEMA other CASCADE")
    after = script("create table after_dump (i int)", "5.sql")
    fresh_database.apply(script(dump), after)
    assert fresh_database.ask("SELECT count(*) FROM other.t") == [(2,)]
    assert fresh_database.ask("SELECT to_regclass('app.after_dump') IS NOT NULL") == [(True,)]


def test_what_a_script_sets_is_gone_in_the_next(fresh_database: FreshDatabase) -> None:
    first = script("set work_mem = '1GB'; set role schema_owner; select 1", "4.sql")
    second = script(
        "do $$ begin if current_setting('work_mem') = '1GB' then raise 'still set'; end if; end $$", "5.sql"
    )
    fresh_database.apply(first, second)


def test_the_first_script_finds_the_path_of_the_database_too(fresh_database: FreshDatabase) -> None:
    fresh_database.apply(script("create table unqualified ()"))
    assert fresh_database.ask("SELECT to_regclass('app.unqualified') IS NOT NULL") == [(True,)]


@pytest.mark.parametrize(
    "text",
    ["reset role; create role more superuser", "reset session authorization; create role more superuser",
     "set session authorization postgres", "set role postgres", "create extension plpgsql version '0'",
     "alter role schema_owner superuser", "alter system set work_mem = '1GB'"],
)  # fmt: skip
def test_a_script_gains_nothing_by_reaching_for_more(fresh_database: FreshDatabase, text: str) -> None:
    with pytest.raises(SqlFailed):
        fresh_database.apply(script(text))
    assert fresh_database.ask("SELECT count(*) FROM pg_roles WHERE rolname = 'more'") == [(0,)]
    assert fresh_database.ask("SELECT rolsuper FROM pg_roles WHERE rolname = 'schema_owner'") == [(False,)]


@pytest.mark.promise("The owner of the schema can't log in while no script runs")
def test_the_owner_can_not_log_in_when_no_script_runs(fresh_database: FreshDatabase) -> None:
    fresh_database.apply(script("select 1"))
    found = fresh_database.ask("SELECT rolcanlogin, rolpassword IS NULL FROM pg_authid WHERE rolname = 'schema_owner'")
    assert found == [(False, True)]


@pytest.mark.promise("The application may use rows and not change the schema")
def test_the_application_may_use_rows_and_not_change_the_schema(fresh_database: FreshDatabase) -> None:
    fresh_database.apply(script("create table app.later (id int generated always as identity, name text)"))
    with connect(fresh_database.as_role(roles.APP), own_path=True) as app:
        app.execute("INSERT INTO later (name) VALUES ('x')")
        app.execute("UPDATE later SET name = 'y'; DELETE FROM later")
        for forbidden in (
            "CREATE TABLE mine ()",
            "DROP TABLE app.later",
            "TRUNCATE later",
            "SELECT * FROM pgstack.ledger",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(forbidden.encode())
    with connect(fresh_database.as_role(roles.READONLY), own_path=True) as readonly:
        assert readonly.execute("SELECT count(*) FROM later").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            readonly.execute("INSERT INTO later (name) VALUES ('x')")


def test_a_statement_timeout_ends_a_script_and_its_header_may_raise_it(fresh_database: FreshDatabase) -> None:
    with pytest.raises(SqlFailed, match=r"statementTimeoutS"):
        fresh_database.apply(script("select pg_sleep(5)"), statement_timeout_s=0.2)
    slow = script("-- pgstack: statement-timeout 30s\nselect pg_sleep(0.5)")
    assert fresh_database.apply(slow, statement_timeout_s=0.2).ran


def test_an_edited_script_is_refused_constants_included(fresh_database: FreshDatabase) -> None:
    fresh_database.apply(script("insert into app.tenant (name) values ('a')"))
    assert fresh_database.apply(script("-- same\ninsert into app.tenant (name)   values ('a');")).ran == ()
    with pytest.raises(PlanRefused, match=r"0004_test\.sql was changed after it ran in test"):
        fresh_database.apply(script("insert into app.tenant (name) values ('b')"))


def test_a_repeatable_script_replaces_its_row(fresh_database: FreshDatabase) -> None:
    for number in (1, 2):
        view = script(f"-- pgstack: repeatable\ncreate or replace view app.v as select {number} as n", "v.sql")
        assert fresh_database.apply(view).ran == ("v.sql",)
    assert fresh_database.ask("SELECT n FROM app.v") == [(2,)]
    assert fresh_database.names().count("v.sql") == 1


def test_an_older_restored_copy_gets_what_it_lacks(fresh_database: FreshDatabase, server: object) -> None:
    """A restore brings the ledger of its day with it; the plan is made from that, not from anyone's memory."""
    first, second = script("create table app.one ()", "4.sql"), script("create table app.two ()", "5.sql")
    fresh_database.apply(first)
    copy = replace(fresh_database.admin, database=f"{fresh_database.admin.database}_copy")
    with connect(replace(copy, database="postgres")) as cluster:
        cluster.execute(f"CREATE DATABASE {copy.database} TEMPLATE {fresh_database.admin.database}".encode())
    try:
        fresh_database.apply(first, second)
        restored = replace(fresh_database, admin=copy)
        assert restored.apply(first, second).ran == ("5.sql",)
    finally:
        with connect(replace(copy, database="postgres")) as cluster:
            cluster.execute(f"DROP DATABASE {copy.database} WITH (FORCE)".encode())


def test_a_script_that_grants_or_revokes_is_obeyed(fresh_database: FreshDatabase) -> None:
    first = script("create table app.secret (); revoke all on app.secret from app; create table app.open ()", "4.sql")
    fresh_database.apply(first)
    fresh_database.apply(first, script("create view app.seen as select 1 as n; create sequence app.numbers", "5.sql"))
    found = fresh_database.ask(
        "SELECT has_table_privilege('app', 'app.secret', 'SELECT'), has_table_privilege('app', 'app.open', 'INSERT'),"
        " has_table_privilege('readonly', 'app.seen', 'SELECT'), has_sequence_privilege('app', 'app.numbers', 'USAGE')"
    )
    assert found == [(False, True, True, True)]


@pytest.mark.parametrize("password", ["simple", "with 'quotes' and \\", "ünïcode €", "%41:@/?#&"])
def test_any_one_line_password_works_and_is_stored_as_a_verifier(fresh_database: FreshDatabase, password: str) -> None:
    fresh_database.apply(app_password=password)
    with connect(replace(fresh_database.admin, user=roles.APP, password=password)) as app:
        assert app.execute("SELECT current_user").fetchone() == ("app",)
    (stored,) = fresh_database.ask("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")[0]
    assert stored.startswith("SCRAM-SHA-256$")
    with psycopg.connect(replace(fresh_database.admin, user=roles.APP, password=password).url) as by_url:
        assert by_url.info.user == "app"
    fresh_database.apply(app_password=fresh_database.server.password)


def test_a_wrong_password_is_told_without_showing_it(fresh_database: FreshDatabase) -> None:
    wrong = replace(fresh_database.admin, password="s3cret-and-wrong")
    with pytest.raises(ConnectionFailed, match="the server refuses the password") as failed:
        connect(wrong)
    assert "s3cret" not in str(failed.value) + repr(wrong)


def test_the_lock_table_running_out_gets_its_own_advice(fresh_database: FreshDatabase) -> None:
    many = "create table app.one (); select pg_advisory_xact_lock(i) from generate_series(1, 1000000) i"
    with pytest.raises(SqlFailed, match=r"max_locks_per_transaction follows it") as failed:
        fresh_database.apply(script(many))
    assert failed.value.sqlstate == "53200"
    assert fresh_database.ask("SELECT to_regclass('app.one')") == [(None,)]


def test_scripts_may_take_the_memory_that_one_index_build_may(fresh_database: FreshDatabase) -> None:
    fresh_database.apply(script("create table app.told as select current_setting('maintenance_work_mem') as memory;"))
    own = fresh_database.ask("SELECT memory FROM app.told")
    assert own == fresh_database.ask("SHOW maintenance_work_mem")
    fresh_database.apply(
        script("create table app.told as select current_setting('maintenance_work_mem') as memory;"),
        script("create table app.more as select current_setting('maintenance_work_mem') as memory;", "0005_more.sql"),
        build_memory_mb=123,
    )
    assert fresh_database.ask("SELECT memory FROM app.more") == [("123MB",)]

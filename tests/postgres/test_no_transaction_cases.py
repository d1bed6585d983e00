"""What stopped a no-transaction script half-way for others: locks, edits, renames, sessions, INVALID indexes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pgvector_stacks.common.errors import PlanRefused, SqlFailed
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.migrations.scripts import interrupted
from tests.conftest import FreshDatabase, script

HEAD = "-- pgstack: no-transaction\n"
DOCS = "create table app.doc (id int, slug text); insert into app.doc values (1, 'a'), (2, 'a'), (3, 'b');"
INDEX = "create unique index concurrently doc_slug on app.doc (slug);"


def differences(database: FreshDatabase) -> list[str]:
    with connect(database.admin) as connection:
        return list(schema_drift.describe_differences(schema_drift.find_drift(connection)))


def invalid(database: FreshDatabase) -> list[Any]:
    return database.ask("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid ORDER BY 1")


@pytest.fixture
def docs(fresh_database: FreshDatabase) -> FreshDatabase:
    fresh_database.apply(script(DOCS, "4.sql"))
    return fresh_database


def stop(database: FreshDatabase, text: str, match: str = "could not create unique index", **options: Any) -> None:
    with pytest.raises(SqlFailed, match=match):
        database.apply(script(DOCS, "4.sql"), script(HEAD + text, "5.sql"), **options)


def go_on(database: FreshDatabase, text: str, name: str = "5.sql", head: str = HEAD) -> None:
    database.apply(script(DOCS, "4.sql"), script(head + text, name))


def test_begin_and_rollback_are_one_step(docs: FreshDatabase) -> None:
    """Case no-transaction-begin-rollback, one after the other: an undone block, one that fails, one that lands."""
    text = (
        "BEGIN; delete from app.doc; ROLLBACK;\n"
        "start transaction isolation level repeatable read; update app.doc set id = id + 10; savepoint s;\n"
        "insert into app.doc values (9, 'x'); rollback to s; insert into app.doc values (7, 'ü');\n"
        "insert into app.doc select {}; end"
    )
    stop(docs, text.format("id / (id - 7) from app.doc"), r"sql/5\.sql:5:\d+: division by zero|sql/5\.sql:5: division")
    assert docs.ask("SELECT id FROM app.doc ORDER BY 1") == [(1,), (2,), (3,)]
    assert docs.ask("SELECT count(*) FROM pgstack.statement") == [(3,)]
    go_on(docs, text.format("8"))
    assert docs.ask("SELECT id FROM app.doc ORDER BY 1") == [(7,), (8,), (11,), (12,), (13,)]
    assert docs.ask("SELECT count(*) FROM pgstack.statement") == [(0,)]


REFUSED = [
    ("select 1;\nCOMMIT", "sql/5.sql:3:1: COMMIT without BEGIN"),
    ("begin; select 1", "sql/5.sql:2:1: BEGIN is never ended"),
    ("begin; begin; commit", "2:8: BEGIN inside BEGIN … COMMIT"),
    ("begin; select 1; commit and chain; commit", "COMMIT can't be recorded together"),
    ("begin; prepare transaction 'x'", "PREPARE TRANSACTION can't be recorded together"),
    ("savepoint a", "SAVEPOINT without BEGIN"),
    ("begin; create temp table t (); commit; select * from t", "used across transactions"),
    ("create temp table t (); vacuum app.doc; select * from T", "used across transactions"),
]


def test_what_can_be_no_step_is_refused_before_anything_runs(docs: FreshDatabase) -> None:
    first = script(DOCS, "4.sql"), script("create table app.not_made ()", "4b.sql")
    for text, said in REFUSED:
        with pytest.raises(PlanRefused) as refused:
            docs.apply(*first, script(HEAD + text, "5.sql"))
        assert said in str(refused.value)
    assert docs.ask("SELECT to_regclass('app.not_made')") == [(None,)]


def test_what_ran_never_runs_again(docs: FreshDatabase) -> None:
    """Case no-transaction-runs-twice: whatever was changed after a half-way stop."""
    text = "insert into app.doc values (4, 'd');" + INDEX
    stop(docs, text)
    first, before = script(DOCS, "4.sql"), script("select 1", "4b.sql")
    for listed, said in (
        ([script("insert into app.doc values (4, 'd')", "5.sql")], "put the header back"),
        ([script(HEAD + text, "6.sql")], r"rename sql/6\.sql back to sql/5\.sql"),
        ([], r"list sql/5\.sql again"),
        ([script(HEAD + text.replace("4", "5"), "5.sql")], "a statement that already ran was changed"),
        ([before, script(HEAD + text, "5.sql")], r"sql/4b\.sql is new but listed before"),
    ):
        with pytest.raises(PlanRefused, match=f"(?s)stopped half-way in test.*{said}|{said}.*stopped half-way in test"):
            docs.apply(first, *listed)
    docs.do("DELETE FROM app.doc WHERE id = 2")
    go_on(docs, text)  # changed back, it goes on
    assert docs.ask("SELECT count(*) FROM app.doc WHERE id = 4") == [(1,)]
    assert not invalid(docs)
    assert not differences(docs)


def test_the_session_is_as_the_script_says_in_a_rerun(docs: FreshDatabase) -> None:
    """Case no-transaction-set-is-forgotten, and what else a session has: settings of blocks, prepared statements."""
    text = (
        "set search_path = app; insert into doc values (5, 'e'); prepare more as insert into doc values (6, $1);\n"
        "select set_config('test.word', 'kept', false); begin; set test.undone = 'x'; rollback;\n"
        "begin; set test.committed = 'c'; set local test.word = 'l'; commit; set test.word2 = 'x'; reset test.word2;"
        "select 1;" + INDEX + "\n"
        "execute more ('f'); create table note as select current_setting('test.word')\n"
        " || current_setting('test.committed') || coalesce(current_setting('test.undone', true), '')\n"
        " || coalesce(current_setting('test.word2', true), '') as t"
    )
    stop(docs, text)
    docs.do("DELETE FROM app.doc WHERE id = 2")
    go_on(docs, text)
    assert docs.ask("SELECT t FROM app.note") == [("keptc",)]
    assert docs.ask("SELECT id, slug FROM app.doc WHERE id > 3 ORDER BY 1") == [(5, "e"), (6, "f")]
    docs.apply(
        script(DOCS, "4.sql"), script(HEAD + text, "5.sql"),
        script("create table app.path as select current_setting('test.word', true) as w", "6.sql"),
    )  # fmt: skip
    assert "kept" not in str(docs.ask("SELECT * FROM app.path"))


def test_a_temporary_table_and_its_use_are_one_step(docs: FreshDatabase) -> None:
    text = (
        "insert into app.doc values (4, 'd'); create temp table batch as select id from app.doc;\n"
        "insert into batch values (10); insert into app.doc select id + 100, 'n' || id from BATCH; drop table batch;"
    )
    stop(docs, text + INDEX)
    docs.do("DELETE FROM app.doc WHERE id IN (2, 102)")
    go_on(docs, text + INDEX)
    assert docs.ask("SELECT id FROM app.doc WHERE id >= 100 ORDER BY 1") == [(101,), (103,), (104,), (110,)]


def test_a_rest_that_needs_a_temporary_table_of_the_finished_part_is_refused(docs: FreshDatabase) -> None:
    text = "create temp table batch as select id from app.doc; insert into app.doc select 50 from batch;"
    stop(docs, text + INDEX)
    with pytest.raises(PlanRefused, match="temporary"):
        go_on(docs, text + "insert into app.doc select 60 from batch;")


def test_its_own_objects_are_no_drift_and_those_of_others_are(docs: FreshDatabase) -> None:
    """Case no-transaction-half-way-is-drift, with a change by hand at the same time, on the same table."""
    text = "create table app.audit (at timestamptz); alter table app.doc add n int;\n" + INDEX
    stop(docs, text)
    assert invalid(docs) == [("doc_slug",)]
    assert differences(docs) == []
    docs.do("ALTER TABLE app.audit ADD by_hand int; CREATE INDEX by_hand ON app.doc (id)")
    theirs = ["column app.audit.by_hand was added (integer)"]
    assert [words for words in differences(docs) if "index" not in words] == theirs
    assert len(differences(docs)) == 2
    docs.do("DELETE FROM app.doc WHERE id = 2")
    go_on(docs, text)
    assert len(differences(docs)) == 2
    docs.do("ALTER TABLE app.audit DROP by_hand; DROP INDEX app.by_hand")
    assert differences(docs) == []


@pytest.mark.parametrize(
    "text",
    [
        "create unique index concurrently on app.doc (slug);",
        'set search_path = app; create unique index concurrently "Doc slug ""x" on doc (slug);',
        "create unique index concurrently if not exists doc_slug on only app.doc using btree (lower(slug));",
    ],
)
@pytest.mark.parametrize("note", ["kept", "killed"])
def test_an_invalid_index_of_a_failed_try_goes_and_no_other(docs: FreshDatabase, text: str, note: str) -> None:
    """Case unnamed-index-stays-invalid; one that was INVALID before the script is left as it is."""
    with connect(docs.admin) as admin, pytest.raises(Exception, match="could not create"):
        admin.execute("CREATE UNIQUE INDEX CONCURRENTLY was_there ON app.doc (slug)")
    stop(docs, text)
    if note == "killed":  # the failure was not noted any more
        docs.do("UPDATE pgstack.statement SET note = note - 'left' WHERE state = 'started'")
    assert len(invalid(docs)) == 2
    assert differences(docs) == []  # pg_dump leaves an INVALID index out
    docs.do("DELETE FROM app.doc WHERE id = 2")
    go_on(docs, text)
    assert invalid(docs) == [("was_there",)]
    assert len(docs.ask("SELECT FROM pg_index WHERE indrelid = 'app.doc'::regclass")) == 2


PARTITIONS = (
    "create table app.p (a int) partition by list (a); create table app.p1 partition of app.p for values in (1);\n"
    "create index i on app.p1 (a); {}; select 1/{}"
)
OUTSIDE = [
    "reindex table concurrently app.p1",
    "drop index concurrently app.i",
    "alter table app.p detach partition app.p1 concurrently",
]


@pytest.mark.parametrize("statement", OUTSIDE)
def test_a_statement_whose_record_was_lost_is_done(docs: FreshDatabase, statement: str) -> None:
    stop(docs, PARTITIONS.format(statement, 0), "division by zero")
    assert not differences(docs)
    docs.do("UPDATE pgstack.statement SET state = 'started' WHERE number = 3")
    assert not differences(docs)
    go_on(docs, PARTITIONS.format(statement, 1))
    assert not differences(docs)


@pytest.mark.parametrize("statement", OUTSIDE)
def test_a_statement_that_stopped_between_its_halves_is_finished(docs: FreshDatabase, statement: str) -> None:
    """An open reader makes each of them wait after its first half, and time out."""
    before = PARTITIONS.format("select 2", 1)
    docs.apply(script(DOCS, "4.sql"), script(before, "4b.sql"))
    first = (script(DOCS, "4.sql"), script(before, "4b.sql"))
    with connect(docs.admin, autocommit=False, application="reporting") as holder:
        holder.execute("SELECT FROM app.p")
        with pytest.raises(SqlFailed, match=r"(?s)lock timeout.*sql/5\.sql|sql/5\.sql.*lock timeout"):
            docs.apply(*first, script(HEAD + statement, "5.sql"), lock_timeout_s=0.1, lock_wait_s=0.3)
        assert not differences(docs)
    docs.apply(*first, script(HEAD + statement, "5.sql"))
    assert not differences(docs)
    assert not invalid(docs)
    assert docs.ask("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == [(0,)]


def test_a_lock_is_waited_for(docs: FreshDatabase) -> None:
    """Case no-transaction-waits-for-no-lock: for as long as lockWaitS says; then the holder is named."""
    docs.do("DELETE FROM app.doc WHERE id = 2")
    text = "alter table app.doc add x int; " + INDEX
    with connect(docs.admin, autocommit=False, application="reporting") as holder:
        holder.execute("UPDATE app.doc SET slug = 'z' WHERE id = 1")
        stop(docs, text, "(?s)lock timeout.*no lock within 1 s.*reporting", lock_timeout_s=0.1, lock_wait_s=0.6)
        stop(docs, INDEX, "(?s)lock timeout.*no lock within 1 s.*reporting", lock_timeout_s=0.1, lock_wait_s=0.6)
        assert invalid(docs) == [("doc_slug",)]
        waits: list[str] = []
        ends = threading.Timer(1.0, holder.rollback)
        ends.start()
        go_on(docs, INDEX)
        ends.join()
    assert not invalid(docs)
    assert not differences(docs)
    assert waits == []


def test_a_statement_is_sent_without_those_before_it(docs: FreshDatabase) -> None:
    """What each statement sees of its own message, behind many others; errors still have their place in the file."""
    own = "insert into app.doc select length(query), 'ü' from pg_stat_activity where pid = pg_backend_pid();\n"
    stop(
        docs,
        own * 100 + "/* ü */ select 'ü', nothing",
        r"(?s)sql/5\.sql:102:21: column .nothing. does not exist.*\n {28}\^",
    )
    assert docs.ask("SELECT count(*), max(id) < 500 FROM app.doc WHERE slug = 'ü'") == [(100, True)]
    stop(docs, own * 100 + "begin; select 1; vacuum app.doc; commit", "take it out of BEGIN … COMMIT")
    stop(docs, own * 100 + "select (1", r"sql/5\.sql:102:\d+: syntax error at end of input")


def test_a_stop_of_an_older_version_goes_on(docs: FreshDatabase) -> None:
    """It recorded BEGIN and each statement behind it on its own, and no notes."""
    text = "begin; insert into app.doc values (4, 'd'); insert into app.doc values (5, 'e'); commit;" + INDEX
    apart = script(HEAD + text, "5.sql")
    docs.do("ALTER TABLE pgstack.statement DROP COLUMN note; INSERT INTO app.doc VALUES (4, 'd')")
    for number in (0, 1):
        digest = interrupted.statement_hash(apart, number)
        docs.do(f"INSERT INTO pgstack.statement VALUES ('5.sql', {number}, '{digest}', 'done')")
    assert not differences(docs)
    stop(docs, text)
    docs.do("UPDATE pgstack.statement SET note = NULL")
    docs.do("DELETE FROM app.doc WHERE id = 2")
    go_on(docs, text)
    assert docs.ask("SELECT id FROM app.doc ORDER BY 1") == [(1,), (3,), (4,), (5,)]
    assert not invalid(docs)

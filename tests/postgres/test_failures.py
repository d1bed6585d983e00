"""What happens when it breaks: locks, lost servers, full disks, two at once, kill -9. Rows are counted."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pgvector_stacks.common.errors import ConnectionFailed, PgstackError, ServerError, SqlFailed
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.connections.up_lock import hold_up_lock
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.migrations import apply
from pgvector_stacks.sizing.settings import derive_settings
from tests.conftest import LIMITS, FreshDatabase, Server, default_scripts, script
from tests.lacking import small_file_system
from tests.postgres.worker import start_worker

KILLS = int(os.environ.get("PGSTACK_KILLS", "15"))


@pytest.mark.promise("Scripts that get no lock undo everything and name who holds it")
def test_a_lock_held_by_others_undoes_everything_and_names_the_holder(fresh_database: FreshDatabase) -> None:
    scripts = script("create table app.one ()", "4.sql"), script("alter table app.tenant add x int", "5.sql")
    with connect(fresh_database.admin, autocommit=False, application="reporting") as holder:
        holder.execute("SELECT count(*) FROM app.tenant")
        with pytest.raises(SqlFailed) as failed:
            fresh_database.apply(*scripts, lock_timeout_s=0.1, lock_wait_s=1.0)
    said = str(failed.value)
    assert "sql/5.sql:1: canceling statement due to lock timeout (55P03)" in said
    assert re.search(r"process \d+ \(postgres, reporting, idle in transaction\): SELECT count", said)
    assert "pg_terminate_backend" in said
    assert fresh_database.ask("SELECT to_regclass('app.one')") == [(None,)]


@pytest.mark.promise("Readers read on while scripts wait for a lock")
def test_readers_go_on_reading_while_scripts_wait_for_a_lock(fresh_database: FreshDatabase) -> None:
    """ALTER TABLE queues in front of readers; so it must not wait long, and hold nothing between its tries."""
    fresh_database.do("INSERT INTO app.tenant (name) VALUES ('a')")
    waits: list[float] = []
    stop = threading.Event()

    def read() -> None:
        with connect(fresh_database.admin, application="reader") as reader:
            while not stop.is_set():
                started = time.monotonic()
                reader.execute("SELECT count(*) FROM app.tenant")
                waits.append(time.monotonic() - started)

    with connect(fresh_database.admin, autocommit=False, application="holder") as holder:
        holder.execute("SELECT count(*) FROM app.tenant")
        reader = threading.Thread(target=read)
        reader.start()
        try:
            with pytest.raises(SqlFailed):
                fresh_database.apply(script("alter table app.tenant add x int"), lock_timeout_s=0.2, lock_wait_s=2.0)
        finally:
            stop.set()
            reader.join()
    assert len(waits) > 50
    assert max(waits) < 2.0  # a queue behind the whole wait would be longer


def test_scripts_run_once_the_lock_is_free(fresh_database: FreshDatabase) -> None:
    said: list[str] = []
    with connect(fresh_database.admin, autocommit=False) as holder:
        holder.execute("LOCK TABLE app.tenant")

        def report(line: str) -> None:
            said.append(line)
            if "waits for a lock" in line:
                holder.rollback()

        request = fresh_database.request(
            script("alter table app.tenant add x int"), lock_timeout_s=0.2, lock_wait_s=20.0
        )
        assert apply.apply(fresh_database.admin, request, report).ran
    assert any("waits for a lock" in line for line in said)


@pytest.mark.promise("Two `up`s at once run each script once")
def test_two_at_once_run_each_script_once(fresh_database: FreshDatabase) -> None:
    slow = script("insert into app.tenant (name) values ('once'); select pg_sleep(0.5)")
    outcomes: list[apply.Outcome] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(fresh_database.apply(slow, lock_wait_s=30.0))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.ran for outcome in outcomes) == [(), (), ("0004_test.sql",)]
    assert fresh_database.ask("SELECT count(*) FROM app.tenant") == [(1,)]


def test_an_up_that_finds_another_at_work_says_who(fresh_database: FreshDatabase) -> None:
    with (
        hold_up_lock(fresh_database.admin, 1.0),
        pytest.raises(ConnectionFailed, match=r"another `up` works on this server: process \d+ \(pgstack"),
    ):
        fresh_database.apply(lock_wait_s=0.3)


def test_a_connection_that_is_cut_leaves_nothing_half_done(fresh_database: FreshDatabase) -> None:
    text = "create table app.one (); select pg_sleep(30)"
    failures: list[Exception] = []

    def run() -> None:
        try:
            fresh_database.apply(script(text))
        except PgstackError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert _wait_for(fresh_database, "pg_sleep(30)")
    fresh_database.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'schema_owner'")
    thread.join(timeout=20)
    assert "the server went away while the scripts ran" in str(failures[0])
    assert fresh_database.ask("SELECT to_regclass('app.one')") == [(None,)]
    assert fresh_database.apply(script("create table app.one ()")).ran


@contextmanager
def own_server(folder: Path) -> Iterator[tuple[embedded_server.Directory, Address]]:
    """A server of this test alone, which it may hurt."""
    directory = embedded_server.Directory(folder / "18", 18)
    embedded_server.initialise(directory, "word")
    try:
        port = embedded_server.start(directory, derive_settings(LIMITS))
        yield directory, Address(embedded_server.HOST, port, "app", embedded_server.ADMIN, "word")
    finally:
        embedded_server.stop(directory)


def test_a_server_that_dies_half_way_keeps_the_old_revision(tmp_path: Path) -> None:
    with own_server(tmp_path) as (directory, address):
        request = apply.Request("test", default_scripts(), lock_wait_s=5.0)
        before = apply.apply(address, request).revision
        more = replace(request, scripts=(*request.scripts, script("create table app.one (); select pg_sleep(20)")))
        failures: list[Exception] = []

        def run() -> None:
            try:
                apply.apply(address, more)
            except PgstackError as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        deadline = time.monotonic() + 10
        with connect(address, application="test", own_path=True) as watcher:
            while time.monotonic() < deadline:
                found = watcher.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%'")
                if (found.fetchone() or (0,))[0] > 1:
                    break
        process = embedded_server.find_postmaster(directory)
        assert process
        _kill_tree(process)
        thread.join(timeout=20)
        assert "went away" in str(failures[0])
        assert embedded_server.server_status(directory) == "stopped"
        with pytest.raises(ConnectionFailed, match="nothing listens there"):
            connect(address)
        embedded_server.start(directory, derive_settings(LIMITS))
        with connect(address, wait_s=20) as connection:
            assert connection.execute("SELECT to_regclass('app.one')").fetchone() == (None,)
        assert apply.apply(address, request).revision == before


@pytest.mark.promise("A full disk fails with its cause and keeps the old revision")
def test_a_full_disk_fails_with_its_cause_and_keeps_the_old_revision(tmp_path: Path) -> None:
    with small_file_system(tmp_path, "320m"), own_server(tmp_path) as (_, address):
        request = apply.Request("test", default_scripts(), lock_wait_s=5.0)
        before = apply.apply(address, request).revision
        filler = script(  # unlogged: it is the table that finds no room, not the log of changes
            "create unlogged table app.big (t text storage external);"
            "insert into app.big select repeat('x', 7000) from generate_series(1, 60000)"
        )
        with pytest.raises(SqlFailed, match=r"the disk is full: free some space"):
            apply.apply(address, replace(request, scripts=(*request.scripts, filler)))
        with connect(address, wait_s=20) as connection:
            assert connection.execute("SELECT to_regclass('app.big')").fetchone() == (None,)
        assert apply.apply(address, request).revision == before


def test_a_disk_too_full_for_a_data_directory_is_told(tmp_path: Path) -> None:
    with small_file_system(tmp_path, "8m"):
        directory = embedded_server.Directory(tmp_path / "18", 18)
        with pytest.raises(ServerError, match="the disk is full"):
            embedded_server.initialise(directory, "word")
        assert embedded_server.server_status(directory) == "missing"


WORKER = """
import sys
from pgvector_stacks.migrations import apply
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.migrations.scripts.script_files import parse
from tests.conftest import default_scripts
host, port, database, user, password, first, last = sys.argv[1:]
more = [
    parse(f"{n:04}.sql", f"create table app.t{n} (i int); insert into app.t{n} select generate_series(1, 50)", "0" * 64)
    for n in range(4, int(last) + 1)
]
print("ready", flush=True)
request = apply.Request("test", (*default_scripts(), *more), lock_wait_s=20.0)
apply.apply(Address(host, int(port), database, user, password), request)
"""


@pytest.mark.promise("A killed migration leaves the old revision or the new one, never a mixture")
def test_kill_9_at_random_points_leaves_the_old_revision_or_the_new_one(fresh_database: FreshDatabase) -> None:
    """A batch of five scripts a try; the process is killed somewhere in it, or a moment after."""
    seed = int(os.environ.get("PGSTACK_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    print(f"seed {seed}: repeat with PGSTACK_SEED={seed}")  # noqa: T201
    whole = 0.4  # seconds a try takes; measured again on each machine by those that finish
    last, outcomes = 3, {"old": 0, "new": 0}
    for _ in range(KILLS):
        before, last = last, last + 5
        process = start_worker(WORKER, fresh_database, before, last)
        started = time.monotonic()
        try:
            process.wait(timeout=chance.uniform(0, whole * 1.2))
            whole = max(0.1, (whole + time.monotonic() - started) / 2)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
        assert _nobody_works(fresh_database), f"an orphan still works (seed {seed})"
        names = fresh_database.names()
        tables = fresh_database.ask("SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$'")[0][0]
        assert len(names) in (before, last), f"a mixture: {names[before - 1 :]} (seed {seed})"
        assert tables == len(names) - 3, f"the ledger and the tables differ (seed {seed})"
        outcomes["old" if len(names) == before else "new"] += 1
        last = len(names)
    assert start_worker(WORKER, fresh_database, last, last + 5).wait(timeout=30) == 0
    rows = sum(fresh_database.ask(f"SELECT count(*) FROM app.t{n}")[0][0] for n in range(4, last + 6))
    assert rows == 50 * (last + 2)
    print(outcomes)  # noqa: T201


def _nobody_works(database: FreshDatabase, timeout_s: float = 5.0) -> bool:
    """True once no connection of ours is left: a killed client's query ends within a second."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if database.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgstack'") == [(0,)]:
            return True
        time.sleep(0.05)
    return False


def _wait_for(database: FreshDatabase, text: str, timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE state = 'active' AND query LIKE %s AND application_name = 'pgstack'"
        )
        if database.ask(query, f"%{text}%") != [(0,)]:
            return True
        time.sleep(0.02)
    return False


def _kill_tree(postmaster: int) -> None:
    """As a power cut does: the postmaster and everything it started, at once."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(postmaster)], capture_output=True, text=True, check=False
    )
    for process in [str(postmaster), *listed.stdout.split()]:
        subprocess.run(["kill", "-9", process], check=False)
    time.sleep(0.2)


def test_the_server_of_the_session_is_unhurt(server: Server) -> None:
    with connect(server.admin("postgres")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("text", ["create table :name (i int)", "insert into t values (:'value')"])
def test_a_variable_of_psql_is_told_as_one(fresh_database: FreshDatabase, text: str) -> None:
    with pytest.raises(SqlFailed, match="a variable of psql's"):
        fresh_database.apply(script(text))

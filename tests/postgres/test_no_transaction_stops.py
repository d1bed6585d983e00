"""Each statement of a no-transaction script has its effect exactly once, wherever it is stopped. Rows are counted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pgvector_stacks.common.errors import PgstackError, PlanRefused
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import schema_drift
from pgvector_stacks.migrations.scripts.script_files import Script
from tests.conftest import FreshDatabase, script
from tests.postgres.worker import start_worker

EXAMPLES = int(os.environ.get("PGSTACK_EXAMPLES", "6"))
KILLS = int(os.environ.get("PGSTACK_KILLS_APART", "4"))
HEAD = "-- pgstack: no-transaction\n"
# A piece of a script: {t} its table, {n} its number, {stop} where it may stop; and the rows it makes, by id.
PIECES = {
    "insert": ("{stop}; insert into app.{t} values ({n}, 'ü')", [0]),
    "path": ("set search_path = app; {stop}; insert into {t} values ({n})", [0]),
    "setting": ("set test.n{n} = '{n}'; {stop}; insert into app.{t} values (current_setting('test.n{n}')::int)", [0]),
    "prepared": ("prepare p{n} as insert into app.{t} values ({n}); {stop}; execute p{n}", [0]),
    "block": (
        "begin; insert into app.{t} values ({n}); savepoint s; insert into app.{t} values ({n} + 50); {stop};"
        " rollback to s; set local work_mem = '1MB'; insert into app.{t} values ({n} + 100); commit", [0, 100],
    ),
    "undone": (
        "begin; insert into app.{t} values ({n}); {stop}; rollback; insert into app.{t} values ({n} + 1000)", [1000],
    ),
    "index": ("insert into app.{t} values ({n}); create index concurrently on app.{t} (id); {stop}", [0]),
    "temporary": (
        "create temp table x{n} as select {n} as id; {stop}; insert into app.{t} select id from x{n}; drop table x{n}",
        [0],
    ),
    "released": (
        "begin; set test.r{n} = '{n}'; savepoint s; set test.r{n} = '7'; savepoint s; set test.r{n} = '8'; release s;"
        " rollback to s; commit; {stop}; insert into app.{t} values (current_setting('test.r{n}')::int)", [0],
    ),
    "computed": (
        "select set_config('test.c{n}', '{n}'::int::text, false); {stop};"
        " insert into app.{t} values (current_setting('test.c{n}')::int)", [0],
    ),
    "database": (
        "set test.d{n} = '{n}'; do $$ begin execute format('alter database %I set search_path = app, x{t}',"
        " current_database()); end $$; {stop}; insert into app.{t} select {n} where not"
        " current_setting('search_path') ~ 'x{t}'", [0],
    ),
    "named temp": ("create table app.{t}_{n}w (temp int); {stop}; insert into app.{t} values (('{n}')::int)", [0]),
    "table": ("create table app.{t}_{n} (i int); {stop}; insert into app.{t} values ({n})", [0]),
    "setting procedure": (
        "do $$ begin perform set_config('test.k{n}', '{n}', false); commit; end $$; {stop};"
        " insert into app.{t} values (current_setting('test.k{n}')::int)", [0],
    ),
    "local": (
        "set search_path = app; do $$ begin perform set_config('search_path', 'pg_catalog', true); end $$; begin;"
        " select set_config('search_path', 'pg_' || 'catalog', true); commit; {stop};"
        " insert into {t} values ({n})", [0],
    ),
    "procedure": ("do $$ begin insert into app.{t} values ({n}); commit; end $$; {stop}", [0]),
}  # fmt: skip
STOPS = {
    "failed": "select 1/0",
    "terminated": "select pg_terminate_backend(pg_backend_pid())",
    "doubled": "create unique index concurrently {t}_{n}_u on app.{t} ((id > -1))",
}


@dataclass
class Lines:
    """The scripts of one database, one behind the other; each of them has a table of its own."""

    database: FreshDatabase
    landed: list[Script]

    def differences(self) -> list[str]:
        with connect(self.database.admin) as connection:
            return list(schema_drift.describe_differences(schema_drift.find_drift(connection)))


@pytest.fixture
def lines(fresh_database: FreshDatabase) -> Lines:
    return Lines(fresh_database, [])


@pytest.mark.promise("Each statement of a no-transaction script takes effect once, wherever it stops")
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True
)
@given(
    st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(sorted(STOPS))), max_size=3),
)
@example(["setting", "block", "path"], [(1, "failed"), (2, "terminated")])
@example(["index", "temporary", "index"], [(0, "doubled"), (1, "terminated"), (2, "doubled")])
@example(["database", "released", "computed", "named temp"], [(0, "failed"), (2, "terminated")])
@example(["undone", "table", "prepared"], [(0, "failed"), (1, "terminated"), (2, "failed")])
@example(["local", "insert"], [(0, "failed")])
def test_each_effect_comes_once_wherever_it_stops(
    lines: Lines, pieces: list[str], stops: list[tuple[int, str]]
) -> None:
    """At each stop the script is mended behind what ran, and goes on to the next stop."""
    lines.database.do("DELETE FROM pgstack.statement")  # of an example that failed
    place = len(lines.landed) + 4
    table, name = f"t{place}", f"{place + 1:04}.sql"
    lines.landed.append(script(f"create table app.{table} (id int, word text)", f"{place:04}.sql"))
    lines.database.apply(*lines.landed)
    # between BEGIN and COMMIT no index can be made CONCURRENTLY, and none where a temporary table is used
    open_stops = {
        at % len(pieces): kind
        if kind != "doubled" or pieces[at % len(pieces)] in ("insert", "path", "table")
        else "failed"
        for at, kind in stops
    }
    for at in sorted(open_stops):
        text = _text(pieces, table, {stop: kind for stop, kind in open_stops.items() if stop >= at})
        rows = lines.database.ask(f"SELECT count(*) FROM app.{table}")[0][0]
        if open_stops[at] == "doubled" and rows < 2:
            lines.database.do(
                f"INSERT INTO app.{table} VALUES (-5), (-6); INSERT INTO app.{table} VALUES (5000), (5001)"
            )
        with pytest.raises(PgstackError, match=r"division by zero|went away|could not create unique index"):
            lines.database.apply(*lines.landed, script(text, name))
        assert lines.differences() == []
        if lines.database.ask("SELECT FROM pgstack.statement"):
            with pytest.raises(PlanRefused, match=f"sql/{name} stopped half-way"):
                lines.database.apply(*lines.landed, script(text, "9999.sql"))
    lines.landed.append(script(_text(pieces, table, {}), name))
    lines.database.apply(*lines.landed)
    lines.database.apply(*lines.landed)
    wanted = Counter(n + more for n, piece in enumerate(pieces) for more in PIECES[piece][1])
    found = dict(lines.database.ask(f"SELECT id, count(*) FROM app.{table} WHERE id BETWEEN 0 AND 4999 GROUP BY id"))
    assert found == dict(wanted)
    assert lines.differences() == []
    assert lines.database.ask("SELECT FROM pg_index WHERE NOT indisvalid") == []
    indexes = lines.database.ask(f"SELECT count(*) FROM pg_index WHERE indrelid = 'app.{table}'::regclass")
    assert indexes == [(pieces.count("index"),)]
    assert lines.database.ask("SELECT FROM pgstack.statement") == []


def _text(pieces: list[str], table: str, stops: dict[int, str]) -> str:
    text = []
    for number, piece in enumerate(pieces):
        stop = (STOPS[stops[number]] if number in stops else "select 1").format(t=table, n=number)
        text.append(PIECES[piece][0].format(t=table, n=number, stop=stop))
    return HEAD + ";\n".join(text)


WORKER = """
import sys
from pgvector_stacks.migrations import apply
from pgvector_stacks.connections.connection import Address
from tests.conftest import default_scripts, script
host, port, database, user, password, text = sys.argv[1:]
address = Address(host, int(port), database, user, password)
print("ready", flush=True)
scripts = (*default_scripts(), script("create table app.t (id int)", "4.sql"), script(text, "5.sql"))
apply.apply(address, apply.Request("test", scripts, lock_wait_s=5.0))
"""


def test_kill_9_anywhere_repeats_nothing(fresh_database: FreshDatabase) -> None:
    """The next try begins at once, while the killed one's last statement may still run on the server."""
    seed = int(os.environ.get("PGSTACK_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    print(f"seed {seed}: repeat with PGSTACK_SEED={seed}")  # noqa: T201
    slow = "insert into app.t select {n} from (select pg_sleep(0.05)) as slept"
    kinds = (
        slow,
        "create table app.u{n} (i int)",
        "begin; " + slow + "; set test.kept = '{n}'; commit",
        "create index concurrently on app.t (id)",
        "insert into app.t values (current_setting('test.kept')::int + 1000)",
    )
    text = HEAD + ";\n".join(kinds[n % 5].format(n=n) for n in range(25))
    place = fresh_database.admin
    kills = 0
    while True:
        process = start_worker(WORKER, fresh_database, text)
        if kills < KILLS:
            _wait_for_progress(fresh_database, process, kills * 25 // KILLS + 1)
            time.sleep(chance.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        kills += 1
        if process.wait() == 0:
            break
        assert kills <= KILLS, f"the last try failed (seed {seed})"
        with connect(place) as connection:
            assert schema_drift.find_drift(connection) == (), f"seed {seed}"
    found = Counter(row[0] for row in fresh_database.ask("SELECT id FROM app.t"))
    wanted = Counter([*(n for n in range(25) if n % 5 in (0, 2)), *(n + 998 for n in range(25) if n % 5 == 4)])
    assert found == wanted, f"seed {seed}"
    indexes = fresh_database.ask("SELECT indisvalid FROM pg_index WHERE indrelid = 'app.t'::regclass")
    assert indexes == [(True,)] * 5, f"seed {seed}"


def wait_for(database: FreshDatabase, query: str) -> None:
    """Wait until the query returns a row."""
    ends = time.monotonic() + 30
    while not database.ask(query):
        assert time.monotonic() < ends, query
        time.sleep(0.01)


def _wait_for_progress(database: FreshDatabase, process: subprocess.Popen[str], statements: int) -> None:
    """Until so many statements are recorded, or the process has ended."""
    while process.poll() is None:
        if database.ask("SELECT count(*) FROM pgstack.statement")[0][0] >= statements:
            return
        time.sleep(0.01)


@pytest.mark.parametrize("decided", ["state = 'done'", ""])
def test_what_commits_inside_is_not_begun_again_after_a_kill_before_its_record(
    fresh_database: FreshDatabase, decided: str
) -> None:
    """kill -9 between its end and the write of its record, which a lock on the table keeps waiting."""
    name, where = "5.sql", "script = '5.sql' AND number = 1"
    body = "do $$ begin insert into app.t values (1); commit; perform pg_sleep(1); insert into app.t values (2); end $$"
    text = f"{HEAD}set search_path = app;\n{body};\ninsert into t values (3)"
    scripts = (script("create table app.t (id int)", "4.sql"), script(text, name))
    place = fresh_database.admin
    with connect(place, autocommit=False) as holder:
        process = start_worker(WORKER, fresh_database, text)
        wait_for(fresh_database, "SELECT FROM pgstack.statement WHERE state = 'started'")
        holder.execute("LOCK TABLE pgstack.statement IN SHARE MODE")
        waits = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'pgstack.statement'"
        wait_for(fresh_database, f"SELECT {waits} AND datname = current_database()")
        process.kill()
        process.wait()
        wait_for(fresh_database, f"SELECT pg_terminate_backend(pid) {waits} AND datname = current_database()")
    with pytest.raises(PlanRefused, match=r"sql/5\.sql stopped half-way") as refused:
        fresh_database.apply(*scripts)
    told = str(refused.value)
    assert "3 | do $$ begin insert" in told
    assert "in `pgstack psql STACK --as admin`:\n" in told
    assert f"UPDATE pgstack.statement SET state = 'done' WHERE {where}" in told
    assert f"DELETE FROM pgstack.statement WHERE {where}" in told
    assert fresh_database.ask("SELECT id FROM app.t ORDER BY id") == [(1,), (2,)]
    with connect(place) as connection:
        assert schema_drift.find_drift(connection) == ()
    fresh_database.do(
        next(line for line in told.splitlines() if ("UPDATE" if decided else "DELETE") in line).split(": ")[1]
    )
    fresh_database.apply(*scripts)
    assert fresh_database.ask("SELECT id FROM app.t ORDER BY id") == [
        (n,) for n in ((1, 2, 3) if decided else (1, 1, 2, 2, 3))
    ]

"""Every method brings everything over: each row, sequence, grant, password and index; and keeps what it promises."""

from __future__ import annotations

import os
import pprint
import random
import re
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from pgvector_stacks.common.errors import ConnectionFailed, ServerError
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.upgrade.backup_first import BackupFirst
from pgvector_stacks.upgrade.decision import Method
from pgvector_stacks.upgrade.engines import embedded_upgrade
from pgvector_stacks.upgrade.progress import PACE, Pace
from tests.upgrade import content, servers
from tests.upgrade.servers import PASSWORD, SETTINGS, Machine
from tests.upgrade.test_progress import LINE, OFTEN, telling

SEED = int(os.environ.get("PGSTACK_SEED") or random.SystemRandom().randrange(10**6))
LARGE: LiteralString = "CREATE TABLE large AS SELECT i, repeat(md5(i::text), 30) AS t FROM generate_series(1, 60000) i"


# the steps of which a line is told at the least
TOLD: dict[Method, tuple[str, ...]] = {
    "standby": ("back up", "restore the backup", "make the standby"),
    "copy": ("transfer",),
    "dump": ("dump", "restore"),
    "link": (),
}


@pytest.mark.promise("Each method of upgrading carries everything over")
@pytest.mark.parametrize("method", TOLD)
def test_everything_is_there_after_the_upgrade_and_a_person_could_watch_it(
    machine: Machine, method: Method, tmp_path: Path
) -> None:
    if TOLD[method]:
        with connect(machine.address(machine.old, "app"), own_path=True) as connection:
            connection.execute(LARGE)
    backup = BackupFirst(tmp_path / "backups", "local", "app", 0) if "back up" in TOLD[method] else None
    everything_is_there(machine, method, backup=backup, pace=OFTEN)
    told = [line for line in machine.said if LINE.fullmatch(line)]
    for step in TOLD[method]:
        assert [line for line in told if line.startswith(f"{step}: ")], (step, machine.said)
    if TOLD[method]:
        assert any(re.search(r"of \d+ MB, about .* left", line) for line in told), told
    assert telling() == []


def everything_is_there(
    machine: Machine, method: Method, *, backup: BackupFirst | None = None, pace: Pace = PACE
) -> None:
    before = content.complete(machine.address(machine.old))
    port = embedded_server.read_last_port(machine.old)
    outcome = embedded_upgrade.upgrade(machine.job, PASSWORD, method, machine.said.append, backup=backup, pace=pace)
    assert outcome.method == method
    assert machine.serving == machine.new
    assert embedded_server.read_last_port(machine.new) == port
    found = content.differences(before, content.complete(machine.address(machine.new)))
    assert not found, pprint.pformat(found, width=200)
    assert machine.left() == []
    assert machine.processes() == []
    with connect(
        replace(machine.address(machine.new), user="bob", password="b:o\\b", database="app"), own_path=True
    ) as bob:
        assert bob.execute("SHOW work_mem").fetchall() == [("5MB",)]
    if method != "link":
        embedded_server.stop(machine.new)
        embedded_server.start(machine.old, SETTINGS)
        assert content.complete(machine.address(machine.old)) == before
    else:
        embedded_server.stop(machine.new)
        with pytest.raises(ServerError, match="are 18's since an upgrade by link"):
            embedded_upgrade.check_is_current(machine.old)


def test_the_default_is_the_standby_and_what_it_takes_is_told(machine: Machine) -> None:
    said = embedded_upgrade.describe(machine.job, PASSWORD, None)
    assert said.startswith("upgrades PostgreSQL 16.")
    assert "(standby: about 5 s of downtime)" in said
    assert "keeps 16 for rollback" in said
    assert machine.serving == machine.old


def test_unlogged_rows_are_copied_since_a_standby_has_none_of_them(machine: Machine) -> None:
    with connect(machine.address(machine.old, "app"), own_path=True) as connection:
        connection.execute("CREATE UNLOGGED TABLE quick AS SELECT generate_series(1, 500) AS i")
    assert "app: public.quick" in embedded_upgrade.describe(machine.job, PASSWORD, None)
    outcome = embedded_upgrade.upgrade(machine.job, PASSWORD, None, machine.said.append)
    assert outcome.method == "copy"
    with connect(machine.address(machine.new, "app"), own_path=True) as connection:
        assert connection.execute("SELECT count(*) FROM quick").fetchall() == [(500,)]


def test_a_server_that_is_down_is_started_for_it(machine: Machine) -> None:
    embedded_server.stop(machine.old)
    assert "PostgreSQL 16 is down: `up` starts it first" in embedded_upgrade.describe(machine.job, PASSWORD, None)
    assert machine.serving is None
    embedded_upgrade.upgrade(machine.job, PASSWORD, "standby", machine.said.append)
    assert content.counts(machine.address(machine.new))


# pg_upgrade is told his name, and so are pg_dump and pg_restore: one of both each time
@pytest.mark.parametrize("number", range(2 if "PGSTACK_EXAMPLES" in os.environ else 1))
def test_the_first_superuser_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    method: Method = ("standby", "dump")[(number + SEED) % 2]
    print(f"{method}: repeat with PGSTACK_SEED={SEED}")  # noqa: T201
    monkeypatch.setattr(embedded_server, "ADMIN", "The Boss")
    with servers.machine(tmp_path) as machine:
        embedded_server.initialise(machine.old, PASSWORD)
        embedded_server.start(machine.old, SETTINGS)
        with connect(machine.address(machine.old), own_path=True) as connection:
            connection.execute("CREATE ROLE postgres LOGIN")
            connection.execute("CREATE DATABASE app OWNER postgres")
        embedded_upgrade.upgrade(machine.job, PASSWORD, method, machine.said.append)
        with connect(machine.address(machine.new, "app"), own_path=True) as connection:
            found = connection.execute("SELECT rolname, rolsuper FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY 1")
            assert found.fetchall() == [("The Boss", True), ("postgres", False)]


class Writer(threading.Thread):
    """Writes as fast as it can; `acknowledged`: the numbers the server said yes to."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.address = machine.address(machine.old, "app")
        self.acknowledged, self.over = [-1], threading.Event()

    def run(self) -> None:
        number = 0
        while not self.over.is_set():
            with suppress(ConnectionFailed, psycopg.Error), connect(self.address, own_path=True) as connection:
                while not self.over.is_set():
                    number += 1
                    connection.execute("INSERT INTO written VALUES (%s)", (number,))
                    self.acknowledged.append(number)
            time.sleep(0.01)


@pytest.mark.promise("What a client wrote until an upgrade stops the server is there after it")
def test_what_a_client_wrote_until_the_stop_is_there_after_it(machine: Machine) -> None:
    with connect(machine.address(machine.old, "app"), own_path=True) as connection:
        connection.execute("CREATE TABLE written (i int)")
    writer = Writer(machine)
    writer.start()
    try:
        embedded_upgrade.upgrade(machine.job, PASSWORD, "standby", machine.said.append)
        time.sleep(1)
    finally:
        writer.over.set()
        writer.join()
    with connect(machine.address(machine.new, "app"), own_path=True) as connection:
        there = {row[0] for row in connection.execute("SELECT i FROM written").fetchall()}
    assert len(writer.acknowledged) > 100
    assert set(writer.acknowledged) - there == {-1}

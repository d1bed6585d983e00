"""Every row of the running server against what an upgrade kept: equal, or told where not; nothing is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.config.environment import ROOT
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.toolbox import embedded_toolbox
from pgvector_stacks.toolbox.interface import connect_with_password
from pgvector_stacks.upgrade import rollback, run
from pgvector_stacks.upgrade.checks import verify
from pgvector_stacks.upgrade.decision import Method
from pgvector_stacks.upgrade.engines import embedded_upgrade
from tests.upgrade import servers
from tests.upgrade.content import ODD
from tests.upgrade.servers import PASSWORD, Machine

ALONE = """
import sys
from pathlib import Path
from tests.upgrade.servers import Machine
from tests.upgrade.test_verify import verdict
verdict(Machine(Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def upgraded_template(tmp_path_factory: pytest.TempPathFactory, old_template: Path) -> Iterator[Path]:
    """Stopped after its upgrade."""
    folder = tmp_path_factory.mktemp("upgraded") / "data"
    with servers.machine(folder) as made:
        servers.copy(old_template, folder)
        embedded_upgrade.upgrade(made.job, PASSWORD, "standby", made.said.append)
        embedded_server.stop(made.new)
        yield folder


@pytest.fixture
def upgraded(tmp_path: Path, upgraded_template: Path) -> Iterator[Machine]:
    folder = tmp_path / "my upgraded data"
    with servers.machine(folder) as made:
        servers.copy(upgraded_template, folder, start=False)
        made.new.path.chmod(0o700)
        embedded_server.start(made.new, servers.SETTINGS, port=next(embedded_server.find_free_ports(str(folder))))
        yield made


def verdict(machine: Machine) -> verify.Comparison:
    port = embedded_server.read_last_port(machine.new)
    assert port is not None
    with embedded_toolbox.open_toolbox(machine.root) as toolbox:
        live = connect_with_password(
            toolbox,
            machine.old.major,
            embedded_server.HOST,
            port,
            Address(embedded_server.HOST, port, "postgres", embedded_server.ADMIN, PASSWORD),
        )
        copy = verify.choose_copy_path(toolbox, machine.old.major)
        return verify.verify(toolbox, live, machine.new.major, copy, machine.said.append)


@contextmanager
def nothing_left(machine: Machine) -> Iterator[None]:
    """The kept directory is as it was, and the way back open."""
    yield
    assert sorted(path.name for path in machine.root.glob("*verify*")) == []
    assert not [words for words in machine.processes() if "verify" in " ".join(words)]
    assert machine.serving == machine.new
    with embedded_toolbox.open_toolbox(machine.root) as toolbox:
        assert rollback.find_reversible_upgrade(toolbox, machine.new.major).old == machine.old.major


@pytest.mark.parametrize("method", ["copy", "dump"])
def test_after_an_upgrade_everything_is_equal(machine: Machine, method: Method) -> None:
    embedded_upgrade.upgrade(machine.job, PASSWORD, method, machine.said.append)
    with nothing_left(machine):
        found = verdict(machine)
    assert found.differs == ()
    assert found.rows > 3500
    assert found.tables > 8


@pytest.mark.promise("`upgrade verify` counts what differs from what the upgrade kept, row by row")
def test_what_differs_is_counted_row_by_row(upgraded: Machine) -> None:
    with nothing_left(upgraded):
        assert verdict(upgraded).differs == ()
    with connect(upgraded.address(upgraded.new, "app"), own_path=True) as connection:
        connection.execute("UPDATE words SET doc = '{}' WHERE id IN (1, 2)")
        connection.execute("DELETE FROM words WHERE id = 3")
        connection.execute("INSERT INTO events SELECT '2025-01-01', i FROM generate_series(1, 4) AS i")
        connection.execute("CREATE TABLE later AS SELECT 1 AS i")
        connection.execute("SELECT setval('used', 5), lo_unlink(90001)")
        connection.execute("DROP VIEW happy")  # holds no rows
    with connect(upgraded.address(upgraded.new, ODD), own_path=True) as connection:
        connection.execute("INSERT INTO \"Tä ble\" VALUES ('ß')")  # a second time
    with connect(upgraded.address(upgraded.new), own_path=True) as connection:
        connection.execute("DROP TABLE in_postgres")
        connection.execute("CREATE DATABASE another")
    with nothing_left(upgraded):
        found = list(verdict(upgraded).differs)
    objects = next(line for line in found if "pg_largeobject" in line)
    found.remove(objects)
    assert objects.endswith(" 3 of the kept ones are not there as they were, 0 are new or changed")  # its pages
    words = next(line for line in found if "public.words" in line)
    found.remove(words)
    assert words.endswith("; 3 of the kept ones are not there as they were, 2 are new or changed")
    assert sorted(found) == sorted([
        "another: database new",
        "app: table public.events_new: 922 rows kept, 926 now;"
        " 0 of the kept ones are not there as they were, 4 are new or changed",
        "app: table public.later: new, 1 rows",
        "app: sequence public.used: 80 when it was kept, 5 now: it would give the same numbers again",
        f'{ODD}: table public."Tä ble": 3 rows kept, 4 now;'
        " 0 of the kept ones are not there as they were, 1 are new or changed",
        "postgres: table public.in_postgres: gone, with its 1 rows",
    ])  # fmt: skip


def test_without_room_for_the_copy_it_is_refused(upgraded: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "MARGIN_BYTES", 10**18)
    with (
        nothing_left(upgraded),
        pytest.raises(ServerError, match=r"a copy of .*/16 needs .* free beside it, there are"),
    ):
        verdict(upgraded)


def test_a_failure_leaves_no_copy(upgraded: Machine) -> None:
    """The running server went away meanwhile."""
    embedded_server.stop(upgraded.new)
    with pytest.raises(ServerError):
        verdict(upgraded)
    embedded_server.start(upgraded.new, servers.SETTINGS)
    with nothing_left(upgraded):
        pass


@pytest.mark.promise("`upgrade verify` leaves nothing over, also where it is killed")
@pytest.mark.parametrize("moment", ["copies", "serves"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_interrupted_the_copy_goes_by_itself(upgraded: Machine, moment: str, end: signal.Signals) -> None:
    process = started(upgraded, moment)
    os.kill(process.pid, end)
    process.wait()
    deadline = time.monotonic() + 120
    while end == signal.SIGKILL and list(upgraded.root.glob("*verify*")):
        assert time.monotonic() < deadline, list(upgraded.root.glob("*verify*"))
        time.sleep(0.1)
    with nothing_left(upgraded):
        pass
    with nothing_left(upgraded):
        assert verdict(upgraded).differs == ()


@pytest.mark.parametrize("moment", ["copies", "serves"])
def test_meanwhile_nobody_takes_the_copy_or_what_is_kept_away(upgraded: Machine, moment: str) -> None:
    process = started(upgraded, moment)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ServerError, match=r"another `pgstack upgrade verify` compares with .*/16, or"):
            verdict(upgraded)
        with embedded_toolbox.open_toolbox(upgraded.root) as toolbox:
            found = rollback.list_kept(toolbox, 18, (16, 18))
            with pytest.raises(ServerError, match=r"`pgstack upgrade verify` compares with .*/16\n  wait for it"):
                rollback.delete_kept(toolbox, found)
    finally:
        os.kill(process.pid, signal.SIGCONT)
        code = process.wait()
    assert code == 0
    with nothing_left(upgraded):
        pass


def test_files_that_go_away_while_their_size_is_counted_are_no_error(tmp_path: Path) -> None:
    """A comparison may end meanwhile. Without its `2>/dev/null`, du's complaint was read as a part of the size."""
    copy, over = tmp_path / "16.verify", threading.Event()
    copy.mkdir()

    def come_and_go() -> None:
        while not over.is_set():
            for number in range(200):
                (copy / str(number)).touch()
            for number in range(200):
                (copy / str(number)).unlink()

    worker = threading.Thread(target=come_and_go)
    worker.start()
    try:
        with embedded_toolbox.open_toolbox(tmp_path) as toolbox:
            for _ in range(100):
                assert [kept.path for kept in rollback.list_kept(toolbox, 18, (16, 18))] == [str(copy)]
    finally:
        over.set()
        worker.join()


def started(machine: Machine, moment: str) -> subprocess.Popen[bytes]:
    """In a process of its own, which has come as far as that."""
    copies = machine.root / "16.verify"
    process = subprocess.Popen([sys.executable, "-c", ALONE, str(machine.root)], cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(copies.glob("*/base" if moment == "copies" else "*/postmaster.pid")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


def test_what_a_power_cut_left_is_removed_first(upgraded: Machine) -> None:
    (upgraded.root / "16.verify" / "0123" / "base").mkdir(parents=True)
    with nothing_left(upgraded):
        assert verdict(upgraded).differs == ()


def test_where_nothing_is_kept_it_says_so(machine: Machine, upgraded: Machine) -> None:
    with embedded_toolbox.open_toolbox(upgraded.root) as toolbox:
        rollback.delete_kept(toolbox, rollback.list_kept(toolbox, 18, (16, 18)))
        with pytest.raises(ServerError, match=r"nothing to compare with: .*16 is gone: the upgrade .* was confirmed"):
            verify.find_comparable_upgrade(toolbox, 18)
    embedded_upgrade.upgrade(machine.job, PASSWORD, "link", machine.said.append)
    with embedded_toolbox.open_toolbox(machine.root) as toolbox:
        with pytest.raises(ServerError, match=r"nothing to compare with: .*by link"):
            verify.find_comparable_upgrade(toolbox, 18)
        assert run.read_journal(toolbox, 18) is not None

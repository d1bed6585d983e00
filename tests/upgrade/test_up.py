"""The upgrade as an ordinary `pgstack up` with the real Pulumi engine, and killed in the midst of it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgvector_stacks.automation.toolchain import Toolchain
from pgvector_stacks.backup.manifest import Manifest, Trust, read
from pgvector_stacks.backup.store import list_backups, locking_folder
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.upgrade.engines import embedded_guardian
from tests.docker.test_ssh import ssh_host
from tests.engine.checkout import (
    Checkout,
    copy_of_the_program,
    running_copy,
    session_members,
    stop_servers,
    wait_until_gone,
)
from tests.sshd import Host
from tests.upgrade.servers import OLD, Machine

__all__ = ["ssh_host"]
pytestmark = pytest.mark.engine
KILLS = min(9, int(os.environ.get("PGSTACK_UPGRADE_KILLS", "3")) // 2)
VICTIMS = ("pulumi.dynamic", "pulumi --non-interactive", "-m pgvector_stacks.cli")
ROWS = 500


@pytest.fixture(scope="session")
def deployed_old(tmp_path_factory: pytest.TempPathFactory, toolchain: Toolchain) -> Iterator[Checkout]:
    """A checkout deployed with the old major, some rows in it, its server stopped when it is copied."""
    assert toolchain.pulumi.exists()
    mine = copy_of_the_program(tmp_path_factory.mktemp("old") / "check out")
    try:
        mine.configure(postgresVersion=OLD)
        mine.ok("up")
        mine.do(f"CREATE TABLE public.mine AS SELECT i, 'räw ' || i AS t FROM generate_series(1, {ROWS}) AS i")
        yield mine
    finally:
        embedded_guardian.wait_for_guardian(mine.root / ".data" / "local", 120)
        stop_servers(mine.root)


@pytest.fixture
def old(tmp_path: Path, deployed_old: Checkout) -> Iterator[Checkout]:
    """A copy of it, its server running."""
    with running_copy(deployed_old, tmp_path / "check out", OLD) as mine:
        try:
            yield mine
        finally:
            embedded_guardian.wait_for_guardian(mine.root / ".data" / "local", 120)


def rows(checkout: Checkout) -> list[tuple[Any, ...]]:
    return checkout.ask("SELECT current_setting('server_version_num')::int / 10000, count(*) FROM public.mine")


def backups(checkout: Checkout) -> list[Manifest]:
    """The oldest first."""
    return [read(each.folder) for each in list_backups(checkout.root / ".data" / "backups" / "local")]


def of_the_server(checkout: Checkout) -> dict[str, Any]:
    """The server's outputs in the state."""
    for resource in json.loads(checkout.state())["checkpoint"]["latest"]["resources"]:
        if resource["type"].endswith(":EmbeddedServer"):
            found: dict[str, Any] = resource["outputs"]
            return found
    raise AssertionError("no server in the state")


@pytest.mark.promise("Another major version in the stack file is an upgrade with every row, password and port kept")
def test_an_up_upgrades_and_a_second_one_changes_nothing(old: Checkout) -> None:
    password, port = old.passwords(), old.outputs()["port"]
    assert of_the_server(old)["madeBy"] == "initdb"
    assert "unchanged" in old.ok("up")
    old.configure(postgresVersion=18)
    said = old.ok("preview")
    assert "upgrades PostgreSQL 16.14 → 18" in said
    assert "(standby: about 5 s of downtime)" in said
    assert rows(old) == [(16, ROWS)]
    said = old.ok("up")
    assert "upgrade 16 → 18: make the standby" in said
    assert "PostgreSQL 18 serves; down for" in said
    assert rows(old) == [(18, ROWS)]
    assert (old.passwords(), old.outputs()["port"]) == (password, port)
    found = of_the_server(old)
    assert (found["madeBy"], found["upgradedBy"], found["downtimeS"] > 0) == ("upgraded from 16", "standby", True)
    # one from before, restored as a trial, and one of the new major, made when it served
    assert said.index("PostgreSQL 18 serves; down for") < said.index(
        "a backup of PostgreSQL 18, which serves meanwhile"
    )
    before, after = backups(old)
    assert [(each.major, each.databases[0].contents.rows["public.mine"]) for each in (before, after)] == [
        (16, ROWS),
        (18, ROWS),
    ]
    assert "good" in old.ok("backup", "drill", "local")
    said = old.ok("up")
    assert "unchanged" in said
    assert "drift: table public.mine was added" in said
    assert said.count("drift:") == 1, said
    old.configure(memoryMb=512)
    old.ok("up")
    assert of_the_server(old)["madeBy"] == "upgraded from 16"
    old.configure(postgresVersion=16)
    assert "this stack's data is PostgreSQL 18's, the file says 16: no upgrade goes back" in old.fails("up")
    old.configure(postgresVersion=18)
    old.ok("down")
    assert Machine(old.root / ".data" / "local").serving is None


@pytest.mark.promise("Drift refuses an upgrade before anything stops")
def test_drift_is_refused_before_anything_stops_and_accepted_drift_is_not(old: Checkout) -> None:
    """Also where the server is down, which `up` starts before it can ask."""
    machine = Machine(old.root / ".data" / "local")
    wrong = (
        "the schema of local was changed by other hands than its scripts:\n"
        "{0}table public.mine was added\n{0}repair it, or accept it by name:  pgstack accept local KIND IDENTITY"
    )
    old.configure(drift="refuse")
    assert wrong.format("  ") in old.fails("upgrade", "check", "local", "18")
    old.configure(postgresVersion=18)
    running = embedded_server.find_postmaster(machine.old)
    for command in ("preview", "up"):
        said = old.fails(command)
        assert re.sub(r"\n +", "\n", wrong.format("")) in re.sub(r"\n +", "\n", said), said
        assert "upgrade 16 → 18" not in said
    assert embedded_server.find_postmaster(machine.old) == running
    embedded_server.stop(machine.old)
    said = old.fails("up")
    assert "table public.mine was added" in said
    assert "upgrade 16 → 18" not in said
    assert rows(old) == [(16, ROWS)]
    assert machine.left() == []

    while drifted := re.search(r"^drift +(\w+) (\S+) was added", old.run("status", "local").stdout, re.MULTILINE):
        old.ok("accept", "local", *drifted.groups())
    old.ok("up")
    assert rows(old) == [(18, ROWS)]
    assert "unchanged" in old.ok("up")


@pytest.mark.promise("The backup before an upgrade is on the other host before anything stops")
def test_the_backup_is_on_the_other_host_before_anything_stops(old: Checkout, ssh_host: Host, tmp_path: Path) -> None:
    machine = Machine(old.root / ".data" / "local")
    running = embedded_server.find_postmaster(machine.old)
    old.configure(postgresVersion=18, backupCopy="ssh://nobody@127.0.0.1:9/place")
    said = old.fails("up")
    assert "the copy at ssh://nobody@127.0.0.1:9/place failed" in said
    assert "nothing was stopped, nothing upgraded" in said
    assert "take pgvector:backupCopy out" in said
    assert embedded_server.find_postmaster(machine.old) == running
    assert not (old.root / ".data" / "backups").exists()  # told before the dump
    assert machine.left() == []

    old = replace(old, extra={"PATH": f"{ssh_host.path}{os.pathsep}{os.environ['PATH']}"})
    old.configure(backupCopy=f"{ssh_host.url}{tmp_path}/far")
    said = old.ok("up")
    copied, upgraded, after = "its copy is at ssh://", "upgrade 16 → 18: make the standby", "copied to ssh://"
    assert said.index(copied) < said.index(upgraded) < said.index(after)
    place = tmp_path / "far" / "local"
    copies, here = sorted(place.glob("*Z")), old.root / ".data" / "backups" / "local"
    assert [[file.name for file in each.iterdir()] for each in copies] == [["backup.tar.age"]] * 2
    own = Trust(old.ok("backup", "key").strip())  # which the `up` that upgrades makes
    assert [read(here / each.name, own).major for each in copies] == [16, 18]
    assert "drill good" in old.ok("backup", "fetch", "local").splitlines()[0]
    assert rows(old) == [(18, ROWS)]


@pytest.mark.promise("An upgrade can be taken back until it is confirmed")
def test_back_to_what_the_upgrade_kept_and_forward_again_and_done_with_it(old: Checkout) -> None:
    port = old.outputs()["port"]
    assert "upgrades PostgreSQL 16.14 → 18.4" in old.ok("upgrade", "check", "local", "18")
    assert "the embedded engine has PostgreSQL 16 and 18, not 17" in old.fails("upgrade", "check", "local", "17")
    assert "neither a major version" in old.fails("upgrade", "check", "local", "lots")
    assert "runs PostgreSQL 16.14 already" in old.fails("upgrade", "check", "local", "16")
    old.configure(postgresVersion=18)
    said = old.ok("up")
    assert "restored and compared in" in said  # a backup first
    assert re.search(r"equal: \d+ tables, \d+ rows", old.ok("upgrade", "verify", "local"))
    old.do("INSERT INTO public.mine VALUES (0, 'after')")
    said = old.fails("upgrade", "verify", "local", code=2)
    assert f"app: table public.mine: {ROWS} rows kept, {ROWS + 1} now; 0 of the kept" in said
    assert "1 differences" in said
    assert "set pgvector:postgresVersion back" in old.fails("upgrade", "rollback", "local", "--yes")
    old.configure(postgresVersion=16)
    assert "since is given up" in old.ok("upgrade", "rollback", "local", "--yes")
    assert rows(old) == [(16, ROWS)]
    assert old.outputs()["port"] == port
    assert "unchanged" in old.ok("up")

    # a backup after it that can't be made is a warning
    old.configure(postgresVersion=18)
    with locking_folder(old.root / ".data" / "backups" / "local"):
        said = old.ok("up")
    assert "no new backup: the last good drill is of" in said
    assert "the upgrade is done, the backup after it is not: another `pgstack backup` works in" in said
    assert "make it:  pgstack backup create local" in said
    assert "Traceback" not in said
    assert [each.major for each in backups(old)] == [16, 18]
    assert "unchanged" in old.ok("up")
    assert rows(old) == [(18, ROWS)]
    said = old.ok("upgrade", "confirm", "local", "--yes")
    assert f"{old.root}/.data/local/16" in said
    data = old.root / ".data" / "local"
    assert sorted(path.name for path in data.iterdir() if path.is_dir()) == ["18"]
    assert "there is nothing to compare with: " in old.fails("upgrade", "verify", "local")
    old.configure(postgresVersion=16)
    assert "was confirmed" in old.fails("upgrade", "rollback", "local", "--yes")
    assert rows(old) == [(18, ROWS)]


def test_a_server_that_is_down_is_started_and_upgraded(old: Checkout) -> None:
    embedded_server.stop(embedded_server.Directory(old.root / ".data" / "local" / "16", 16))
    old.configure(postgresVersion=18, upgradeMethod="copy")
    assert "PostgreSQL 16 is down: `up` starts it first" in old.ok("preview")
    old.ok("up")
    assert rows(old) == [(18, ROWS)]
    assert of_the_server(old)["upgradedBy"] == "copy"


def test_what_can_not_be_upgraded_fails_the_preview_with_the_remedy(old: Checkout) -> None:
    old.do("CREATE TABLE public.numbers (f regproc)")
    old.configure(postgresVersion=18)
    for command in ("preview", "up"):
        said = old.fails(command)
        assert "pgvector:postgresVersion: PostgreSQL 16.14 can't be upgraded to 18." in said
        assert "app: public.numbers.f (regproc)" in said
        assert "TYPE text USING" in said
    assert rows(old) == [(16, ROWS)]


@pytest.mark.promise("After kill -9 of an `up` that upgrades a server serves every row, and the next `up` ends it")
@pytest.mark.parametrize("number", range(KILLS))
def test_kill_9_during_an_up(old: Checkout, number: int) -> None:
    seed = int(os.environ.get("PGSTACK_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    victim = chance.choice(VICTIMS)
    machine = Machine(old.root / ".data" / "local")
    old.configure(postgresVersion=18)
    process = old.start("up")
    journal = machine.root / "18.upgrade.json"
    while not journal.exists() and process.poll() is None:
        time.sleep(0.05)
    moment = chance.uniform(0, 12)
    try:
        process.wait(timeout=moment)
    except subprocess.TimeoutExpired:
        for member, command in session_members(process.pid):
            if victim in command and ("pulumi.dynamic" in victim or "pulumi.dynamic" not in command):
                os.kill(member, signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    where = f"number {number}, {victim}, {moment:.1f} s after the first step; PGSTACK_SEED={seed}: {said[-300:]}"
    print(where)  # noqa: T201
    assert not wait_until_gone(process.pid, 20), where
    embedded_guardian.wait_for_guardian(machine.root)
    assert machine.serving is not None, where
    assert machine.processes() == [], where
    assert machine.left() == [], where
    assert rows(old)[0][1] == ROWS, where
    said = old.ok("up")
    assert "Traceback" not in said
    assert rows(old) == [(18, ROWS)]
    assert machine.serving == machine.new
    assert "unchanged" in old.ok("up")


def test_an_up_that_ended_upgraded_can_not_be_set_back_unseen(old: Checkout) -> None:
    """Killed after the new server was opened, before the state was written; then the file is set back."""
    machine = Machine(old.root / ".data" / "local")
    old.configure(postgresVersion=18)
    before = old.state()
    process = old.start("up")
    while embedded_server.find_postmaster(machine.new) is None or not (machine.new.path / "pgstack.conf").exists():
        assert process.poll() is None
        time.sleep(0.02)
    for member, command in session_members(process.pid):
        if "pulumi.dynamic" in command:
            os.kill(member, signal.SIGKILL)
    process.communicate(timeout=120)
    embedded_guardian.wait_for_guardian(machine.root)
    if of_the_server(old)["major"] == 18:  # killed a moment late: what a moment earlier leaves
        (old.root / ".pulumi" / "stacks" / "pgvector" / "local.json").write_text(before)
    assert of_the_server(old)["major"] == 16
    assert machine.serving == machine.new
    old.configure(postgresVersion=16)
    assert "PostgreSQL 18 serves this stack's data" in old.fails("up")
    assert machine.serving == machine.new
    old.configure(postgresVersion=18)
    said = old.ok("up")
    assert "this one continues from there" in said
    assert rows(old) == [(18, ROWS)]

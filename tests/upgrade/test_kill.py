"""kill -9 of whoever upgrades, at random moments: a server serves again, nothing works on, and the next run ends it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.upgrade.decision import Method
from pgvector_stacks.upgrade.engines import embedded_guardian, embedded_upgrade
from tests.upgrade import content
from tests.upgrade.servers import NEW, PASSWORD, Machine, copy
from tests.upgrade.test_faults import STEPS

# the full 50 run with `make test-upgrade`
KILLS = int(os.environ.get("PGSTACK_UPGRADE_KILLS", "2"))
WITHIN_S = 2.0  # a step takes some
METHODS: tuple[Method, ...] = ("standby", "link", "standby", "copy", "dump")
RUNNER = """
import sys
from pathlib import Path
from pgvector_stacks.upgrade.engines import embedded_upgrade as embedded_engine
from tests.upgrade.servers import PASSWORD, Machine
said = lambda line: print(line.splitlines()[0], flush=True)
before = lambda step: said(f"step: {step}")
embedded_engine.upgrade(Machine(Path(sys.argv[1])).job, PASSWORD, sys.argv[2], said, before=before)
"""


def started(machine: Machine, method: Method) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(machine.root), method], cwd=Path(__file__).parents[2],
        start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip


def said_so(process: subprocess.Popen[bytes], text: str) -> None:
    """Returns once a line ends so, or nothing more comes."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.decode().rstrip().endswith(text):
            return


def killed(process: subprocess.Popen[bytes]) -> str:
    """Its last word."""
    process.kill()
    assert process.stdout is not None
    said = process.stdout.read().decode().splitlines()
    process.stdout.close()
    process.wait()
    return said[-1] if said else "nothing"


def rows_are_there(machine: Machine, before: object, where: str) -> None:
    serving = machine.serving
    assert serving is not None, where
    assert content.counts(machine.address(serving)) == before, where


@pytest.mark.promise("After kill -9 of an upgrade at any moment a server serves every row, and nothing works on")
@pytest.mark.parametrize("number", range(KILLS))
def test_kill_9_at_a_random_moment(machine: Machine, number: int) -> None:
    seed = int(os.environ.get("PGSTACK_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    method = METHODS[(number + seed) % len(METHODS)]
    before = content.counts(machine.address(machine.old))
    process = started(machine, method)
    step, moment = chance.choice(STEPS[method]), chance.uniform(0, WITHIN_S)
    said_so(process, f"step: {step}")
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    where = f"{method}, {moment:.2f} s after {step}, said {killed(process)!r}; PGSTACK_SEED={seed}"
    print(where)  # noqa: T201
    embedded_guardian.wait_for_guardian(machine.root)
    assert machine.processes() == [], where
    linked = (machine.root / "18.docker.unfinished").exists()
    if linked:
        assert method == "link", where  # the one way without a way back: the next run goes on
    else:
        rows_are_there(machine, before, where)
    assert machine.left() in ([], ["18.docker.unfinished", "18.docker.unfinished.log"]), where
    if machine.serving != machine.new or process.returncode != 0:
        embedded_upgrade.upgrade(machine.job, PASSWORD, method, machine.said.append)
    assert machine.serving == machine.new, where
    rows_are_there(machine, before, where)
    assert machine.left() == [], where


@pytest.mark.parametrize("later_s", [0, 1.0])
def test_killed_where_link_has_no_way_back_the_next_run_goes_on(machine: Machine, later_s: float) -> None:
    before = content.complete(machine.address(machine.old))
    process = started(machine, "link")
    said_so(process, "no way back to PostgreSQL 16")
    time.sleep(later_s)  # the new server runs by then, on a private socket, or is open already
    killed(process)
    embedded_guardian.wait_for_guardian(machine.root)
    assert machine.processes() == []
    if machine.serving is None:
        assert "18.docker.unfinished" in machine.left()
    else:
        assert machine.serving == machine.new
    embedded_upgrade.upgrade(machine.job, PASSWORD, None, machine.said.append)
    assert content.differences(before, content.complete(machine.address(machine.new))) == {}
    assert machine.left() == []


def test_killed_with_its_guardian_the_next_run_puts_it_right(machine: Machine) -> None:
    before = content.counts(machine.address(machine.old))
    process = started(machine, "standby")
    said_so(process, "step: transfer")
    time.sleep(0.7)
    folder = Path((machine.root / embedded_guardian.LOCK).read_text())
    assert (folder / "passfile").exists()
    for guard in guardians(machine):
        os.kill(guard, signal.SIGKILL)
    killed(process)
    assert machine.serving is None
    embedded_upgrade.upgrade(machine.job, PASSWORD, "standby", machine.said.append)
    assert machine.serving == machine.new
    rows_are_there(machine, before, "after the next run")
    assert machine.processes() == []
    assert not folder.exists()  # it had the password in it


def test_a_guardian_does_not_outlive_its_work(machine: Machine) -> None:
    process = started(machine, "standby")
    assert process.stdout is not None
    process.stdout.readline()
    assert len(guardians(machine)) == 1
    killed(process)
    embedded_guardian.wait_for_guardian(machine.root)
    deadline = time.monotonic() + 10
    while guardians(machine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert guardians(machine) == []
    assert (
        (machine.root / embedded_guardian.LOG)
        .read_text()
        .startswith("an upgrade was killed: what it had started is gone")
    )


def test_a_verified_server_that_was_not_opened_any_more_is_opened(machine: Machine, tmp_path: Path) -> None:
    """Killed between the last step and the start: the guardian starts the new one, and the next run takes it so."""
    before = content.counts(machine.address(machine.old))
    code = RUNNER.replace("before=before", "before=stop")
    code = "def stop(step):\n    if step == 'serve':\n        import os\n        os._exit(9)\n" + code
    done = subprocess.run(
        [sys.executable, "-c", code, str(machine.root), "standby"], cwd=Path(__file__).parents[2], check=False,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    embedded_guardian.wait_for_guardian(machine.root)
    assert machine.serving == machine.new
    rows_are_there(machine, before, "served by the guardian")
    assert "continues from there" in embedded_upgrade.describe(machine.job, PASSWORD, None)
    # as after a kill between the new directory's name and tidying
    (machine.root / f"{NEW}.standby").mkdir()
    (machine.root / f"{NEW}.docker.unfinished.log").write_text("started\n")
    outcome = embedded_upgrade.upgrade(machine.job, PASSWORD, None, machine.said.append)
    assert (outcome.method, outcome.downtime_s) == ("standby", None)
    assert machine.serving == machine.new
    assert machine.left() == []


def test_a_folder_of_another_stack_is_left_alone(machine: Machine, tmp_path: Path, old_template: Path) -> None:
    other = Machine(tmp_path / "other")
    copy(old_template, other.root)
    try:
        embedded_guardian.kill_processes(
            [*machine.job.leftovers, str(other.root / "none")], mark="", spared=str(machine.old.path)
        )
        assert embedded_server.find_postmaster(other.old) is not None
        assert embedded_server.find_postmaster(machine.old) is not None
    finally:
        embedded_server.stop(other.old)


def guardians(machine: Machine) -> list[int]:
    """Process ids of those that hold the lock of this folder."""
    path = str(machine.root / embedded_guardian.LOCK)
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if any(str(each.readlink()) == path for each in (process / "fd").iterdir()):
                    found.append(int(process.name))
            except OSError:
                continue
    return found

"""kill -9 of the provider, of the engine or of pgstack at random moments of an `up`; Ctrl-C; two at once.

After each the database has the old revision or the new one, never a mixture; nothing started by that `up` works on;
the next `up` goes through.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress

import pytest

from tests.engine.checkout import Checkout, session_members, wait_until_gone

pytestmark = pytest.mark.engine
# each victim once; the full 200 run with `make test-all`; each takes two deployments
KILLS = int(os.environ.get("PGSTACK_KILLS", "2"))
VICTIMS = ("pulumi.dynamic", "pulumi --non-interactive", "-m pgvector_stacks.cli")
GONE_WITHIN_S = 20.0


@pytest.mark.promise("kill -9 at any moment of an `up` leaves the old revision or the new one, and the next runs")
def test_kill_9_at_random_moments_of_an_up(deployed: Checkout) -> None:
    seed = int(os.environ.get("PGSTACK_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    print(f"seed {seed}: repeat with PGSTACK_SEED={seed}")  # noqa: T201
    whole, outcomes = 6.0, {"old": 0, "new": 0}
    for number in range(KILLS):
        name = f"{number + 4:04}_kill.sql"
        deployed.add_script(
            f"create table app.k{number} (i int); insert into app.k{number} select generate_series(1, 100);", name
        )
        process = deployed.start("up")
        started = time.monotonic()
        victim = VICTIMS[number % len(VICTIMS)]
        try:
            process.wait(timeout=chance.uniform(0.2, whole))
            whole = time.monotonic() - started
        except subprocess.TimeoutExpired:
            _kill(process.pid, victim)
        process.communicate(timeout=120)  # the others notice, or were done already
        left = wait_until_gone(process.pid, GONE_WITHIN_S)
        assert not left, f"still there {GONE_WITHIN_S} s after {victim} was killed (seed {seed}): {left}"
        assert deployed.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgstack'") == [(0,)]
        (there,) = deployed.ask(f"SELECT to_regclass('app.k{number}') IS NOT NULL")[0]
        (listed,) = deployed.ask(f"SELECT count(*) FROM pgstack.ledger WHERE name = '{name}'")[0]
        assert there == bool(listed), f"a mixture after {victim} was killed (seed {seed})"
        outcomes["new" if there else "old"] += 1
        said = deployed.ok("up")
        assert "Traceback" not in said
        assert deployed.ask(f"SELECT count(*) FROM app.k{number}") == [(100,)]
    assert "unchanged" in deployed.ok("up")
    assert deployed.ask("SELECT count(*) FROM pgstack.ledger") == [(3 + KILLS,)]
    print(outcomes)  # noqa: T201


@pytest.mark.promise("Ctrl-C undoes what was not committed, and nothing works on")
def test_ctrl_c_undoes_what_was_not_committed(deployed: Checkout) -> None:
    deployed.add_script("create table app.slow (); select pg_sleep(60);", "0004_slow.sql")
    process = deployed.start("up")
    assert _busy(deployed, "pg_sleep")
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does: to all of the foreground group
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 1, said
    assert "Traceback" not in said, said
    assert not wait_until_gone(process.pid, GONE_WITHIN_S)
    assert deployed.ask("SELECT to_regclass('app.slow')") == [(None,)]
    (deployed.root / "sql" / "0004_slow.sql").write_text("create table app.slow ();")
    deployed.ok("up")


@pytest.mark.promise("A second `up` at the same time is refused and learns which `up` is running")
def test_a_second_up_is_refused_and_says_who_works(deployed: Checkout) -> None:
    deployed.add_script("create table app.slow (); select pg_sleep(20);", "0004_slow.sql")
    process = deployed.start("up")
    assert _busy(deployed, "pg_sleep")
    said = deployed.fails("up")
    assert "another operation works on this stack" in said
    assert f"pid {_engine(process.pid)}" in said
    assert process.wait(timeout=120) == 0
    process.communicate()
    assert deployed.ask("SELECT count(*) FROM pgstack.ledger") == [(4,)]


@pytest.mark.promise("What a killed engine left of its state stops no later `up`")
def test_what_a_killed_engine_left_of_its_state_stops_no_later_up(deployed: Checkout) -> None:
    deployed.add_script("select pg_sleep(60);", "0004_slow.sql")
    process = deployed.start("up")
    assert _busy(deployed, "pg_sleep")
    engine = _engine(process.pid)
    os.kill(engine, signal.SIGKILL)
    process.communicate(timeout=30)
    assert not wait_until_gone(process.pid, GONE_WITHIN_S)
    for attributes in (deployed.root / ".pulumi").rglob("*.attrs"):  # as one killed in the midst of writing leaves them
        os.truncate(attributes, 0)
    (deployed.root / "sql" / "0004_slow.sql").write_text("select 1;")
    assert f"removed the lock of local that process {engine}, now dead, left behind" in deployed.ok("up")


def _kill(session: int, victim: str) -> None:
    for process, command in session_members(session):
        if victim in command and ("pulumi.dynamic" in victim or "pulumi.dynamic" not in command):
            with suppress(ProcessLookupError):  # it was just about to end
                os.kill(process, signal.SIGKILL)


def _engine(session: int) -> int:
    return next(process for process, command in session_members(session) if "pulumi --non-interactive" in command)


def _busy(checkout: Checkout, text: str, timeout_s: float = 60.0) -> bool:
    """True once our own connection runs a statement with `text`."""
    deadline = time.monotonic() + timeout_s
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        f" WHERE application_name = 'pgstack' AND state = 'active' AND query LIKE '%{text}%'"
    )
    while time.monotonic() < deadline:
        if checkout.ask(query) != [(0,)]:
            return True
        time.sleep(0.1)
    return False

"""A failure at any step: the old server serves with every row, nothing lies about, and the next run goes through."""

from __future__ import annotations

import os
import random

import pytest

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.toolbox import interface
from pgvector_stacks.upgrade import methods, run
from pgvector_stacks.upgrade.decision import Method
from pgvector_stacks.upgrade.engines import embedded_upgrade
from tests.upgrade import content
from tests.upgrade.servers import PASSWORD, Machine

BEFORE = ("prepare", "rehearse")
AFTER = ("transfer", "verify", "keep", "serve")
STEPS: dict[Method, tuple[str, ...]] = {
    "standby": (*BEFORE, "make the standby", "stop", "hand over", *AFTER),
    "copy": (*BEFORE, "stop", "look", *AFTER),
    "dump": (*BEFORE, "stop", "look", *AFTER),
    "link": (*BEFORE, "stop", "look", "transfer", "verify"),  # further ones: test_link.py
}
ALL = [(method, step) for method, steps in STEPS.items() for step in steps]
# each costs the upgrade up to that step; `make test-all` and `make test-upgrade` try them all
ALWAYS: list[tuple[Method, str]] = [("standby", "hand over"), ("standby", "serve"), ("link", "verify")]
SEED = int(os.environ.get("PGSTACK_SEED") or random.SystemRandom().randrange(10**6))


def cases() -> list[tuple[Method, str]]:
    if {"PGSTACK_UPGRADE_KILLS", "PGSTACK_EXAMPLES"} & set(os.environ):
        return ALL
    return [*ALWAYS, *random.Random(SEED).sample([case for case in ALL if case not in ALWAYS], 2)]


class Broken(Exception):
    """What the test lets a step end with."""


def run_into(machine: Machine, method: Method, step: str) -> None:
    seen = []

    def before(name: str) -> None:
        seen.append(name)
        if name == step:
            raise Broken(step)

    with pytest.raises(Broken):
        embedded_upgrade.upgrade(machine.job, PASSWORD, method, machine.said.append, before=before)
    steps = STEPS[method]
    assert tuple(seen) == steps[: steps.index(step) + 1]


def unharmed(machine: Machine, before: object) -> None:
    assert machine.serving == machine.old
    assert content.counts(machine.address(machine.old)) == before
    assert machine.left() == []
    assert not machine.new.path.exists()
    assert machine.processes() == []
    with connect(machine.address(machine.old), own_path=True) as connection:
        assert connection.execute("SELECT count(*) FROM pg_replication_slots").fetchall() == [(0,)]


@pytest.mark.promise("A failure at any step of an upgrade leaves the old server serving with every row")
@pytest.mark.parametrize("number", range(len(cases())))
def test_a_failure_at_a_step_leaves_the_old_server_serving(machine: Machine, number: int) -> None:
    method, step = cases()[number]
    print(f"{method}, {step}: repeat with PGSTACK_SEED={SEED}")  # noqa: T201
    before = content.counts(machine.address(machine.old))
    port = embedded_server.read_last_port(machine.old)
    run_into(machine, method, step)
    unharmed(machine, before)
    assert embedded_server.read_last_port(machine.old) == port


def test_after_a_failure_the_next_run_goes_through(machine: Machine) -> None:
    before = content.complete(machine.address(machine.old))
    run_into(machine, "standby", "verify")
    embedded_upgrade.upgrade(machine.job, PASSWORD, "standby", machine.said.append)
    assert content.differences(before, content.complete(machine.address(machine.new))) == {}


@pytest.mark.promise("An upgrade that loses a row is noticed and undone")
def test_data_that_changed_on_the_way_is_noticed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content.counts(machine.address(machine.old))
    original = methods.transfer

    def lossy(upgrade: run.Upgrade) -> None:
        original(upgrade)
        with_server = interface.start_server(
            upgrade.toolbox, upgrade.new, upgrade.unfinished_directory, {}, upgrade.source.superuser
        )
        interface.execute_sql(upgrade.toolbox, with_server, "app", "DELETE FROM public.words WHERE id = 1")
        interface.stop_server(upgrade.toolbox, upgrade.new, upgrade.unfinished_directory)

    monkeypatch.setattr(methods, "transfer", lossy)
    with pytest.raises(ServerError, match=r"not the old one's: 1 differences\n.*public\.words"):
        embedded_upgrade.upgrade(machine.job, PASSWORD, "standby", machine.said.append)
    unharmed(machine, before)

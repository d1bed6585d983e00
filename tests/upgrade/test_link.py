"""link: up to the start of the new server it can be undone; from there on the next run goes on, and nothing is lost."""

from __future__ import annotations

import pytest

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.toolbox import embedded_toolbox
from pgvector_stacks.upgrade import run
from pgvector_stacks.upgrade.checks import quick_check
from pgvector_stacks.upgrade.engines import embedded_upgrade
from tests.upgrade import content
from tests.upgrade.servers import PASSWORD, Machine
from tests.upgrade.test_faults import Broken


def fails_irreversibly(machine: Machine, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Through a step that fails once the new server has been started."""

    def broken(*_: object, **__: object) -> None:
        raise Broken(what)

    with monkeypatch.context() as patch:
        patch.setattr(*{"compare": (quick_check, "check_equal"), "keep": (run, "promote")}[what], broken)
        with pytest.raises(Broken):
            embedded_upgrade.upgrade(machine.job, PASSWORD, "link", machine.said.append)


@pytest.mark.parametrize("what", ["compare", "keep"])
def test_once_the_new_server_was_started_the_next_run_goes_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    before = content.complete(machine.address(machine.old))
    fails_irreversibly(machine, monkeypatch, what)
    assert "link: from here on there is no way back to PostgreSQL 16" in machine.said
    assert any(line.startswith("link gave the way back up") for line in machine.said)
    assert machine.serving is None
    with (
        embedded_toolbox.open_toolbox(machine.root) as toolbox,
        pytest.raises(ServerError, match="holds the data of PostgreSQL 16"),
    ):
        run.remove_leftovers(toolbox, 16, 18)
    with pytest.raises(ServerError, match=r"the files of PostgreSQL 16 are 18's.*\n  set it to 18"):
        embedded_upgrade.check_is_current(machine.old)
    assert "continues from there" in embedded_upgrade.describe(machine.job, PASSWORD, None)
    outcome = embedded_upgrade.upgrade(machine.job, PASSWORD, None, machine.said.append)
    assert (outcome.method, outcome.downtime_s) == ("link", None)
    assert machine.serving == machine.new
    assert machine.left() == []
    assert content.differences(before, content.complete(machine.address(machine.new))) == {}


def test_files_that_were_linked_but_not_used_are_given_back_to_a_file_that_was_set_back(machine: Machine) -> None:
    before = content.counts(machine.address(machine.old))
    embedded_server.stop(machine.old)
    control = machine.old.path / "global" / "pg_control"
    control.rename(control.with_name("pg_control.old"))  # as pg_upgrade --link leaves it
    embedded_upgrade.check_is_current(machine.old)
    embedded_server.start(machine.old, embedded_server.read_settings(machine.old))
    assert content.counts(machine.address(machine.old)) == before


def test_the_upgraded_server_can_not_be_forgotten_for_the_old_one(machine: Machine) -> None:
    embedded_upgrade.upgrade(machine.job, PASSWORD, "link", machine.said.append)
    with pytest.raises(ServerError, match=r"PostgreSQL 18 serves this stack's data since.*\n  set it to 18"):
        embedded_upgrade.check_is_current(machine.old)

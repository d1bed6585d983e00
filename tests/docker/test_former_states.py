"""The same on Docker: what the plugin keeps is today's, what we keep is of an earlier commit."""

from __future__ import annotations

import pytest

from tests.docker.conftest import Make
from tests.engine import former_state

pytestmark = [pytest.mark.engine, pytest.mark.docker]


@pytest.mark.promise("A state and a ledger of an earlier commit are unchanged on Docker too")
@pytest.mark.parametrize("commit", former_state.COMMITS)
def test_a_state_and_a_ledger_of_before_are_unchanged_on_docker(commit: str, make: Make) -> None:
    former_state.check(make("dev"), former_state.FORMER / commit / "dev", resources=16)

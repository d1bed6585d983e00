"""A state and a ledger of an earlier commit: preview and `up` say that nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_stacks.automation.toolchain import Toolchain
from tests.engine import former_state
from tests.engine.checkout import copy_of_the_program, stop_servers

pytestmark = pytest.mark.engine


@pytest.mark.promise("A state and a ledger of an earlier commit are unchanged under today's code")
@pytest.mark.parametrize("commit", former_state.COMMITS)
def test_a_state_and_a_ledger_of_before_are_unchanged(commit: str, tmp_path: Path, toolchain: Toolchain) -> None:
    assert toolchain.pulumi.exists()
    stack = copy_of_the_program(tmp_path / "check out")
    try:
        former_state.check(stack, former_state.FORMER / commit / "local", resources=8)
    finally:
        stop_servers(stack.root)

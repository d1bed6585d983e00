"""A checkout of its own a test: the real engine, the real server, its own backend and port; all of it gone after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvector_stacks.automation.toolchain import Toolchain
from tests.engine.checkout import KNOWN_SECRETS, Checkout, copy_of_the_program, running_copy, stop_servers


@pytest.fixture(scope="session")
def deployed_template(tmp_path_factory: pytest.TempPathFactory, toolchain: Toolchain) -> Iterator[Checkout]:
    """A checkout that was deployed once, its server stopped."""
    assert toolchain.pulumi.exists()
    mine = copy_of_the_program(tmp_path_factory.mktemp("template") / "check out")
    try:
        mine.ok("up")
        KNOWN_SECRETS.extend(mine.passwords())
        yield mine
    finally:
        stop_servers(mine.root)


@pytest.fixture
def deployed(tmp_path: Path, deployed_template: Checkout) -> Iterator[Checkout]:
    """A copy of the deployed checkout, its server running."""
    with running_copy(deployed_template, tmp_path / "check out") as mine:
        yield mine

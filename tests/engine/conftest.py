"""A checkout of its own a test: the real engine, the real server, its own backend and port; all of it gone after."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvector_stacks.automation.toolchain import Toolchain
from pgvector_stacks.embedded import embedded_server
from tests.engine.checkout import KNOWN_SECRETS, Checkout, copy_of_the_program, stop_servers


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
    """A copy of the deployed checkout, its server running: quicker than an `up` of its own."""
    embedded_server.stop(deployed_template.directory)
    mine = Checkout(tmp_path / "check out")
    shutil.copytree(deployed_template.root, mine.root, symlinks=True)
    mine.root.chmod(0o700)
    try:
        port = embedded_server.kept_port(mine.directory)
        assert (
            embedded_server.start(mine.directory, embedded_server.written_settings(mine.directory), port=port) == port
        )
        yield mine
    finally:
        stop_servers(mine.root)

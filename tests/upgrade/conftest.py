"""Each test has a server of the old major of its own, with some of everything in it; all of it is gone after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.upgrade import servers
from tests.upgrade.servers import Machine


@pytest.fixture(scope="session")
def old_template() -> Iterator[Path]:
    with servers.filled() as folder:
        yield folder


@pytest.fixture
def machine(tmp_path: Path, old_template: Path) -> Iterator[Machine]:
    """The old server runs. Below a folder with a space in its name."""
    folder = tmp_path / "my data"
    with servers.machine(folder) as made:
        servers.copy(old_template, folder)
        yield made

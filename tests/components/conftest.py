"""Fixtures of the tests of components."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.components.declared import Runner


@pytest.fixture
def run() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.close()

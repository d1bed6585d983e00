"""What a test does where the machine lacks what it needs."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from tests.images.build import CannotBuild, ensure


def lacking(what: str) -> NoReturn:
    """Skip by name; in CI that is a failure, since .ci/run installs and starts what a machine can have."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}: .ci/run should have seen to it")
    pytest.skip(what)


def needed_image(name: str) -> str:
    """`name`, of an image that is here or was built now."""
    try:
        return ensure(name)
    except CannotBuild as error:
        lacking(str(error))

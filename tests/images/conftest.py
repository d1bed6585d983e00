"""Fixtures of the tests of images: an engine, a stand-in, and a place for containers that are gone after."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator

import pytest

from tests.images.build import STAND_INS, StandIn, docker, why_no_engine
from tests.lacking import lacking, needed_image


@pytest.fixture(scope="session")
def engine() -> None:
    reason = why_no_engine()
    if reason:
        lacking(reason)


@pytest.fixture(params=STAND_INS.values(), ids=lambda each: f"pg{each.major}")
def stand_in(request: pytest.FixtureRequest, engine: None) -> StandIn:
    assert isinstance(request.param, StandIn)
    needed_image(request.param.name)
    return request.param


class Scratch:
    """Containers, volumes and images of one test, all removed after it, also where it failed."""

    def __init__(self) -> None:
        self.prefix = f"pgstack-test-{secrets.token_hex(4)}"
        self.containers: list[str] = []
        self.volumes: list[str] = []
        self.images: list[str] = []

    def volume(self) -> str:
        name = f"{self.prefix}-volume-{len(self.volumes)}"
        self.volumes.append(name)
        return docker("volume", "create", name)

    def start(self, image: str, *options: str, command: tuple[str, ...] = ()) -> str:
        """The name of a new container, started and published on a free port of 127.0.0.1."""
        name = f"{self.prefix}-{len(self.containers)}"
        self.containers.append(name)
        docker("run", "--detach", "--name", name, "--publish", "127.0.0.1::5432", *options, image, *command)
        return name

    def clean(self) -> None:
        """Every removal is tried, and what could not be removed fails the test."""
        failures = []
        for command in (
            *(("rm", "--force", "--volumes", name) for name in self.containers),
            *(("volume", "rm", "--force", name) for name in self.volumes),
            *(("image", "rm", name) for name in self.images),
        ):
            try:
                docker(*command)
            except subprocess.CalledProcessError as error:
                if "No such" not in str(error.stderr):
                    failures.append(str(error.stderr))
        assert not failures


@pytest.fixture
def scratch(engine: None) -> Iterator[Scratch]:
    scratch = Scratch()
    try:
        yield scratch
    finally:
        scratch.clean()

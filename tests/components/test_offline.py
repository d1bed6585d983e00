"""Offline, seen from the engine's side: an `up` declares nothing, and no check asks anybody."""

from __future__ import annotations

import pulumi
import pytest

from components.data_directory import DataDirectoryProvider
from components.preflight import PreflightProvider
from components.readiness import ReadinessProvider
from pgvector_stacks.config import offline
from pgvector_stacks.config.environment import ConfigError
from tests.components.declared import Runner, database

OLD = {"docker": "unix:///var/run/docker.sock", "dockerChosenBy": "the default", "major": 17, "imageName": "pg17",
       "name": "pgvector-dev", "image": "pg17"}  # fmt: skip
NEW = OLD | {"docker": offline.NOT_ASKED.url, "dockerChosenBy": offline.VARIABLE}


@pytest.fixture(autouse=True)
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(offline.VARIABLE, "1")


@pytest.mark.parametrize("stack", ["local", "dev", "production"])
def test_an_up_is_refused_before_anything_is_declared(run: Runner, stack: str) -> None:
    said, declared = run.refused(database(stack=stack), ConfigError)
    assert said == offline.REFUSED
    assert declared == []


def test_the_preflight_says_what_it_did_not_look_at_and_shows_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warned.append)
    checked = PreflightProvider().check(OLD, NEW)
    assert (checked.inputs, checked.failures) == (OLD, [])
    assert warned == [offline.NOT_LOOKED_AT]
    PreflightProvider().check(OLD, NEW | {"name": "other"})
    assert warned[2].startswith("an `up` refuses this where there is data: this stack's data is in the volume pgvector")
    assert PreflightProvider().check({}, NEW).inputs == NEW


def test_a_downgrade_is_refused_offline_too_and_an_upgrade_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", told.append)
    assert ReadinessProvider().check(OLD, NEW).inputs == OLD
    server = {"settings": {}, "memoryMb": 1024.0, "cpus": 1.0, "shmMb": 256.0}
    was, wanted = OLD | server, NEW | server
    (failure,) = DataDirectoryProvider().check(was, wanted | {"major": 16, "imageName": "pg16"}).failures
    assert "this stack's data is PostgreSQL 17's, pg16 is PostgreSQL 16" in failure.reason
    assert DataDirectoryProvider().check(was, wanted | {"major": 18, "imageName": "pg18"}).failures == []
    assert told == ["upgrades PostgreSQL 17 → 18: how is decided where the server can be asked"]
    assert DataDirectoryProvider().check({}, wanted).failures == []

"""An image is built once, never in the place of a published one, and what the build lacks is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.images import build
from tests.images.build import STAND_INS, CannotBuild, StandIn, docker, ensure
from tests.images.conftest import Scratch

pytestmark = pytest.mark.docker


@pytest.fixture
def never_built(monkeypatch: pytest.MonkeyPatch, scratch: Scratch) -> StandIn:
    """A stand-in of a name of this test's, whose build would fail it."""

    def fail(stand_in: StandIn, inputs: str) -> None:
        raise AssertionError(f"{stand_in.name} was built")

    stand_in = StandIn(f"{scratch.prefix}:latest", "trixie", 17, ())
    monkeypatch.setitem(STAND_INS, stand_in.name, stand_in)
    monkeypatch.setattr(build, "_build", fail)
    scratch.images.append(stand_in.name)
    return stand_in


def tag_empty(name: str, label: str, folder: Path) -> None:
    (folder / "Dockerfile").write_text(f"FROM scratch\nLABEL {label}\n", encoding="utf-8")
    docker("build", "--tag", name, str(folder))


def test_a_published_image_of_the_name_always_wins(never_built: StandIn, tmp_path: Path) -> None:
    tag_empty(never_built.name, "somebody=else", tmp_path)
    assert ensure(never_built.name) == never_built.name


def test_an_image_of_the_same_inputs_is_not_built_again(never_built: StandIn, scratch: Scratch, tmp_path: Path) -> None:
    other = f"{scratch.prefix}:other"
    scratch.images.append(other)
    tag_empty(other, f"{build.LABEL}={build.inputs_hash(never_built)}", tmp_path)
    assert ensure(never_built.name) == never_built.name
    identities = [docker("image", "inspect", "--format", "{{.Id}}", name) for name in (never_built.name, other)]
    assert identities[0] == identities[1]


def test_an_image_of_other_inputs_is_built_again(never_built: StandIn, tmp_path: Path) -> None:
    tag_empty(never_built.name, f"{build.LABEL}=older", tmp_path)
    with pytest.raises((AssertionError, CannotBuild), match=never_built.name):
        ensure(never_built.name)


@pytest.mark.parametrize(("tool", "remedy"), [("mmdebstrap", "apt install mmdebstrap"), ("root", "sudo ")])
def test_what_the_build_lacks_is_named_with_its_remedy(
    tool: str, remedy: str, never_built: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == tool else f"/usr/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000 if tool == "root" else 0)
    with pytest.raises(CannotBuild, match=remedy):
        ensure(never_built.name)

"""What `make` installs is pinned, and each file of it has a hash that is committed."""

from __future__ import annotations

import re

import pytest

from pgvector_stacks.config.environment import ROOT

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Names as the registry compares them, with their versions."""
    return {re.sub(r"[-_.]+", "-", found).lower(): version for found, version in PIN.findall((ROOT / name).read_text())}


@pytest.mark.parametrize("name", ["requirements", "requirements-dev", "requirements-demo"])
def test_every_pinned_release_has_hashes_and_nothing_else_is_installed(name: str) -> None:
    assert pins(f"{name}.txt") == pins(f"{name}.in") != {}, "run: make lock"
    text = re.sub(r"^#.*\n", "", (ROOT / f"{name}.txt").read_text(), flags=re.MULTILINE)
    for release in re.split(r"\n(?=\S)", text.strip()):
        first, *rest = release.replace("\\", "").split()
        assert PIN.match(first), release
        assert rest
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", word) for word in rest), first


def test_make_installs_nothing_from_a_registry_without_a_hash() -> None:
    for line in (ROOT / "Makefile").read_text().splitlines():
        assert "-r requirements" not in line or "@$(LOCKED) " in line, line
    assert "--require-hashes" in (ROOT / "examples" / "app-stack" / "Dockerfile").read_text()

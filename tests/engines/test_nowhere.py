"""An engine that does nothing, added by its package and one line: the commands work on it, or say what it lacks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgvector_stacks.config.environment import ROOT
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.sizing.settings import derive_settings
from tests.conftest import LIMITS
from tests.engine.checkout import Checkout
from tests.engines.nowhere.component import VARIABLE

pytestmark = pytest.mark.engine
OWN = "somebody's-own"
LINE = '    "nowhere": "tests.engines.nowhere",\n'
DECIDES = r"""engine(_name)? *(==|!=|in) *[("']|(==|!=) *["'](docker|embedded)["']"""


@pytest.fixture
def nowhere(checkout: Checkout, tmp_path: Path) -> Iterator[Checkout]:
    """`local` on the server that somebody runs."""
    directory = embedded_server.Directory(tmp_path / "somebody's" / "18", 18)
    embedded_server.initialise(directory, OWN)
    try:
        port = embedded_server.start(directory, derive_settings(LIMITS))
        registry = checkout.root / "pgvector_stacks" / "config" / "engines.py"
        head, docker, rest = registry.read_text().partition('    "docker":')
        registry.write_text(head + LINE + docker + rest)
        package = checkout.root / "tests" / "engines"
        shutil.copytree(ROOT / "tests" / "engines" / "nowhere", package / "nowhere")
        for folder in (package, package.parent):
            (folder / "__init__.py").touch()
        checkout.configure(engine="nowhere", port=port)
        yield replace(checkout, extra={VARIABLE: OWN})
    finally:
        embedded_server.stop(directory)


def test_an_engine_is_a_package_and_a_line(nowhere: Checkout) -> None:
    assert "to run: sql/init.sql" in nowhere.ok("preview")
    said = nowhere.ok("up")
    assert "schemaRevision" in said
    assert "is up: unchanged" in nowhere.ok("up")
    assert "nowhere" in nowhere.ok("outputs", "local", "engine")

    assert "drift    none" in nowhere.ok("status")
    nowhere.ok("verify")
    examined = nowhere.ok("doctor")
    assert "somebody runs it" in examined
    assert "the nowhere engine has no backup" in " ".join(examined.split())
    assert nowhere.ok("psql", "local", "--", "-XAtc", "SELECT current_user").endswith("app\n")
    counted = nowhere.ok("psql", "local", "--as", "admin", "--", "-XAtc", "SELECT count(*) FROM pgstack.ledger")
    assert counted.endswith("3\n")

    for command in (["upgrade", "check", "local", "17"], ["upgrade", "confirm", "local", "--yes"]):
        assert "the nowhere engine has no upgrade: ask who runs the server of local" in nowhere.fails(*command)
    for command in (["backup", "create", "local"], ["backup", "drill", "local"]):
        assert "the nowhere engine has no backup: ask who runs the server of local" in nowhere.fails(*command)
    assert "the nowhere engine has no log: ask who runs the server" in nowhere.fails("logs")
    nowhere.configure(backup={"at": "02:00"})
    assert "the nowhere engine has no schedule" in nowhere.fails("preview")
    nowhere.configure(backup=None)
    assert "its server and the data stay as they are" in nowhere.ok("down")


def test_no_file_outside_of_its_package_decides_by_the_name_of_an_engine() -> None:
    found = subprocess.run(
        ["grep", "-rnE", DECIDES, "--include=*.py", "pgvector_stacks", "components", "__main__.py"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    assert found == ""

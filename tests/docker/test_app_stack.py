"""A second program reads the database's outputs and runs an application beside it; its URL is in no environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError, NotFound

from pgvector_stacks.config.environment import ROOT
from tests.docker import search_image
from tests.docker.conftest import DockerStack, Make
from tests.images import build
from tests.lacking import lacking

# half a minute of two processors for the embeddings, many where others use them too
pytestmark = [pytest.mark.engine, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(2400)]
EXAMPLE = Path("examples") / "app-stack"
# `pulumi up` in the example's folder, without the language host that comes with the official command line only
PROGRAM = """
import json, runpy, sys
import pulumi.automation as auto
from pgvector_stacks.automation.toolchain import find_or_get
from pgvector_stacks.automation.workspace import Workspace
verb, stack, config = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
Workspace(stack, find_or_get(lambda _: None), print)  # the backend and the passphrase of the database's stack
app = auto.create_or_select_stack(
    stack, project_name="search-app", opts=auto.LocalWorkspaceOptions(work_dir="examples/app-stack"),
    program=lambda: runpy.run_path("examples/app-stack/__main__.py"),
)
for key, value in config.items():
    app.set_config(f"search-app:{key}", auto.ConfigValue(value))
done = getattr(app, verb)(on_output=lambda line: print(line, file=sys.stderr))
print(json.dumps(done.summary.resource_changes))
"""


class Application:
    """The example, deployed beside a stack."""

    def __init__(self, database: DockerStack, image: str) -> None:
        self.database, self.image, self.name = database, image, f"{database.name}-search"
        shutil.copytree(ROOT / EXAMPLE, database.root / EXAMPLE)

    def run(self, verb: str) -> dict[str, int]:
        """`pulumi up` or `pulumi destroy`; what it changed."""
        config = {"image": self.image, "name": self.name, "query": "compress data with gzip"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, verb, self.database.stack, json.dumps(config)], cwd=self.database.root,
            env=self.database.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return {kind: count for kind, count in found.items() if kind not in ("same", "read", "discard")}

    def answer(self) -> tuple[int, str, dict[str, Any]]:
        """Exit code, what it printed, how it was made."""
        container = self.database.client.containers.get(self.name)
        code = int(container.wait(timeout=1800)["StatusCode"])
        container.reload()
        return code, container.logs().decode(), dict(container.attrs)

    def clean(self) -> None:
        with suppress(NotFound, APIError):
            self.database.client.containers.get(self.name).remove(force=True)


@pytest.fixture(scope="module")
def search(docker_engine: object) -> Iterator[str]:
    """The example's image."""
    if why := search_image.why_not():
        lacking(why)
    name = f"pgstack-test-search-app:{os.getpid()}"
    try:
        with tempfile.TemporaryDirectory(prefix="pgstack-test-search-") as folder:
            search_image.make(Path(folder), name)
        yield name
    finally:
        with suppress(subprocess.CalledProcessError):
            build.docker("image", "rm", "--force", name)


@pytest.mark.promise("An application finds the database by the stack's outputs")
def test_an_application_finds_the_database_by_its_outputs_and_answers(make: Make, search: str) -> None:
    database = make("dev")
    database.up()
    application = Application(database, search)
    try:
        assert application.run("up") == {"create": 2}
        code, printed, made = application.answer()
        assert code == 0, printed
        assert f"dev: {database.name}:5432, database app, as app" in printed
        assert '"compress data with gzip"' in printed
        assert "gzip" in printed.split('"compress data with gzip"')[1].splitlines()[1]
        said = str(made)
        state = database.root / ".pulumi" / "stacks" / "search-app" / "dev.json"
        for password in database.passwords():
            assert password not in said
            assert password not in printed
            assert password not in state.read_text()
        assert f"SCHEMA_REVISION={database.outputs()['schemaRevision']}" in made["Config"]["Env"]
        assert list(made["NetworkSettings"]["Networks"]) == [database.name]
        assert application.run("up") == {}

        database.secret("appPassword", "another one")
        database.up()
        assert application.run("up") == {"replace": 1}
        code, printed, _ = application.answer()
        assert code == 0, printed
        assert "loaded before" in printed
        assert application.run("destroy") == {"delete": 2}
    finally:
        application.clean()

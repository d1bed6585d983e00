"""A preview from where the Docker host can't be reached: it says what it didn't look at, and `up` is impossible."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pgvector_stacks.config import offline
from tests.docker.conftest import DockerStack, Make

pytestmark = [pytest.mark.engine, pytest.mark.docker]
UNSEEN = ("looked at", "ledger was not compared")
# what plain `pulumi up` comes to: the program is run for real, and no command of ours has refused before
PLAIN_UP = """
from pgvector_stacks.cli import deploy
from pgvector_stacks.automation.toolchain import find_or_get
from pgvector_stacks.automation.workspace import Workspace
deploy.up(Workspace("dev", find_or_get(print), print))
"""


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """The environment of a runner without a Docker Engine."""
    return {"DOCKER_HOST": f"unix://{tmp_path}/no/docker.sock"}


@pytest.fixture(scope="module")
def deployed(make_shared: Make) -> DockerStack:
    stack = make_shared("dev")
    stack.up()
    return stack


@pytest.mark.promise("An offline preview asks neither Docker host nor database")
def test_a_deployed_stack_is_previewed_against_its_state_without_asking_anybody(
    deployed: DockerStack, nowhere: dict[str, str]
) -> None:
    stack = deployed
    before = fingerprint(stack)
    assert "no Docker Engine answers at" in stack.fails("preview", "dev", code=1, **nowhere)

    said = stack.ok("preview", "dev", "--offline", **nowhere)
    assert all(words in said for words in UNSEEN)
    assert "replace" not in said
    assert "schema" not in said.replace("ledger", "")  # nothing to do there
    assert "to run" not in said

    stack.add_script("CREATE TABLE app.rating (stars int);", "0004_rating.sql")
    stack.configure(memoryMb=2048)
    said = stack.ok("preview", "dev", "--offline", **nowhere)
    assert all(words in said for words in UNSEEN)
    assert "to run, by the state: sql/0004_rating.sql (new)" in said
    assert "restarts PostgreSQL: memory 1024 → 2048 MiB" in said
    for password in stack.passwords():
        assert password not in said
    assert fingerprint(stack) == before
    stack.configure(memoryMb=1024)
    assert "runs sql/0004_rating.sql" in stack.up()
    assert "unchanged" in stack.up()


def test_an_edited_script_shows_offline_too(deployed: DockerStack, nowhere: dict[str, str]) -> None:
    stack = deployed
    script = stack.root / "sql" / "init.sql"
    text = script.read_text()
    script.write_text(f"{text}\nCREATE TABLE app.more (i int);\n")
    said = stack.ok("preview", "dev", **nowhere, **{offline.VARIABLE: "1"})
    assert "sql/init.sql was changed after it ran, by the state: `up` refuses that" in said
    assert "sql/init.sql was changed after it ran" in stack.fails("up", "dev")
    script.write_text(text)


def test_a_stack_that_was_never_deployed_is_previewed_offline(make: Make, nowhere: dict[str, str]) -> None:
    stack = make("production")
    said = stack.ok("preview", "production", "--offline", **nowhere)
    assert all(words in said for words in UNSEEN)
    assert "to run, by the state: sql/init.sql (new)" in said
    assert "docker:index:Container server create" in said


def test_up_is_impossible_offline(deployed: DockerStack) -> None:
    stack = deployed
    before = fingerprint(stack)
    stack.configure(memoryMb=2048)
    asked = {offline.VARIABLE: "1"}
    assert "PGSTACK_OFFLINE is for previews" in stack.fails("up", "dev", code=1, **asked)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_UP], cwd=stack.root, env=stack.environment(**asked), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "PGSTACK_OFFLINE is for previews" in done.stdout
    assert fingerprint(stack) == before
    said = stack.fails("up", "dev", code=1, **{offline.VARIABLE: "perhaps"})
    assert "PGSTACK_OFFLINE = 'perhaps': allowed are 1 and 0" in said
    stack.configure(memoryMb=1024)


def fingerprint(stack: DockerStack) -> tuple[object, ...]:
    """What an offline preview may not touch: the container and who last connected to its server."""
    found = stack.container
    connected = stack.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgstack%'")
    return found.id, found.attrs["State"]["StartedAt"], found.attrs["HostConfig"]["Memory"], connected

"""Where the data lies and what a changed key does to it: refused with steps that work, and never a row is lost."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import NotFound

from tests.docker.conftest import Make

pytestmark = [pytest.mark.engine, pytest.mark.docker]


@pytest.fixture
def folders() -> Iterator[tuple[Path, Path]]:
    """Two empty directories of the host, each the image's postgres' alone."""
    root = Path(tempfile.mkdtemp(prefix="pgstack-test-moving-"))
    try:
        found = root / "one", root / "two"
        for each in found:
            each.mkdir(mode=0o700)
            shutil.chown(each, 999, 999)
        yield found
    finally:
        shutil.rmtree(root)


def commands_of(said: str) -> list[str]:
    """The shell lines of a refusal between `pgstack down` and `pgstack up`."""
    lines = [line.strip() for line in said.splitlines()]
    return [re.sub(r" {3}\(.*", "", line) for line in lines if line.startswith("docker ")]


def carry_out(said: str) -> None:
    done = []
    for command in commands_of(said):
        if command not in done:
            subprocess.run(["bash", "-ec", command], check=True, capture_output=True)
            done.append(command)
    assert done, said


@pytest.mark.promise("A key that would leave the data behind is refused")
def test_a_key_that_would_leave_the_data_behind_is_refused_and_the_ways_out_keep_every_row(
    make: Make, folders: tuple[Path, Path]
) -> None:
    stack = make("test", volume="delete")
    folder, _ = folders
    stack.up()
    stack.fill()
    started, old, new = stack.started_at, stack.name, f"{stack.name}-new"

    # another name, on the same port: by the preview, and by `up` before anything is touched
    stack.configure(containerName=new)
    for said in (stack.fails("preview", "test"), stack.refused()):
        assert f"data is in the volume {old}, as pgvector:containerName or the stack's name was" in said
        assert f"keep the name:  pgvector:containerName: {old}" in said
        assert "is taken by" not in said, "by the stack's own container"
    # a directory of the host, under that name and under the old one
    stack.configure(containerName=old, dataPath=str(folder))
    said = stack.refused()
    assert f"data is in the volume {old}; in the directory {folder} the server would start empty" in said
    assert (stack.rows(), stack.started_at) == (1000, started)
    assert list(folder.iterdir()) == []
    with pytest.raises(NotFound):
        stack.client.volumes.get(new)

    # the name goes, the volume is taken along
    stack.configure(dataPath=None, containerName=new, volume="retain", adoptVolume=old)
    assert "tries the new image" not in stack.up(), "there is none"
    assert stack.rows() == 1000
    with pytest.raises(NotFound):
        stack.client.containers.get(old)

    # the directory, by the steps
    stack.ok("down", "test", "--yes")
    stack.configure(containerName=old, adoptVolume=None, dataPath=str(folder))
    said = stack.refused()
    assert f"{old} has its data where Docker keeps volumes, pgvector:dataPath is {folder}" in said
    carry_out(said)
    stack.up()
    assert stack.rows() == 1000
    assert (folder / "17" / "docker" / "PG_VERSION").is_file()

    # what is deleted, and what isn't
    (folder / "notes.txt").write_text("not the stack's")
    said = stack.ok("down", "test", "--yes")
    assert f"test is down; its files stay in {folder} for the next up" in said
    said = stack.ok("down", "test", "--delete-data", "--yes")
    assert f"test is down, its data deleted; not this stack's, so it stays in {folder}: notes.txt" in said
    assert [each.name for each in folder.iterdir()] == ["notes.txt"]


def test_another_engine_is_refused_before_anything_changes_and_a_backup_moves_the_data(make: Make) -> None:
    stack = make("dev")
    embedded = {"engine": "embedded", "port": None, "containerName": None, "image": None}
    docker = {key: stack.configured(key) for key in embedded}
    stack.up()
    stack.fill()
    started = stack.started_at
    stack.configure(**embedded)
    for said in (stack.fails("preview", "dev"), stack.refused()):
        assert "this stack's data is with the docker engine; with embedded the server would start empty" in said
        assert "go on as it is:  pgvector:engine: docker" in said
    assert (stack.rows(), stack.started_at) == (1000, started)
    assert not (stack.root / ".data" / "dev").exists()

    # by the steps
    stack.configure(**docker)
    key = stack.ok("backup", "key", "dev").strip()
    stack.ok("backup", "create", "dev")
    stack.ok("down", "dev", "--yes")
    stack.configure(**embedded)
    stack.secret("backupKey", key)
    stack.up()
    stack.ok("backup", "restore", "dev", "--confirm", "dev")
    assert stack.rows() == 1000

    # and back: nothing is made on the Docker host
    stack.configure(**docker)
    assert "this stack's data is with the embedded engine; with docker" in stack.refused()
    assert stack.of_name() == []
    assert stack.rows() == 1000

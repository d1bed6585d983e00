"""An image from a registry on loopback: pinned by its digest, and a pull that fails."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import requests
from docker.errors import APIError

from tests.docker.conftest import PG17, Make, free_port
from tests.lacking import lacking

pytestmark = [pytest.mark.engine, pytest.mark.docker]
START_TIMEOUT_S = 30.0
TAG = "0.8.6-pg17-trixie"
CONFIGURATION = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Registry:
    """`repository`: the image's name in it, without a tag; `digest` of what was pushed there."""

    repository: str
    digest: str


@pytest.fixture
def registry(tmp_path: Path, docker_engine: docker.DockerClient, image: Callable[[str], str]) -> Iterator[Registry]:
    """Debian's docker-registry with one image in it, which the engine has under this name no more."""
    program = shutil.which("docker-registry")
    if program is None:
        lacking("no docker-registry here (Debian's package of that name)")
    port = free_port()
    (tmp_path / "registry.yml").write_text(CONFIGURATION.format(folder=tmp_path / "registry", port=port))
    process = subprocess.Popen(
        [str(program), "serve", str(tmp_path / "registry.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    repository = f"127.0.0.1:{port}/pgvector/pgvector"
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(port):
            assert time.monotonic() < deadline, "the registry does not start"
            time.sleep(0.1)
        found = docker_engine.images.get(image(PG17))
        assert found.tag(repository, TAG)
        docker_engine.images.push(repository, TAG)
        found.reload()
        (digest,) = [each.partition("@")[2] for each in found.attrs["RepoDigests"] if each.startswith(repository)]
        _forget(docker_engine, repository, digest)
        yield Registry(repository, digest)
        _forget(docker_engine, repository, digest)
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/v2/", timeout=5).ok
    except requests.RequestException:
        return False


def _forget(client: docker.DockerClient, repository: str, digest: str) -> None:
    for name in (f"{repository}:{TAG}", f"{repository}@{digest}"):
        with suppress(APIError):
            client.images.remove(name)


def test_an_image_pinned_by_its_digest_is_pulled_and_one_that_is_not_there_is_refused(
    registry: Registry, make: Make
) -> None:
    stack = make("dev")
    pinned = f"{registry.repository}:{TAG}@{registry.digest}"
    stack.configure(image=pinned)
    said = stack.ok("preview", "dev")
    assert "can't be pulled" not in said
    assert not list(stack.client.images.list(registry.repository)), "a preview pulls nothing"
    stack.up()
    stack.fill()
    assert stack.container.image == stack.client.images.get(PG17)
    assert "is up: unchanged" in stack.up()

    started = stack.started_at
    for wrong in (f"{registry.repository}:{TAG}@sha256:{'0' * 64}", f"{registry.repository}:9.9.9-pg17"):
        stack.configure(image=wrong)
        for command in ("preview", "up"):
            said = stack.fails(command, "dev")
            assert f"image: {wrong} is not on the Docker host and can't be pulled:" in said
            assert f"docker pull {wrong}" in said
        assert (stack.started_at, stack.rows()) == (started, 1000)
    stack.configure(image=pinned)
    assert stack.rows() == 1000
    stack.up()
    assert stack.started_at == started

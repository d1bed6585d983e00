"""A running plugin, a Docker Engine where one answers, and a tiny image that needs no registry."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import APIError, DockerException

from tests.docker_plugin.calls import RunningPlugin
from tests.docker_plugin.install import install_stand_in
from tests.lacking import lacking

# Docker finds names by a part of them: no other run's may contain ours
PREFIX = f"pgstack-test-plugin{os.getpid()}x"
IMAGE = f"{PREFIX}-tiny:1"
PROGRAMS = ("sh", "sleep", "true", "false")
FILES = {
    "Dockerfile": """FROM scratch
COPY root /
ENV PATH=/bin
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["sh"]
""",
    "root/etc/passwd": "root:x:0:0::/:/bin/sh\npostgres:x:999:999::/:/bin/sh\n",
    "root/bin/docker-entrypoint.sh": """#!/bin/sh
exec "$@"
""",
    # as much of PostgreSQL as the recordings ask for: it refuses a bad setting, and ends at a signal with 0
    "root/bin/postgres": """#!/bin/sh
case "$*" in *bogus*) exit 1 ;; esac
trap 'exit 0' INT TERM
while :; do sleep 0.1; done
""",
    "root/bin/pg_isready": """#!/bin/sh
exit 0
""",
}


@pytest.fixture(scope="session")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in's, also where the real plugin is at hand: these tests are about the stand-in.

    PGSTACK_DOCKER_PLUGIN names another one, which the same tests are then asked of.
    """
    other = os.environ.get("PGSTACK_DOCKER_PLUGIN")
    return Path(other) if other else install_stand_in(tmp_path_factory.mktemp("pulumi home"))


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.APIClient]:
    """The Docker Engine; what was made with our prefix is gone at the end."""
    try:
        client = docker.APIClient(version="auto", timeout=60)
    except DockerException as error:
        lacking(f"no Docker Engine answers: {str(error)[:120]}")
    try:
        yield client
    finally:
        _clean(client)
        client.close()


def _clean(client: docker.APIClient) -> None:
    named = {"name": PREFIX}
    for container in client.containers(all=True, filters=named):
        client.remove_container(container["Id"], v=True, force=True)
    for volume in client.volumes(filters=named)["Volumes"] or []:
        client.remove_volume(volume["Name"], force=True)
    for network in client.networks(filters=named):
        client.remove_network(network["Id"])
    if client.images(name=IMAGE):
        client.remove_image(IMAGE)  # by its name: another worker's has the same id


@pytest.fixture(scope="session")
def image(engine: docker.APIClient) -> str:
    """A shell and a few programs of this machine, with the libraries they need."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for target, source in sorted({one for program in PROGRAMS for one in _with_libraries(program).items()}):
            entry = tar.gettarinfo(os.path.realpath(source), arcname=f"root{target}")
            tar.addfile(entry, io.BytesIO(Path(source).read_bytes()))
        for name, text in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o755
            tar.addfile(entry, io.BytesIO(text.encode()))
        entry = tarfile.TarInfo("root/tmp")
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(entry)
    said = list(
        engine.build(fileobj=io.BytesIO(context.getvalue()), custom_context=True, tag=IMAGE, rm=True, decode=True)
    )
    try:
        engine.inspect_image(IMAGE)
    except APIError:
        pytest.fail(f"the tests' image could not be built: {said[-1]}")
    return IMAGE


def _with_libraries(program: str) -> dict[str, str]:
    """Place in the image to file here: the program in /bin, its libraries where the loader looks for them."""
    found = shutil.which(program)
    if found is None:
        lacking(f"this machine has no {program} to put into the tests' image")
    listed = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
    return {f"/bin/{program}": found} | {library: library for library in re.findall(r"(/\S+) \(0x", listed)}


@pytest.fixture(scope="module")
def plugin(executable: Path) -> Iterator[RunningPlugin]:
    with RunningPlugin(executable) as running:
        yield running

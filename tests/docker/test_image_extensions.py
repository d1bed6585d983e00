"""An image that can't serve the extensions of the databases is refused by the check, in the preview and in `up`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from components.data_directory import DataDirectoryProvider
from pgvector_stacks.connections.connection import Address, connect
from tests.docker.conftest import NO_STRAY, PG17, free_port

pytestmark = [pytest.mark.docker]
NAME = f"pgstack-test-extensions-{os.getpid()}"
PASSWORD = "of-this-test"  # noqa: S105
OLDER = """cd /usr/share/postgresql/17/extension
sed -i "s/^default_version = .*/default_version = '0.7.4'/" vector.control
rm vector--0.7.4--*.sql vector--0.8*.sql
"""


@pytest.fixture
def port(docker_engine: docker.DockerClient, image: Callable[[str], str]) -> Iterator[int]:
    """Of a server with pgvector as the image has it; beside it an image NAME:17 whose pgvector is older."""
    made = []
    try:
        found = free_port()
        made.append(
            docker_engine.containers.run(
                image(PG17),
                detach=True,
                name=NAME,
                environment={"POSTGRES_PASSWORD": PASSWORD},
                tmpfs=NO_STRAY,
                ports={"5432/tcp": ("127.0.0.1", found)},
            )
        )
        made.append(
            docker_engine.containers.create(
                PG17, ["sh", "-ec", OLDER], entrypoint=[], name=f"{NAME}-older", user="root", tmpfs=NO_STRAY
            )
        )
        made[-1].start()
        assert made[-1].wait()["StatusCode"] == 0
        made[-1].commit(NAME, "17")
        yield found
    finally:
        for each in made:
            each.remove(force=True, v=True)
        docker_engine.images.remove(f"{NAME}:17", force=True)


def test_an_image_whose_pgvector_is_older_is_refused_while_the_old_server_runs(
    docker_engine: docker.DockerClient, port: int
) -> None:
    olds: dict[str, Any] = {
        "name": NAME, "major": 17.0, "settings": {}, "memoryMb": 1024.0, "cpus": 1.0, "shmMb": 64.0,
        "host": "127.0.0.1", "port": float(port), "sslmode": "", "adminPassword": PASSWORD, "docker": "unix:///var/run/docker.sock",
        "imageName": PG17, "image": str(docker_engine.images.get(PG17).id), "volumeName": NAME,
    }  # fmt: skip
    address = Address("127.0.0.1", port, "postgres", "postgres", PASSWORD)
    with connect(address, wait_s=60) as connection:
        connection.execute("CREATE EXTENSION vector")
    older = olds | {"imageName": f"{NAME}:17", "image": str(docker_engine.images.get(f"{NAME}:17").id)}
    (failure,) = DataDirectoryProvider().check(olds, older).failures
    assert f"pgvector:image: database postgres has the extension vector 0.8.0, {NAME}:17 has 0.7.4" in failure.reason
    assert "choose an image with the same or a newer version of it" in failure.reason
    assert PASSWORD not in failure.reason
    # the other way round scripts lead from the one to the other
    with connect(address) as connection:
        connection.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    assert DataDirectoryProvider().check(older, olds).failures == []
    assert DataDirectoryProvider().check(olds, older).failures == []

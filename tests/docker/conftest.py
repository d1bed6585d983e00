"""Stacks on a real Docker Engine: a checkout, a name and a port of its own each; all of it gone after.

Without an engine these tests are skipped with the reason; in CI that is a failure, since CI starts one.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import docker
import psycopg
import pytest
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from pgvector_stacks.automation.toolchain import Toolchain
from pgvector_stacks.common.errors import ConnectionFailed
from pgvector_stacks.docker.container_spec import OLD_MOUNT
from pgvector_stacks.docker.docker_host import NAME_LABEL, ROLE_LABEL
from tests.docker_plugin.install import NAME, Installed
from tests.engine.checkout import Checkout, copy_of_the_program, wait_until_gone
from tests.images import build
from tests.lacking import lacking, needed_image

PG15, PG17, PG18 = build.STAND_INS
COUNTER = itertools.count()
# the SDK's run(remove=True) leaves the anonymous volume behind that images up to 17 ask for
NO_STRAY = {OLD_MOUNT: ""}
# room on a small machine; production's own defaults are tested without a container
SMALL = {"memoryMb": 1024, "cpus": 1}


@cache
def client_of(url: str) -> docker.DockerClient:
    """One a session: each keeps its connections."""
    return docker.DockerClient(base_url=url) if url else docker.from_env()


@dataclass(frozen=True)
class DockerStack(Checkout):
    """A checkout whose `stack` runs in Docker under a name of its own."""

    name: str = ""
    port: int = 0
    engine: str = ""  # URL of an engine of the test's own

    def up(self) -> str:
        return self.ok("up", self.stack)

    def refused(self) -> str:
        return self.fails("up", self.stack)

    @property
    def client(self) -> docker.DockerClient:
        return client_of(self.engine)

    @property
    def container(self) -> Container:
        return self.client.containers.get(self.name)

    def of_name(self) -> list[Container]:
        """The container, or none."""
        return [each for each in self.client.containers.list(all=True) if each.name == self.name]

    def fill(self, rows: int = 1000) -> None:
        """A table whose rows are counted afterwards."""
        self.do(f"CREATE TABLE public.kept AS SELECT generate_series(1, {rows}) AS i")

    def rows(self) -> int:
        return int(self.ask("SELECT count(*) FROM public.kept")[0][0])

    def rows_once_back(self, within_s: float = 60.0) -> int:
        """Counted by a server that comes back by itself."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                return self.rows()
            except (ConnectionFailed, psycopg.OperationalError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    @property
    def image(self) -> str:
        return str(self.configured("image"))

    def lose_the_state(self) -> None:
        shutil.rmtree(self.root / ".pulumi")

    @property
    def started_at(self) -> str:
        return str(self.container.attrs["State"]["StartedAt"])

    def left(self, session: int, within_s: float) -> list[tuple[int, str]]:
        """What still works of a killed run. The real plugin, which gets no variables of ours, only looks every five
        minutes whether its engine is there (Pulumi's sdk/go/pulumi/provider/main.go), and does nothing meanwhile.
        """
        return wait_until_gone(session, within_s, "" if self.extra else NAME)

    def of_role(self, role: str) -> list[Container]:
        """Containers of this stack, running or not: its server, or throw-aways."""
        labels = [f"{NAME_LABEL}={self.name}", f"{ROLE_LABEL}={role}"]
        return list(self.client.containers.list(all=True, filters={"label": labels}, ignore_removed=True))

    def in_a_throw_away(self, script: str, user: str = "root") -> str:
        """Run a shell script with the stack's volume at /v."""
        said: bytes = self.client.containers.run(
            PG17, ["sh", "-ec", script], entrypoint=[], user=user, remove=True, network_mode="none", tmpfs=NO_STRAY,
            volumes={self.name: {"bind": "/v", "mode": "rw"}}, name=f"{self.name}-hands",
        )  # fmt: skip
        return said.decode()

    def clean(self) -> None:
        """Nothing of it stays on the engine."""
        client = self.client
        for container in client.containers.list(all=True, filters={"label": f"{NAME_LABEL}={self.name}"}):
            with suppress(APIError, NotFound):
                container.remove(force=True, v=True)
        for container in client.containers.list(
            all=True, ignore_removed=True, filters={"name": self.name}
        ):  # what a test put there
            with suppress(APIError, NotFound):
                container.remove(force=True, v=True)
        for found in (client.volumes, client.networks):
            for each in found.list(filters={"name": self.name}):
                with suppress(APIError, NotFound):
                    each.remove()


@pytest.fixture(scope="session")
def docker_engine() -> docker.DockerClient:
    """The engine of this machine."""
    why = build.why_no_engine()
    if why is not None:
        lacking(why)
    return docker.from_env()


@pytest.fixture(scope="session")
def image(docker_engine: docker.DockerClient) -> Callable[[str], str]:
    """Builds a stand-in where the image isn't there; its name."""
    return needed_image


def free_port() -> int:
    """Free now, and none that an outgoing connection or another program's port 0 takes before the container does."""
    for port in random.Random().sample(range(20000, 32000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


Make = Callable[..., DockerStack]


@contextmanager
def stacks(folder: Path, image: Callable[[str], str], plugin: Installed) -> Iterator[Make]:
    """Makes stacks in `folder`; all of them are gone afterwards."""
    made: list[DockerStack] = []

    def one(stack: str = "dev", engine: str = "", **keys: Any) -> DockerStack:
        name = f"pgstack-test-{os.getpid()}-{next(COUNTER):04}"  # no name is part of another
        root = folder / f"check out {len(made)}"
        copy_of_the_program(root)
        found = DockerStack(root, stack, plugin.variables(), name, free_port(), engine)
        made.append(found)
        given = {"image": PG17, "pgvectorMinimum": "0.8.0", "containerName": name, "port": found.port, **SMALL} | keys
        image(str(given["image"]))
        found.configure(**given)
        return found

    try:
        yield one
    finally:
        for each in made:
            each.clean()


@pytest.fixture
def make(tmp_path: Path, image: Callable[[str], str], docker_plugin: Installed, toolchain: Toolchain) -> Iterator[Make]:
    """`make("dev", memoryMb=2048)`: a stack that was not brought up yet."""
    with stacks(tmp_path, image, docker_plugin) as made:
        yield made


@pytest.fixture(scope="module")
def make_shared(
    tmp_path_factory: pytest.TempPathFactory,
    image: Callable[[str], str],
    docker_plugin: Installed,
    toolchain: Toolchain,
) -> Iterator[Make]:
    """The same for a module's own fixture: each of its tests leaves the stack as it found it."""
    with stacks(tmp_path_factory.mktemp("shared"), image, docker_plugin) as made:
        yield made

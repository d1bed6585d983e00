"""A database as the document's Compose files made it: the old image, a volume at PGDATA, three files in initdb.d."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, SQL
from pgvector_stacks.docker import container_command
from pgvector_stacks.docker.docker_host import open_throw_away, put_files, run_to_end
from tests.docker.conftest import COUNTER, PG15

PROJECT = "shop"
PASSWORD = "old password"  # noqa: S105
START_TIMEOUT_S = 90


@dataclass(frozen=True)
class OldWay:
    """`name`: of container and volume. `user`: POSTGRES_USER, the first superuser."""

    client: docker.DockerClient
    image: str
    name: str
    user: str = "app"
    database: str = "shop"

    def make(self, mount: str = "/var/lib/postgresql/data", **environment: str) -> None:
        """What `docker compose up -d` does the first time."""
        self.client.volumes.create(self.name, labels=self.labels | {"com.docker.compose.volume": "pgdata"})
        self.up(mount, **environment)

    @property
    def labels(self) -> dict[str, str]:
        return {"com.docker.compose.project": PROJECT, "com.docker.compose.version": "2.24.6"}

    def up(self, mount: str = "/var/lib/postgresql/data", **environment: str) -> None:
        """What `docker compose up -d` does, until the database answers."""
        given = {"POSTGRES_USER": self.user, "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": self.database}
        container = self.client.containers.create(
            self.image, name=self.name, environment=given | environment,
            labels=self.labels | {"com.docker.compose.service": "postgres"},
            volumes={self.name: {"bind": mount, "mode": "rw"}}, network_mode="none",
        )  # fmt: skip
        # the names in the order they are to run in: initdb.d goes by the alphabet
        scripts = {
            f"{number}0-{name}": (SQL / name).read_text() for number, name in enumerate(DEFAULT_SCRIPTS, start=1)
        }
        put_files(container, "/docker-entrypoint-initdb.d", scripts, mode=0o644)
        self.start()

    @property
    def container(self) -> Container:
        return self.client.containers.get(self.name)

    def start(self) -> None:
        self.container.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        # over TCP: the temporary server of the first start answers on the socket alone
        while container_command.run(self.container, ["pg_isready", "-q", "-h", "127.0.0.1"]).code != 0:
            assert time.monotonic() < deadline, self.container.logs(tail=30).decode()
            time.sleep(0.2)

    def down(self) -> None:
        """`docker compose down`."""
        self.container.stop(timeout=60)
        self.container.remove(v=True)

    def kill(self) -> None:
        """No clean shutdown: the data needs recovery."""
        self.container.kill()
        self.container.remove(v=True)

    def psql(self, text: str, user: str = "") -> str:
        done = container_command.run(
            self.container,
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", user or self.user, "-d", self.database, "-c", text],
        )
        assert done.code == 0, done.text
        return done.text.strip()

    def in_volume(self, script: str, *, user: str = "postgres") -> str:
        """What a shell says that has the volume at /volume; it must end well."""
        with open_throw_away(
            self.client, self.name, self.image, ["sh", "-c", script], user=user, network_mode="none",
            volumes={self.name: {"bind": "/volume", "mode": "rw"}},
        ) as container:  # fmt: skip
            done = run_to_end(container, lines=10**6)  # all of it
        assert done.code == 0, done.output
        return done.output

    @contextmanager
    def root_in_volume(self) -> Iterator[Callable[[str], str]]:
        """The same as root, as often as needed in one container: each of its own takes a second."""
        with open_throw_away(
            self.client, self.name, self.image, ["sleep", "infinity"], has_end_mark=False, user="root",
            network_mode="none", init=True, volumes={self.name: {"bind": "/volume", "mode": "rw"}},
        ) as container:  # fmt: skip
            container.start()

            def do(script: str) -> str:
                done = container_command.run(container, ["sh", "-ec", script])
                assert done.code == 0, done.text
                return done.text

            yield do

    def listing(self, root: Callable[[str], str] | None = None) -> Mapping[str, str]:
        """Every file outside of the throw-away ones, by its path in the volume: its checksum."""
        script = "cd /volume && find . -type f ! -name '*.lock' -exec md5sum {} +"
        said = root(script) if root is not None else self.in_volume(script, user="root")
        return {path: checksum for checksum, _, path in (line.partition("  ") for line in said.splitlines())}

    def clean(self) -> None:
        """Whoever uses the volume goes with it."""
        for container in self.client.containers.list(all=True, ignore_removed=True, filters={"volume": self.name}):
            with suppress(APIError):
                container.remove(force=True, v=True)
        with suppress(NotFound):
            self.container.remove(force=True, v=True)
        with suppress(NotFound):
            self.client.volumes.get(self.name).remove()


def old_way(docker_engine: docker.DockerClient, image: Callable[[str], str]) -> Iterator[Callable[..., OldWay]]:
    """A fixture of any scope: `old(user="postgres")` isn't started yet; all of them are gone afterwards."""
    made: list[OldWay] = []

    def one(**fields: Any) -> OldWay:
        made.append(OldWay(docker_engine, image(PG15), f"pgstack-test-{os.getpid()}-old-{next(COUNTER)}", **fields))
        return made[-1]

    try:
        yield one
    finally:
        for each in made:
            each.clean()

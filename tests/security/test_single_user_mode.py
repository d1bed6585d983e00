"""A data directory's own settings, whoever wrote them, bring no password to light: not to a log, not into an error."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from docker.errors import APIError
from docker.types import Mount

from pgvector_stacks.backup import restore
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.connections import roles, single_user_mode
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.docker import data_volume
from pgvector_stacks.docker.container_spec import ContainerSpec
from pgvector_stacks.docker.docker_host import NAME_LABEL
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.inspection import role_drift
from pgvector_stacks.sizing.settings import derive_settings
from pgvector_stacks.toolbox import embedded_toolbox
from pgvector_stacks.toolbox.interface import connect_with_password
from tests.conftest import LIMITS, FreshDatabase
from tests.docker.conftest import NO_STRAY, PG17
from tests.docker.conftest import docker_engine as docker_engine
from tests.docker.conftest import image as image

OLD, NEW = "the old password", "short'€"  # passwordcheck refuses this one, where it sees it
# what somebody who may ALTER SYSTEM leaves behind
TALKATIVE = (
    "log_statement = 'all'\nlog_min_duration_statement = 0\nlog_min_error_statement = debug5\n"
    "log_transaction_sample_rate = 1\ndebug_print_parse = on\n"
)
FAILING = "default_transaction_read_only = on\n"


def seen_in(text: str) -> list[str]:
    return [word for word in (OLD, NEW, "short", "SCRAM-SHA-256$") if word in text]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[embedded_server.Directory]:
    made = embedded_server.Directory(tmp_path / "18", 18)
    embedded_server.initialise(made, OLD)
    yield made
    embedded_server.stop(made)


def test_the_embedded_server_that_logs_everything_gets_a_password_unseen(directory: embedded_server.Directory) -> None:
    settings = directory.path / "postgresql.auto.conf"
    settings.write_text(TALKATIVE)
    port = embedded_server.start(directory, derive_settings(LIMITS))
    embedded_server.ensure_password(directory, port, NEW)
    connect(Address(embedded_server.HOST, port, "postgres", embedded_server.ADMIN, NEW)).close()
    settings.write_text(TALKATIVE + FAILING)
    with pytest.raises(ServerError, match="read-only transaction") as failed:
        embedded_server.ensure_password(directory, port, OLD)
    assert seen_in(str(failed.value) + directory.log.read_text(errors="replace")) == []


@pytest.mark.parametrize("password", ["it's", "\\", "pä\u00a0ss\u00adword", "\u0627\u0031", "$1 `id`"])
def test_a_verifier_fits_its_password_and_needs_no_quoting(password: str) -> None:
    made = single_user_mode.compute_verifier("postgres", password)
    assert not set(made) & set("'\"\\\n` ")
    if "\u00a0" not in password:
        assert role_drift.matches_verifier(password, made)
    assert not role_drift.matches_verifier("another", made)


class Logs:
    """All that the throw-away containers of a name write, from their start to their end."""

    def __init__(self, client: docker.DockerClient, name: str) -> None:
        self.client, self.text = client, ""
        self.events = client.events(decode=True, filters={"event": "start", "label": f"{NAME_LABEL}={name}"})
        self.readers: list[threading.Thread] = []
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        for event in self.events:
            reader = threading.Thread(target=self._read, args=(event["id"],), daemon=True)
            self.readers.append(reader)
            reader.start()

    def _read(self, container: str) -> None:
        with suppress(APIError):
            for piece in self.client.containers.get(container).logs(stream=True, follow=True):
                self.text += piece.decode(errors="replace")

    def end(self) -> str:
        self.events.close()
        for thread in (self.listener, *self.readers):
            thread.join(timeout=10)
        return self.text


@pytest.mark.docker
def test_a_volume_that_logs_everything_and_checks_passwords_gets_one_unseen(
    docker_engine: docker.DockerClient, image: Callable[[str], str]
) -> None:
    name = f"pgstack-test-{os.getpid()}-single"
    spec = ContainerSpec(name, 17, {}, 512, 1, 64)
    docker_engine.volumes.create(name)

    def write(text: str) -> None:
        docker_engine.containers.run(
            PG17, ["sh", "-ec", f'printf %s "$TEXT" >{VOLUME}/17/docker/postgresql.auto.conf'],
            environment={"TEXT": text}, user="postgres", entrypoint=[], remove=True, network_mode="none",
            tmpfs=NO_STRAY, mounts=[Mount(VOLUME, name, type="volume")],
        )  # fmt: skip

    logs = Logs(docker_engine, name)
    try:
        first = data_volume.prepare_data(docker_engine, spec, image(PG17), name, OLD)
        write(TALKATIVE + "shared_preload_libraries = 'passwordcheck'\n")
        assert data_volume.prepare_data(docker_engine, spec, PG17, name, NEW) == (first[0], "found")
        write(TALKATIVE + FAILING)
        with pytest.raises(ServerError, match="read-only transaction") as failed:
            data_volume.prepare_data(docker_engine, spec, PG17, name, NEW)
    finally:
        seen = logs.end()
        docker_engine.volumes.get(name).remove(force=True)
    assert "identifier" in seen
    assert seen_in(seen + str(failed.value)) == []


def test_a_server_that_logs_everything_sees_neither_a_password_nor_its_verifier(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    word = secrets.token_urlsafe(12)
    log = fresh_database.server.directory.log
    before = log.stat().st_size
    with connect(replace(fresh_database.admin, database="postgres")) as admin:
        for name, value in (("log_statement", "all"), ("log_min_duration_statement", "0")):
            admin.execute(f"SET {name} = '{value}'".encode())
        roles.set_password(admin, roles.APP, word)
        address = fresh_database.admin
        with embedded_toolbox.open_toolbox(tmp_path) as made:
            server = connect_with_password(made, 18, address.host, address.port, address)
            with restore._creating_login(admin, made, server):
                pass
        roles.set_password(admin, roles.APP, fresh_database.app_password)
    said = log.read_bytes()[before:].decode(errors="replace")
    assert "CREATE ROLE pgstack_loading" in said
    assert seen_in(said) == []
    assert word not in said

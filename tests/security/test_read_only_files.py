"""The server's own user, and so a superuser's session, can't change who is let in, nor the certificate and its key."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress

import docker
import psycopg
import pytest
from docker.errors import APIError
from docker.models.containers import Container
from docker.types import Mount

from components.certificate import generate_self_signed
from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.docker import data_volume
from pgvector_stacks.docker.container_command import run
from pgvector_stacks.docker.container_spec import CERTIFICATE_FILE, HBA_FILE, KEY_FILE, ContainerSpec
from tests.docker.conftest import NO_STRAY, PG17, free_port
from tests.docker.conftest import docker_engine as docker_engine
from tests.docker.conftest import image as image

pytestmark = pytest.mark.docker
WORD = secrets.token_urlsafe(12)


def spec(*, files_of_root: bool) -> ContainerSpec:
    certificate, key = CERTIFICATES
    name = f"pgstack-test-{os.getpid()}-files"
    return ContainerSpec(name, 17, {}, 512, 1, 64, certificate, key, root_owns_files=files_of_root)


CERTIFICATES = generate_self_signed(["localhost"])


@pytest.fixture(scope="module")
def volume(docker_engine: docker.DockerClient, image: Callable[[str], str]) -> Iterator[str]:
    """With data and files as an earlier version left them: the server's user could write these."""
    name = f"pgstack-test-{os.getpid()}-files"
    docker_engine.volumes.create(name)
    before = spec(files_of_root=False)
    try:
        data_volume.prepare_data(docker_engine, before, image(PG17), name, WORD)
        yield name
    finally:
        with suppress(APIError):
            docker_engine.volumes.get(name).remove(force=True)


@pytest.fixture(scope="module")
def server(docker_engine: docker.DockerClient, volume: str) -> Iterator[tuple[Container, Address]]:
    """After an `up` with this version, run as the stack's container is."""
    now = spec(files_of_root=True)
    data_volume.install_files(docker_engine, now, PG17, volume)
    port = free_port()
    container = docker_engine.containers.run(
        PG17, now.command, entrypoint=[], user="postgres", read_only=True, cap_drop=["ALL"], detach=True,
        security_opt=["no-new-privileges"], environment=now.environment, tmpfs=NO_STRAY | now.tmpfs, name=now.name,
        mounts=[Mount(VOLUME, volume, type="volume")], ports={"5432/tcp": ("127.0.0.1", port)}, **now.limits(),
    )  # fmt: skip
    try:
        address = Address("127.0.0.1", port, "postgres", "postgres", WORD, sslmode="require")
        connect(address, wait_s=30).close()
        yield container, address
    finally:
        container.remove(force=True, v=True)


@pytest.mark.promise("A superuser's session in the container writes no file of its image")
@pytest.mark.parametrize("file", [HBA_FILE, CERTIFICATE_FILE, KEY_FILE])
def test_a_superusers_session_writes_none_of_the_files(server: tuple[Container, Address], file: str) -> None:
    folder = spec(files_of_root=True).files_folder
    with connect(server[1]) as connection:
        for attack in (
            f"COPY (SELECT 'host all all 0.0.0.0/0 trust') TO '{folder}/{file}'",
            f"COPY (SELECT 1) TO PROGRAM 'echo x >{folder}/new'",
            f"COPY (SELECT 1) TO PROGRAM 'rm -f {folder}/{file}'  WITH (FORMAT csv)",
            f"COPY (SELECT 1) TO PROGRAM 'mv {folder} {VOLUME}/other'",
            f"COPY (SELECT 1) TO PROGRAM 'chmod 777 {folder}'",
            f"COPY (SELECT 1) TO PROGRAM 'chmod 755 {VOLUME}'",
        ):
            with pytest.raises(psycopg.Error, match=r"Permission denied|failed"):
                connection.execute(attack.encode())
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("SELECT FROM pg_hba_file_rules")
    connect(server[1]).close()


def test_the_server_goes_on_with_folders_of_its_own(server: tuple[Container, Address]) -> None:
    """What an upgrade and an adoption do in the volume as the image's user."""
    script = f"mkdir {VOLUME}/16 && mv {VOLUME}/16 {VOLUME}/18 && rmdir {VOLUME}/18"
    assert run(server[0], ["sh", "-ec", script], user="postgres").code == 0
    assert "server.key" in run(server[0], ["ls", spec(files_of_root=True).files_folder], user="postgres").text


def test_all_of_it_can_be_deleted(docker_engine: docker.DockerClient, image: Callable[[str], str]) -> None:
    name = f"pgstack-test-{os.getpid()}-deleted"
    docker_engine.volumes.create(name)
    try:
        data_volume.prepare_data(docker_engine, spec(files_of_root=True), image(PG17), name, WORD)
        assert data_volume.delete_data(docker_engine, name, PG17, name, name) == ()
    finally:
        docker_engine.volumes.get(name).remove(force=True)


HELD = """
    cd "$VOLUME"
    mkdir -p mine
    case $KIND in folder) mkdir "$FOLDER.unfinished" ;; *) ln -s mine "$FOLDER.unfinished" ;; esac
    : >"$FOLDER.unfinished/pgstack-file-pg_hba.conf"
    chmod 666 "$FOLDER.unfinished/pgstack-file-pg_hba.conf"
    exec 7<>"$FOLDER.unfinished/pgstack-file-pg_hba.conf"
    : >/tmp/ready
    while [ -e "$FOLDER.unfinished" ]; do sleep 0.05; done
    sleep 0.2
    echo 'host all all all trust' >&7
    rm /tmp/ready
"""


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_process_of_its_that_waits_for_the_next_up_keeps_no_file(
    server: tuple[Container, Address], docker_engine: docker.DockerClient, volume: str, kind: str
) -> None:
    now = spec(files_of_root=True)
    found = docker_engine.api.exec_create(
        server[0].id, ["sh", "-ec", HELD], user="postgres",
        environment={"VOLUME": VOLUME, "FOLDER": now.files_folder, "KIND": kind},
    )  # fmt: skip
    docker_engine.api.exec_start(found, detach=True)

    def until(script: str) -> None:
        waited = f"for _ in $(seq 200); do if {script}; then exit 0; fi; sleep 0.05; done; exit 1"
        assert run(server[0], ["sh", "-c", waited], user="postgres").code == 0

    until("[ -e /tmp/ready ]")
    data_volume.install_files(docker_engine, now, PG17, volume)
    until("[ ! -e /tmp/ready ]")
    said = run(
        server[0],
        ["sh", "-c", f"cat {now.files_folder}/{HBA_FILE}; stat -c %u {now.files_folder} {now.files_folder}/{HBA_FILE}"],
    )
    assert said.text.endswith("\n0\n0\n")
    assert "trust" not in said.text
    assert now.files[HBA_FILE] in said.text

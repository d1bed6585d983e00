"""Each container that we make beside the server's can do no more than its work needs, whatever takes it over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import docker
import pytest
from docker.errors import APIError
from docker.types import Mount

from pgvector_stacks.backup import restore
from pgvector_stacks.backup.create import create
from pgvector_stacks.backup.drill import drill
from pgvector_stacks.backup.manifest import Trust, verify
from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.docker import adoption, data_volume, docker_host, extension_check
from pgvector_stacks.docker.container_spec import ContainerSpec
from pgvector_stacks.toolbox import docker_toolbox
from pgvector_stacks.upgrade.engines import docker_facts, docker_upgrade
from tests.docker.conftest import NO_STRAY, PG15, PG17, free_port
from tests.docker.conftest import docker_engine as docker_engine
from tests.docker.conftest import image as image
from tests.security.containers_seen import Seen, throw_aways, weaknesses

pytestmark = pytest.mark.docker
NAME = f"pgstack-test-{os.getpid()}-ours"
KEY = "0123456789abcdef" * 4
SPEC = ContainerSpec(NAME, 17, {}, 512, 1, 64)
WORD = "a password"
ATTACKS = {
    "a file of the image's": "echo x >/usr/lib/postgresql/x",
    "a program for everybody": "echo x >/usr/local/bin/psql",
    "what the loader reads": "echo x >/etc/ld.so.preload",
    "another user": "setpriv --reuid=0 --regid=0 --clear-groups true",
    "somebody else's file": "chown 0:0 /tmp/pgstack-toolbox",
    "a device": "mknod /tmp/device b 8 0",
    "a mount": "mount -t tmpfs none /tmp",
}


@pytest.fixture(scope="module")
def server(docker_engine: docker.DockerClient, image: Callable[[str], str]) -> Iterator[tuple[Seen, Address]]:
    """As an `up` makes it, on a network of its own; what was seen meanwhile."""
    with ExitStack() as left:

        def gone(thing: Callable[[], None]) -> None:
            with suppress(APIError):
                thing()

        volume = docker_engine.volumes.create(NAME)
        left.callback(gone, volume.remove)
        network = docker_engine.networks.create(NAME)
        left.callback(gone, network.remove)
        with throw_aways(docker_engine, NAME) as seen:
            data_volume.prepare_data(docker_engine, SPEC, image(PG17), NAME, WORD)
            data_volume.inspect_volume(docker_engine, NAME, PG17, NAME)
            data_volume.try_server(docker_engine, SPEC, PG17, NAME, "0.8.0")
            adoption.inspect_legacy_volume(docker_engine, NAME, PG17, NAME)
            assert extension_check.list_image_extensions(docker_engine, NAME, PG17) is not None
            docker_facts.read_target_of_image(docker_engine, NAME, PG17, 17)
        port = free_port()
        made = docker_engine.containers.run(
            PG17, SPEC.command, entrypoint=[], user="postgres", read_only=True, detach=True, name=NAME, network=NAME,
            environment=SPEC.environment, tmpfs=NO_STRAY | SPEC.tmpfs, ports={"5432/tcp": ("127.0.0.1", port)},
            mounts=[Mount(VOLUME, NAME, type="volume")],
        )  # fmt: skip
        left.callback(lambda: made.remove(force=True, v=True))
        admin = Address("127.0.0.1", port, "postgres", "postgres", WORD)
        with connect(admin, wait_s=60) as connection:
            connection.execute("CREATE DATABASE app")
        yield seen, admin


@pytest.mark.promise("No container of ours has a power that its work doesn't need")
def test_no_container_of_an_up_can_do_more_than_its_work(server: tuple[Seen, Address]) -> None:
    seen, _ = server
    assert seen.made >= 7
    assert len(seen.containers) == seen.made
    assert seen.weaknesses(network="none") == []


def test_no_container_of_a_backup_a_drill_and_a_restore_can_do_more_than_its_work(
    docker_engine: docker.DockerClient, server: tuple[Seen, Address], tmp_path: Path
) -> None:
    admin = server[1]
    app = Address(admin.host, admin.port, "app", admin.user, admin.password)
    with connect(app) as connection:
        connection.execute("CREATE TABLE public.kept AS SELECT generate_series(1, 100) AS i")
    with throw_aways(docker_engine, NAME) as seen:
        with docker_upgrade.open_toolbox_at_server(docker_engine, NAME, PG17, 17, admin) as (made, live):
            create(made, live, tmp_path, stack="dev", database="app", key=KEY)
            (backup,) = tmp_path.glob("*Z")
            restore.restore(made, live, app, backup, verify(backup, trust=Trust(KEY)), "app")
        with docker_toolbox.open_toolbox(docker_engine, NAME, PG17, None) as apart:
            assert drill(apart, backup, major=17, trust=Trust(KEY)).ok
    with connect(app) as connection:
        assert connection.execute("SELECT count(*) FROM public.kept").fetchone() == (100,)
    assert [each["HostConfig"]["NetworkMode"] for each in seen.containers] == [NAME, "none"]
    assert seen.weaknesses(network=NAME) == []


def test_what_takes_over_a_drill_gets_nowhere(docker_engine: docker.DockerClient, image: Callable[[str], str]) -> None:
    with docker_toolbox.open_toolbox(docker_engine, NAME, image(PG17), None) as made:
        assert [what for what, attack in ATTACKS.items() if made.sh(attack).code == 0] == []
        status = made.sh("cat /proc/self/status").output
        assert "CapBnd:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        interfaces = made.sh("ls /sys/class/net").output.split()
        assert interfaces == ["lo"]
        assert made.as_root("chown postgres /usr").code != 0
        mounts = made.container.attrs["Mounts"]
        assert {each["Destination"] for each in mounts} == {VOLUME, "/tmp"}
    left = {each.name for each in docker_engine.volumes.list()} & {each["Name"] for each in mounts}
    assert left == set()


def test_what_takes_over_an_upgrade_gets_nowhere(
    docker_engine: docker.DockerClient, image: Callable[[str], str]
) -> None:
    """Also as root: it takes up the old version's programs in volumes of its own, and has no capability for it."""
    old, new = image(PG15), image(PG17)
    with docker_toolbox.open_toolbox(docker_engine, NAME, new, None, carries=15) as made:
        docker_toolbox.carry_programs(docker_engine, made, NAME, old, 15)
        assert "(PostgreSQL) 15" in made.run(15, "postgres", "--version").output
        found = docker_host.find_container(docker_engine, str(made.container.name))
        assert found is not None
        assert weaknesses(found.attrs, "none") == []
        programs = {"a program of the old version": "echo x >/usr/lib/postgresql/15/bin/psql"}
        assert [what for what, attack in (ATTACKS | programs).items() if made.sh(attack).code == 0] == []
        as_root = {what: attack for what, attack in ATTACKS.items() if what != "another user"}
        assert [what for what, attack in as_root.items() if made.as_root(attack).code == 0] == []
        assert "CapEff:\t0000000000000000" in made.as_root("cat /proc/self/status").output

"""What a fault says: the cause and the remedy, exit code 1, never a traceback or a password; and nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from docker.errors import NotFound

from pgvector_stacks.docker import data_volume, docker_host
from tests.docker.conftest import PG15, PG17, DockerStack, Make, client_of, free_port
from tests.docker.hosts import Cable, SmallDisk, as_nobody, cable, small_disk
from tests.docker.watched import Up

pytestmark = [pytest.mark.engine, pytest.mark.docker]
# an exit is told at once; the whole wait would be twice this (pgvector_stacks/docker/readiness.py: PATIENCE_S)
AT_ONCE_S = 45.0


@pytest.fixture
def wire() -> Iterator[Cable]:
    with cable() as found:
        yield found


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with small_disk(3072) as found:
        yield found


@pytest.fixture(scope="module")
def deployed(make_shared: Make) -> DockerStack:
    """With 1000 rows. Each test leaves it so."""
    stack = make_shared("dev")
    stack.up()
    stack.fill()
    return stack


def test_no_docker_engine_is_told_with_what_was_tried_and_the_remedy(make: Make) -> None:
    stack = make("dev")
    for command in ("up", "preview"):
        said = stack.fails(command, "dev", DOCKER_HOST="unix:///nonexistent")
        assert "no Docker Engine answers at unix:///nonexistent (DOCKER_HOST): there is no such socket" in said
        assert "start it:  sudo systemctl start docker" in said
    said = stack.fails("up", "dev", DOCKER_HOST="tcp://127.0.0.1:1")
    assert "the Docker Engine at tcp://127.0.0.1:1 (DOCKER_HOST) is refused: over TCP without TLS" in said
    assert "ssh://USER@HOST" in said
    assert not stack.root.joinpath(".pulumi").exists(), "no state is made before an engine answers"
    assert "✗ │ Docker Engine" in stack.fails("doctor", "dev", DOCKER_HOST="unix:///nonexistent")


def test_a_socket_that_this_user_may_not_open_is_told_with_the_remedy() -> None:
    folder = Path(tempfile.mkdtemp(prefix="pgstack-test-socket-"))
    try:
        folder.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "docker.sock"))
            listener.listen()
            (folder / "docker.sock").chmod(0)
            said = as_nobody(lambda: docker_host.connect(f"unix://{folder}/docker.sock", "DOCKER_HOST"))
    finally:
        shutil.rmtree(folder)
    assert said == (
        f"no Docker Engine answers at unix://{folder}/docker.sock (DOCKER_HOST): this user may not open the socket\n"
        '  add the user to the group docker:  sudo usermod -aG docker "$USER"   (then log in again)'
    )


def test_what_the_host_lacks_is_refused_all_at_once_before_anything_is_made(make: Make) -> None:
    stack = make("dev", dataPath="/nonexistent/data", memoryMb=1 << 20, cpus=512)
    stack.configure(image="pgvector/pgvector:0.8.6-pg17-nonesuch")
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", stack.port))
        taken.listen()
        for command in ("preview", "up"):
            said = stack.fails(command, "dev")
            assert "image: pgvector/pgvector:0.8.6-pg17-nonesuch is not on the Docker host and can't be pulled" in said
            assert "docker pull pgvector/pgvector:0.8.6-pg17-nonesuch" in said
            assert "MiB on the host, pgvector:memoryMb is 1048576\n  lower pgvector:memoryMb" in said
            assert "on the host, pgvector:cpus is 512\n  lower pgvector:cpus" in said
            assert f"port: 127.0.0.1:{stack.port} is taken by process {os.getpid()} (" in said
            assert "stop it, or choose another port (pgvector:port)" in said
            assert "pgvector:dataPath is /nonexistent/data, and there is no such directory" in said
            assert "sudo install -d -o 999 -g 999 -m 700 /nonexistent/data" in said
    assert _nothing_of(stack)


def test_a_container_and_a_network_of_others_are_refused_by_name_and_left_alone(make: Make) -> None:
    stack = make("dev")
    client = stack.client
    image = str(client.images.get(stack.image).id)
    strange = client.containers.create(image, ["sleep", "600"], entrypoint=[], name=stack.name)
    client.networks.create(stack.name)
    other = client.containers.run(
        image, ["sleep", "600"], entrypoint=[], name=f"{stack.name}-other", detach=True, network=stack.name,
        ports={"5432/tcp": ("127.0.0.1", stack.port)},
    )  # fmt: skip
    for command in ("preview", "up"):
        said = stack.fails(command, "dev")
        assert f"port: 127.0.0.1:{stack.port} is taken by the container {other.name}" in said
        assert f"there is a container {stack.name} that this stack did not create" in said
        assert f"docker rm -f {stack.name};  or choose another name (pgvector:containerName)" in said
        assert f"there is a network {stack.name} that this stack did not create, used by {other.name}" in said
    assert {str(strange.id), str(other.id)} == {
        str(each.id) for each in client.containers.list(all=True, ignore_removed=True, filters={"name": stack.name})
    }
    assert client.volumes.list(filters={"name": stack.name}) == []


def test_what_is_refused_leaves_the_running_server_as_it_was(deployed: DockerStack) -> None:
    stack = deployed
    started = stack.started_at
    passwords = stack.passwords()
    told: list[str] = []

    def refused(what: str, **keys: object) -> str:
        before = {key: stack.configured(key) for key in keys}
        stack.configure(**keys)
        said = stack.refused()
        told.append(said)
        assert (stack.started_at, stack.rows()) == (started, 1000), what
        assert stack.of_role("throw-away") == [], what
        stack.configure(**before)
        return said

    tried = "tried in a throw-away container, before anything was changed"
    said = refused("no such setting", settings={"work_memm": "4MB"})
    assert "restarts PostgreSQL: work_memm default → 4MB" in said
    assert (
        f"{tried}: the server with the new image, settings or limits exited with code 1: the server does not know"
        in said
    )
    assert 'FATAL:  unrecognized configuration parameter "work_memm"' in said
    assert "correct it in the stack file (pgvector:settings)" in said

    said = refused("out of range", settings={"random_page_cost": "-3"})
    assert tried in said
    assert '-3 is outside the valid range for parameter "random_page_cost"' in said

    said = refused("more than the memory", settings={"shared_buffers": "900MB"})
    assert said.count("900 MiB  shared_buffers") == 1, "told once, and before the engine starts"
    assert "set pgvector:memoryMb to 2688 or more\n  or lower in pgvector:settings: shared_buffers" in said

    said = refused("a downgrade", image=PG15)
    assert f"this stack's data is PostgreSQL 17's, {PG15} is PostgreSQL 15" in said
    assert "is a downgrade: no method goes back" in said

    said = refused("an address of somebody else's", bindAddress="192.0.2.1")
    assert "pgvector:bindAddress is 192.0.2.1, which is not an address of the Docker host" in said

    # and what the schema's check refuses, though the server's new address and identity are unknown to it
    path = stack.root / "sql" / "init.sql"
    text = path.read_text()
    path.write_text(text.replace("DEFAULT 'en'", "DEFAULT 'de'"))
    said = refused("an edited script beside a restart", settings={"random_page_cost": "1.3"})
    assert "sql/init.sql was changed after it ran in dev" in said
    path.write_text(text)
    stack.do("CREATE INDEX by_hand ON app.tenant (name)")
    said = refused("drift beside another port", drift="refuse", port=free_port())
    assert "by_hand was added" in said
    assert "pgstack accept dev KIND IDENTITY" in said
    stack.do("DROP INDEX app.by_hand")

    assert not any(password in said for said in told for password in passwords)
    stack.up()
    assert stack.rows() == 1000


@pytest.mark.promise("A container that exits is diagnosed within seconds")
def test_an_exit_is_diagnosed_within_seconds_and_not_after_the_whole_wait(deployed: DockerStack) -> None:
    """Of a container that Docker starts again and again, unchanged, and of a new one."""
    stack = deployed
    data = "/v/17/docker"

    def diagnosed() -> str:
        said = stack.refused()
        assert longest_step_s(said) < AT_ONCE_S, said
        return said

    # one that somebody paused
    stack.container.pause()
    said = diagnosed()
    assert f"error: the container {stack.name} is paused: a user or a program paused it\n" in said
    assert f"  let it go on:  docker unpause {stack.name}\n" in said
    stack.container.unpause()

    # one that Docker starts again and again
    stack.container.stop(timeout=60)
    stack.in_a_throw_away(f"mv {data}/global/pg_control {data}/global/elsewhere")
    stack.container.start()
    said = diagnosed()
    assert f"the container {stack.name} keeps exiting (code " in said
    assert "the data directory is damaged\n" in said
    assert "global/pg_control" in said, "the end of its log"
    assert "restore a backup" in said
    assert "the data directory is damaged" in _on_one_line(stack.fails("doctor", "dev", COLUMNS="400"))

    # a new one
    stack.container.remove(force=True)
    said = diagnosed()
    assert f"the container {stack.name} keeps exiting (code " in said
    assert "the data directory is damaged\n" in said
    stack.container.remove(force=True)
    stack.in_a_throw_away(f"mv {data}/global/elsewhere {data}/global/pg_control; chown -R 4711 {data}")

    # data that can't be read is never taken for none
    said = diagnosed()
    assert f"volume {stack.name} can't be read by the image's user postgres" in said
    assert "unreadable: 17/docker, owner 4711, mode 700" in said
    stack.in_a_throw_away(f"chown -R 999 {data}")
    stack.up()
    assert stack.rows() == 1000


def test_a_full_disk_is_told_and_once_there_is_room_the_rows_are_there(disk: SmallDisk, make: Make) -> None:
    stack = make("dev", dataPath=str(disk.data))
    stack.up()
    stack.fill()
    disk.fill()
    stack.add_script("create table app.big as select repeat('x', 900) from generate_series(1, 20000);", "0004_big.sql")
    said = stack.refused()
    assert f"disk: 0 MB free in {disk.data}, needed 1024" in said
    assert "No space left on device" in said
    stack.configure(scripts=None)
    (stack.root / "sql" / "0004_big.sql").unlink()
    stack.container.restart(timeout=60)
    said = stack.refused()
    assert longest_step_s(said) < AT_ONCE_S, said
    assert "the disk is full\n" in said
    assert "No space left on device" in said
    assert f"free some space on the disk of volume {stack.name}, then `up` again" in said
    disk.free()
    stack.up()
    assert stack.rows() == 1000


def test_an_index_build_that_outgrows_the_container_is_told_by_up_and_doctor(make: Make) -> None:
    stack = make("dev", memoryMb=448)
    stack.up()
    stack.fill()
    started = stack.started_at
    stack.add_script(
        "create table app.big (e vector(2000));\n"
        "insert into app.big select array_fill(i::real, array[2000])::vector(2000) from generate_series(1, 40000) i;\n"
        "set maintenance_work_mem = '4GB';\nset max_parallel_maintenance_workers = 0;\n"
        "create index on app.big using hnsw (e vector_l2_ops) with (m = 2, ef_construction = 4);\n",
        "0004_big.sql",
    )
    said = stack.refused()
    assert "sql/0004_big.sql: the server went away while the scripts ran" in said
    assert "what was not committed is undone. See why:  pgstack doctor STACK;  then `up` again" in said
    said = _on_one_line(stack.fails("doctor", "dev", COLUMNS="400"))
    assert "a process of the server was killed and all connections were lost" in said
    assert "because the container needed more than 448 MiB" in said
    assert "was terminated by signal 9: Killed" in said
    assert "pgstack plan-memory" in said
    assert stack.started_at == started, "the server recovered by itself"
    assert stack.ask("SELECT to_regclass('app.big')") == [(None,)]
    assert stack.rows() == 1000
    (stack.root / "sql" / "0004_big.sql").write_text("create table app.big (e vector(2000));")
    stack.up()
    assert stack.rows() == 1000


@pytest.mark.promise("A volume belongs to one state")
def test_a_volume_belongs_to_one_state(deployed: DockerStack, make: Make) -> None:
    """Two checkouts, one containerName; then a lost state: adopted only once no container uses the volume."""
    stack = deployed
    started, before = stack.started_at, stack.outputs()
    other = make("dev", containerName=stack.name)
    words = (
        f"volume: {stack.name} is used by another container: {stack.name} (two servers on one volume lose data)",
        f"remove it if you no longer need it (its volumes stay):  docker rm -f {stack.name}",
    )
    said = other.fails("preview", "dev") + other.refused()
    assert all(said.count(word) >= 2 for word in words), said
    assert stack.started_at == started
    stack.container.stop(timeout=60)
    assert words[0] in other.refused(), "a stopped server keeps its volume"
    assert stack.container.attrs["State"]["ExitCode"] == 0, "and was not touched"

    stack.lose_the_state()
    said = stack.refused()
    assert words[0] in said
    stack.container.remove(force=True)
    said = stack.up()
    assert f"removes the network {stack.name}, which no state knows and nobody uses" in said
    assert stack.rows() == 1000
    assert stack.outputs()["adminUrl"] != before["adminUrl"]
    for name in ("adminUrl", "appUrl", "readonlyUrl"):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(before[name])
    assert "is up: unchanged" in stack.up()


def test_a_volume_that_was_removed_is_told_and_the_scripts_run_again(deployed: DockerStack) -> None:
    stack = deployed
    stack.container.remove(force=True)
    stack.client.volumes.get(stack.name).remove()
    gone = f"warning: volume {stack.name} or its data is gone: `up` will create a new, empty database"
    assert gone in stack.ok("preview", "dev")
    with pytest.raises(NotFound):
        stack.client.volumes.get(stack.name)
    said = stack.up()
    assert gone in said
    assert stack.ask("SELECT name FROM pgstack.ledger ORDER BY position") == [
        ("init.sql",), ("integration_upgrade.sql",), ("install_pgvector.sql",),
    ]  # fmt: skip
    assert stack.ask("SELECT to_regclass('public.kept')") == [(None,)]
    assert "is up: unchanged" in stack.up()
    stack.fill()


def test_a_volume_with_other_data_is_refused_in_preview_and_left_alone(make: Make) -> None:
    stack = make("dev")
    stack.client.volumes.create(stack.name)
    listing = "cd /v; find . | sort; stat -c %Y $(find . -name PG_VERSION)"
    for place, major, words in (
        (".", 15, "holds data of PostgreSQL 15 in the layout of the old images (in its root)"),
        ("data", 17, "holds data of PostgreSQL 17 in the layout of the old images (in its folder data)"),
        ("18/docker", 18, "holds data of PostgreSQL 18, the image is PostgreSQL 17"),
        ("17/docker", 16, "17/docker holds data of PostgreSQL 16"),
    ):
        data = f"/v/{place}"
        listed = stack.in_a_throw_away(
            f"rm -rf /v/*; mkdir -p {data}; echo {major} >{data}/PG_VERSION; chown -R 999:999 /v; {listing}"
        )
        found = data_volume.inspect_volume(stack.client, stack.name, PG17, stack.name)
        assert words in found.refusal(17, stack.name)
        if major in (15, 16):  # the whole way for one of each kind
            said = stack.fails("preview", "dev")
            assert f"volume {stack.name}" in said
            assert words in said
        assert stack.in_a_throw_away(listing) == listed
    assert stack.of_role("throw-away") == []


def test_an_engine_that_goes_away_in_mid_up_is_told_and_the_next_up_goes_through(wire: Cable, make: Make) -> None:
    stack = make("dev", dockerHost=wire.url)
    stack.up()
    stack.fill()
    for number, step in enumerate(("DataDirectory data updating", "Container server (deleting|creating)")):
        work_mem = f"{4096 + number + 1}kB"
        stack.configure(settings={"work_mem": work_mem})
        up = Up(stack)
        assert up.until(step), up.said
        wire.cut()
        assert up.end() == 1, up.said
        assert "Traceback" not in up.said, up.said
        ours = f"no Docker Engine answers at {wire.url}" in up.said or "Docker did not answer" in up.said
        assert ours or "Cannot connect to the Docker daemon" in up.said, up.said
        assert (
            f"no Docker Engine answers at {wire.url} (pgvector:dockerHost): there is no such socket" in stack.refused()
        )
        wire.plug_in()
        stack.up()
        assert stack.rows() == 1000
        assert stack.ask("SHOW work_mem") == [(work_mem,)]
        assert stack.of_role("throw-away") == []


def longest_step_s(said: str) -> float:
    """Of an `up`, by the engine's words: on a busy machine what lies around the wait takes as long as the wait."""
    steps = re.findall(r" \((?:(\d+)m)?([\d.]+)s\)", said)
    return max((60 * int(minutes or 0) + float(seconds) for minutes, seconds in steps), default=0.0)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _nothing_of(stack: DockerStack) -> bool:
    client = client_of("")
    return not (
        client.volumes.list(filters={"name": stack.name})
        or client.networks.list(names=[stack.name])
        or client.containers.list(all=True, ignore_removed=True, filters={"name": stack.name})
    )

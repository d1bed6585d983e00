"""Backups of a server in a container: made, tried out and restored while it serves; nothing stays on the engine."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgvector_stacks.connections.connection import connect
from pgvector_stacks.docker.docker_host import NAME_LABEL
from tests.docker.conftest import PG15, PG18, DockerStack, Make
from tests.engine.checkout import KNOWN_SECRETS, stop_servers
from tests.security.containers_seen import throw_aways

pytestmark = [pytest.mark.engine, pytest.mark.docker]


def newest(stack: DockerStack) -> Path:
    folders = sorted((stack.root / ".data" / "backups" / stack.stack).glob("*Z"))
    return folders[-1]


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def rows_in(folder: Path, table: str) -> int:
    (app,) = [each for each in manifest(folder)["databases"] if each["name"] == "app"]
    return int(app["contents"]["rows"][table])


@contextmanager
def written_to(stack: DockerStack) -> Iterator[Callable[[], int]]:
    """Somebody inserts a row every few milliseconds; how many were committed so far."""
    done, count = threading.Event(), [0]

    def write() -> None:
        with connect(stack.admin(), application="test", own_path=True) as connection:
            while not done.wait(0.005):
                connection.execute("INSERT INTO public.kept VALUES (0)")
                count[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: count[0]
    finally:
        done.set()
        thread.join()


def ours(stack: DockerStack) -> list[str]:
    """Containers and volumes of a backup's."""
    found = stack.client.containers.list(all=True, filters={"label": f"{NAME_LABEL}={stack.name}-backup"})
    return [each.name for each in found]


def volumes(stack: DockerStack) -> set[str]:
    """That no container uses: of the stack, and those that tell of none. Other tests make some of theirs meanwhile."""
    unused = stack.client.volumes.list(filters={"dangling": True})
    whose = {each.name: (each.attrs["Labels"] or {}).get(NAME_LABEL, each.name) for each in unused}
    return {
        name for name, of in whose.items() if not of.startswith("pgstack-test-") or of.startswith(stack.name)
    }  # fmt: skip


@pytest.fixture(scope="module")
def deployed(make_shared: Make) -> DockerStack:
    """Without a table of a test's own. Each test leaves it so."""
    stack = make_shared("dev")
    stack.up()
    return stack


def test_a_backup_is_made_tried_out_and_restored_while_the_server_serves(make: Make) -> None:
    stack = make("dev", tls="require")
    stack.up()
    KNOWN_SECRETS.extend(stack.passwords())
    stack.fill(1000)
    stack.do("CREATE TABLE public.near AS SELECT i, format('[%s,1]', i)::vector(2) AS v FROM generate_series(1, 500) i")
    stack.do("CREATE INDEX near_v ON public.near USING hnsw (v vector_l2_ops)")
    started = stack.started_at
    with throw_aways(stack.client, stack.name) as seen, written_to(stack) as written:
        before = written()
        said = stack.ok("backup", "create", "dev")
        between = rows_in(newest(stack), "public.kept") - 1000
        assert before <= between <= written()
        drilled = stack.ok("backup", "drill", "dev")
        assert "good" in drilled
        assert not any(secret in said + drilled for secret in KNOWN_SECRETS)
        assert written() > between
    assert len(seen.containers) == 2
    assert seen.weaknesses(network=stack.name) == []
    folder = newest(stack)
    text = (folder / "manifest.json").read_text()
    assert not any(secret in text for secret in KNOWN_SECRETS)
    assert "SCRAM-SHA-256$" in (folder / "globals.sql").read_text()
    assert "SCRAM-SHA-256$" not in text
    stack.do("DROP TABLE public.near")
    stack.do("DELETE FROM public.kept")
    said = stack.ok("backup", "restore", "dev", "--confirm", "dev")
    assert stack.rows() == 1000 + between
    assert stack.ask("SELECT count(*) FROM public.near") == [(500,)]
    assert stack.ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.near_v'::regclass") == [(True,)]
    former = re.search(r"pgstack_before_\w+", said)
    assert former is not None
    assert stack.ask(f"SELECT count(*) FROM pg_database WHERE datname = '{former[0]}'") == [(1,)]
    assert stack.started_at == started
    assert ours(stack) == []
    assert "backup   last" in stack.run("status", "dev").stdout
    assert "is up: unchanged" in stack.up()


@pytest.mark.promise("A backup of one engine can be restored on the other")
def test_a_backup_goes_from_one_engine_to_the_other(make: Make) -> None:
    stack = make("dev", image=PG18)
    stack.ok("up", "local")
    here = DockerStack(stack.root, "local", stack.extra)
    try:
        stack.up()
        stack.fill(300)
        volumes_before = volumes(stack)
        stack.ok("backup", "create", "dev")
        said = stack.ok("backup", "restore", "dev", "--into", "local", "--confirm", "local")
        assert "warning: what a superuser of dev made in the database runs as a superuser of local, and may" in said
        assert "extension vector: 0.8.5, was 0.8." in said  # that of the image; pgvectorMinimum decides
        assert here.rows() == 300
        here.do("DELETE FROM public.kept WHERE i > 123")
        here.ok("backup", "create", "local")
        assert "nothing was done" in stack.fails("backup", "restore", "local", "--into", "dev", "--confirm", "local")
        assert stack.rows() == 300
        stack.ok("backup", "restore", "local", "--into", "dev", "--confirm", "dev")
        assert stack.rows() == 123
        assert ours(stack) == []
        assert volumes(stack) - volumes_before == set()
    finally:
        stop_servers(stack.root)


def test_the_programs_are_those_of_the_servers_major(make: Make) -> None:
    stack = make("dev", image=PG15)
    stack.up()
    stack.fill(10)
    stack.ok("backup", "create", "dev")
    assert manifest(newest(stack))["major"] == 15
    assert "good" in stack.ok("backup", "drill", "dev", "--with-vector-indexes")
    stack.do("DELETE FROM public.kept")
    stack.ok("backup", "restore", "dev", "--confirm", "dev")
    assert stack.rows() == 10
    stack.container.stop(timeout=60)
    said = stack.fails("backup", "create", "dev")
    assert "the server is down" in said
    assert "pgstack up dev" in said
    assert len(list((stack.root / ".data" / "backups" / "dev").glob("*Z"))) == 1


def test_an_older_server_refuses_a_newer_ones_backup(deployed: DockerStack) -> None:
    stack = deployed
    stack.fill(10)
    stack.ok("up", "local")
    try:
        stack.ok("backup", "create", "local")
        said = stack.fails("backup", "restore", "local", "--into", "dev", "--confirm", "dev")
        assert "the backup is of PostgreSQL 18, the server is 17" in said
        assert stack.rows() == 10
    finally:
        stop_servers(stack.root)
        stack.do("DROP TABLE public.kept")


def test_kill_9_in_the_middle_leaves_no_half_and_no_container(deployed: DockerStack) -> None:
    stack = deployed
    stack.do("CREATE TABLE public.kept AS SELECT i, repeat(md5(i::text), 20) AS t FROM generate_series(1, 300000) i")
    for command, moment in (
        (("backup", "create", "dev"), "database app"),
        (("backup", "drill", "dev"), "database app"),
        (("backup", "restore", "dev", "--confirm", "dev"), "beside the live one"),
    ):
        process = stack.start(*command)
        _kill_at(process, moment)
        deadline = time.monotonic() + 30
        while running(stack) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert running(stack) == []
        assert stack.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgstack'") == [(0,)]
        assert stack.rows() == 300000
        if command[1] == "create":
            assert "no backup" in stack.ok("backup", "list", "dev")
            stack.ok("backup", "create", "dev")
    stack.do("DELETE FROM public.kept")
    stack.ok("backup", "drill", "dev")
    said = stack.ok("backup", "restore", "dev", "--confirm", "dev")
    assert "drops pgstack_restoring_" in said
    assert stack.rows() == 300000
    assert ours(stack) == []
    assert stack.ask("SELECT count(*) FROM pg_database WHERE datname ~ '^pgstack_restoring'") == [(0,)]
    stack.do("DROP TABLE public.kept")


def running(stack: DockerStack) -> list[str]:
    found = stack.client.containers.list(filters={"label": f"{NAME_LABEL}={stack.name}-backup"})
    return [each.name for each in found]


def _kill_at(process: subprocess.Popen[str], moment: str) -> None:
    assert process.stdout is not None
    said = ""
    with process.stdout:
        for line in process.stdout:
            said += line
            if moment in line:
                time.sleep(0.4)
                process.kill()
                process.wait()
                return
    raise AssertionError(f"ended before {moment!r}:\n{said}")

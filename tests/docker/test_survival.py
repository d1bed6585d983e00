"""A row that was committed before is there after, whatever happened to the server or to the `up`: counted each time.

Nowhere two servers on one volume, and nothing of a killed `up` stays behind the next one.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator

import pytest

from pgvector_stacks.docker import container_command
from tests.docker.conftest import NO_STRAY, PG17, DockerStack, Make
from tests.docker.hosts import PrivateEngine, private_engine
from tests.docker.watched import Up, most

pytestmark = [pytest.mark.engine, pytest.mark.docker]
# the full 200 run with `make test-all`; each takes two deployments
KILLS = int(os.environ.get("PGSTACK_KILLS", "2"))
# what has it in its command line, and what must not be in it too
VICTIMS = (
    ("provider", "pulumi.dynamic", ""),
    ("engine", "pulumi --non-interactive", "pulumi.dynamic"),
    ("plugin", "pulumi-resource-docker", "pulumi --non-interactive"),
    ("plugin", "tests.docker_plugin", ""),  # as which it runs where it is the stand-in
    ("pgstack", "-m pgvector_stacks.cli", "pulumi.dynamic"),
)
WORDS = ("provider", "engine", "plugin", "pgstack")
# the first three are what stands between the old server and the new one
MOMENTS = (
    r"(DataDirectory data|Container server|Readiness ready|Network network|Volume volume) (creat|updat|delet|replac)ing"
)
GONE_WITHIN_S = 90.0  # a second or two, on a machine that has nothing else to do


@pytest.fixture
def private() -> Iterator[PrivateEngine]:
    with private_engine() as engine:
        engine.take(PG17)
        yield engine


@pytest.mark.promise("Rows survive a replaced, a killed, a stopped and a removed container")
def test_rows_survive_a_replaced_a_killed_a_stopped_and_a_removed_container(make: Make) -> None:
    stack = make("dev")
    stack.up()
    stack.fill()
    rows = 1000

    def add() -> int:
        """Committed a moment before the fault: no checkpoint has seen it."""
        stack.do("INSERT INTO public.kept SELECT generate_series(1, 100)")
        return rows + 100

    def replaced() -> None:
        stack.configure(settings={"work_mem": "5MB"})

    def killed() -> None:
        stack.container.kill("SIGKILL")
        assert stack.container.wait(timeout=30)["StatusCode"] == 137

    def stopped() -> None:
        stack.container.stop(timeout=60)
        assert stack.container.attrs["State"]["ExitCode"] == 0  # a clean shutdown, within its grace

    def removed() -> None:
        stack.container.remove(force=True)

    for fault in (replaced, killed, stopped, removed):
        before, rows = str(stack.container.id), add()
        fault()
        said = stack.up()
        assert "is up: unchanged" not in said
        assert stack.container.id != before, fault.__name__
        assert stack.rows() == rows, fault.__name__
        assert len(_servers(stack)) == 1
        assert stack.of_role("throw-away") == []
    assert stack.ask("SHOW work_mem") == [("5MB",)]

    # Docker's restart policy and PostgreSQL itself bring these back: no `up` is needed
    for crash in (_kill_the_postmaster, _kill_a_backend):
        started, rows = stack.ask("SELECT pg_postmaster_start_time()"), add()
        crash(stack)
        assert stack.rows_once_back() == rows, crash.__name__
        again = stack.ask("SELECT pg_postmaster_start_time()") != started
        assert again == (crash is _kill_the_postmaster)
    assert "is up: unchanged" in stack.up()
    assert stack.rows() == rows


@pytest.mark.promise("Rows survive a crash of the Docker host, and the server comes back by itself")
def test_rows_survive_a_crash_of_the_host_and_the_server_comes_back_by_itself(
    private: PrivateEngine, make: Make
) -> None:
    stack = make("dev", engine=private.url, dockerHost=private.url)
    stack.up()
    stack.fill()
    started = stack.started_at
    private.crash()
    assert "no Docker Engine answers" in stack.refused()
    private.start()
    assert stack.rows_once_back() == 1000
    assert stack.started_at != started
    stack.do("INSERT INTO public.kept VALUES (1)")
    private.stop()  # as a shutdown of the host: the engine stops its containers with their grace
    private.start()
    assert stack.rows_once_back() == 1001
    assert "is up: unchanged" in stack.up()
    assert stack.rows() == 1001


@pytest.mark.promise("Rows survive kill -9 of an `up` that makes or replaces the container")
def test_rows_survive_kill_9_of_an_up_that_creates_or_replaces_the_container(make: Make) -> None:
    seed = int(os.environ.get("PGSTACK_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    print(f"seed {seed}: repeat with PGSTACK_SEED={seed}")  # noqa: T201
    stack = make("dev")
    stack.up()
    stack.fill()
    rows, killed, victims = 1000, 0, chance.sample(WORDS, len(WORDS))
    for number in range(KILLS):
        victim = victims[number % len(victims)]
        what = f"number {number}, {victim} killed (seed {seed})"
        stack.do("INSERT INTO public.kept VALUES (1)")
        rows += 1
        if chance.random() < 0.3:
            stack.container.remove(force=True)  # the next `up` creates it
        work_mem = f"{4096 + number + 1}kB"
        stack.configure(settings={"work_mem": work_mem})
        killed += _killed_up(stack, victim, chance, what)
        with most(lambda: len(_servers(stack))) as servers:
            said = stack.up()
        assert "Traceback" not in said, what
        assert servers.seen == 1, what
        assert stack.rows() == rows, what
        assert stack.ask("SHOW work_mem") == [(work_mem,)], what
        assert len(_servers(stack)) == 1, what
        assert stack.of_role("throw-away") == [], what
    assert "is up: unchanged" in stack.up()
    assert killed >= max(1, KILLS // 4), f"most `up`s were done before anything was killed: {killed} of {KILLS}"


def test_a_first_up_that_is_killed_leaves_nothing_in_the_way_of_the_next(make: Make) -> None:
    seed = int(os.environ.get("PGSTACK_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    print(f"seed {seed}: repeat with PGSTACK_SEED={seed}")  # noqa: T201
    for number in range(max(1, KILLS // 2)):
        victim = WORDS[chance.randrange(len(WORDS))]
        what = f"number {number}, {victim} killed (seed {seed})"
        stack = make("dev")
        _killed_up(stack, victim, chance, what)
        said = stack.up()
        assert "Traceback" not in said, what
        assert stack.ask("SELECT count(*) FROM pgstack.ledger") == [(3,)], what
        assert len(_servers(stack)) == 1, what
        assert stack.of_role("throw-away") == [], what
        assert "is up: unchanged" in stack.up(), what
        stack.clean()


def _killed_up(stack: DockerStack, victim: str, chance: random.Random, what: str) -> bool:
    """An `up` one of whose processes is killed a moment after one of its steps began. Nothing of it works on.

    False where the `up` was done before.
    """
    up = Up(stack)
    if victim == "plugin":  # it is busy for a short time only
        happened, longest_s = up.until(r"Container server (creat|delet)ing", number=chance.randint(1, 2)), 0.3
    else:
        happened, longest_s = up.until(MOMENTS, number=chance.randint(1, 5)), 0.8
    time.sleep(chance.uniform(0, longest_s) if happened else 0)
    killed = [process for name, having, lacking in VICTIMS if name == victim for process in up.kill(having, lacking)]
    try:
        up.end()
    except subprocess.TimeoutExpired:
        pytest.fail(f"{what}: the others did not notice\n{up.said}")
    left = stack.left(up.process.pid, GONE_WITHIN_S)
    assert not left, f"{what}: still there {left}\n{up.said}"
    assert len(_servers(stack)) <= 1, what
    print(f"{what}: {len(killed)} processes, at {up.lines[-1][1].strip()[:60]!r}")  # noqa: T201
    return bool(killed)


def _servers(stack: DockerStack) -> list[str]:
    """Running containers on the stack's volume that are no throw-aways: their names."""
    running = stack.client.containers.list(filters={"volume": stack.name}, ignore_removed=True)
    return [str(each.name) for each in running if "throw-away" not in str(each.name)]


def _kill_the_postmaster(stack: DockerStack) -> None:
    """From the host's side: `docker kill` would tell Docker not to start it again."""
    process = stack.container.attrs["State"]["Pid"]
    stack.client.containers.run(
        PG17, ["sh", "-ec", f"kill -9 {process}"], entrypoint=[], user="root", pid_mode="host", remove=True,
        name=f"{stack.name}-hands", tmpfs=NO_STRAY,
    )  # fmt: skip


def _kill_a_backend(stack: DockerStack) -> None:
    """The others lose their connections and the server recovers, its container untouched."""
    ((process,),) = stack.ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
    done = container_command.run(stack.container, ["sh", "-c", f"kill -9 {process}"])
    assert done.code == 0, done.text

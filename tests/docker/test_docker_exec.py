"""What a command in a container wrote comes whole, or an error comes: whatever lies between us and the engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.docker import container_command, docker_host
from pgvector_stacks.docker.container_command import OutputTruncated
from pgvector_stacks.docker.docker_host import DockerFailed, open_throw_away, run_to_end
from pgvector_stacks.toolbox.docker_toolbox import DockerToolbox, open_toolbox
from pgvector_stacks.toolbox.interface import ProgramResult
from pgvector_stacks.upgrade.engines.docker_facts import measure_disk
from tests.docker.conftest import NO_STRAY, PG17
from tests.docker.engine_proxy import EngineProxy, engine_proxy

pytestmark = [pytest.mark.docker]
EXECS = int(os.environ.get("PGSTACK_EXECS", "40"))  # 5,000 with `make test-all`
BUSY = 4
AT_ONCE = 2
NUMBERS = "".join(f"{number}\n" for number in range(1, 20001)).encode()
COUNT = ["seq", "1", "20000"]
BINARY = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def container(docker_engine: docker.DockerClient, image: Callable[[str], str]) -> Iterator[Container]:
    with open_throw_away(
        docker_engine, f"pgstack-test-{os.getpid()}-exec", image(PG17), ["sleep", "infinity"], has_end_mark=False,
        network_mode="none", tmpfs=NO_STRAY, init=True,
    ) as made:  # fmt: skip
        made.start()
        yield made


@contextmanager
def through(container: Container, folder: Path, **how: Any) -> Iterator[tuple[Container, EngineProxy]]:
    with engine_proxy(folder, **how) as proxy:
        client = docker.DockerClient(base_url=proxy.url)
        try:
            yield client.containers.get(container.id), proxy
        finally:
            client.close()


def test_a_slow_line_loses_nothing(container: Container, tmp_path: Path) -> None:
    """The SDK's own exec_run answers b"" here, exit code 0."""
    with through(container, tmp_path, late_s=0.25) as (slow, proxy):
        done = container_command.run(slow, ["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert (done.code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
        assert sorted(done.text.split()) == ["err", "out"]
        assert container_command.run(slow, COUNT).stdout == NUMBERS
        assert container_command.run(slow, ["cat"], stdin=BINARY).stdout == BINARY
        assert container_command.run(slow, ["true"]).output == b""
        assert proxy.answers == 4


@pytest.mark.parametrize("after", [0, 5, 3000, len(NUMBERS)])
def test_an_answer_that_breaks_off_is_an_error_and_no_short_answer(
    container: Container, tmp_path: Path, after: int
) -> None:
    with through(container, tmp_path, cut_after=after) as (cut, _):
        for command, given in ((COUNT, None), (["cat"], NUMBERS)):
            with pytest.raises(OutputTruncated, match=f"the answer of {command[0]} in the container .* was cut off"):
                container_command.run(cut, command, stdin=given)


def test_an_answer_that_breaks_off_between_two_frames_is_an_error(container: Container, tmp_path: Path) -> None:
    """To a reader of frames it looks like the end."""
    first = container_command.HEADER_BYTES + len("x\n")
    with through(container, tmp_path, cut_after=first) as (cut, _), pytest.raises(OutputTruncated):
        container_command.run(cut, ["sh", "-c", "echo x; sleep 0.3; echo y"])


def test_what_ends_with_its_container_or_cannot_be_run_is_an_error(
    docker_engine: docker.DockerClient, image: Callable[[str], str]
) -> None:
    with open_throw_away(
        docker_engine, f"pgstack-test-{os.getpid()}-ended", image(PG17), ["sleep", "infinity"], has_end_mark=False,
        network_mode="none", tmpfs=NO_STRAY,
    ) as made:  # fmt: skip
        made.start()
        assert container_command.run(made, ["no-such-program"]).code == 127
        assert container_command.run(made, ["sh", "-c", "kill -9 $$"]).code == 137
        with ThreadPoolExecutor() as pool:
            waits = pool.submit(container_command.run, made, ["sh", "-c", "echo begun >/tmp/begun; sleep 60"])
            while container_command.run(made, ["test", "-e", "/tmp/begun"]).code != 0:
                pass
            made.kill()
            with pytest.raises(OutputTruncated, match=r"sh in the container .* was ended with its container"):
                waits.result()
        with pytest.raises(DockerFailed, match="is not running"):
            container_command.run(made, ["true"])


def test_a_command_sees_its_words_and_its_input_as_they_are(container: Container) -> None:
    """No shell of ours takes them apart, and what runs in the background is not waited for."""
    words = ["a b", "", "$HOME", "x=y", "-n", "\\n", "'\"", "é"]
    assert container_command.run(container, ["printf", "%s|", *words]).stdout == b"".join(
        f"{w}|".encode() for w in words
    )
    assert (
        container_command.run(container, ["echo", "-e", r"a\tb"]).stdout == b"a\tb\n"
    )  # the program, not the shell's own
    assert container_command.run(container, ["cat"], stdin=b"").stdout == b""
    assert (
        container_command.run(container, ["head", "-c", "3"], stdin=b"x" * 300_000).stdout == b"xxx"
    )  # reads no further
    assert container_command.run(container, ["sh", "-c", "sleep 60 & echo begun"]).stdout == b"begun\n"
    found = container_command.run(
        container, ["sh", "-c", "id -un; pwd; echo $X"], user="postgres", environment={"X": "1"}, workdir="/tmp"
    )
    assert found.stdout == b"postgres\n/tmp\n1\n"
    assert container_command.run(container, ["sh", "-c", "tr '\\0' '\\n' </proc/$PPID/cmdline"]).code == 0


def test_no_answer_of_many_is_wrong_on_a_busy_machine(container: Container) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]

    def one(number: int) -> bool:
        if number % 10 == 0:
            return container_command.run(container, COUNT).stdout == NUMBERS
        done = container_command.run(container, ["sh", "-c", f"echo {number}; echo {number} >&2"])
        return done.stdout == done.stderr == f"{number}\n".encode()

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            right = list(pool.map(one, range(EXECS)))
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert right.count(False) == 0


class Empty(DockerToolbox):
    """Its shell says nothing, as on a line that loses it, and everything else works."""

    def _carry_out(self, words: list[str], environment: Mapping[str, str], user: str) -> ProgramResult:
        return ProgramResult(0, "")


def test_a_toolbox_takes_no_silence_for_an_answer(
    docker_engine: docker.DockerClient, image: Callable[[str], str], tmp_path: Path
) -> None:
    name = f"pgstack-test-{os.getpid()}-silent"
    with open_toolbox(docker_engine, name, image(PG17), None) as made:
        made.sh("mkdir -p /tmp/folder/in; echo 1 >/tmp/folder/a; echo 2 >'/tmp/folder/in/b c'")
        made.move_out("/tmp/folder", tmp_path / "whole")
        assert sorted(each.name for each in (tmp_path / "whole").rglob("*")) == ["a", "b c", "in"]
        path = made.put("secret", "s3cret\n")
        assert made.sh(f"cat {path}; stat -c %a {path}").output == "s3cret\n600\n"
        assert measure_disk(made.container).free_bytes > 0
        silent = Empty(made.container)
        with pytest.raises(ServerError, match="2 files came from the throw-away container, it has 0"):
            silent.move_out("/tmp/folder", tmp_path / "silent")
        with (
            pytest.raises(ServerError, match="did not name the process that holds it"),
            silent.lock("/tmp/lock", "taken"),
        ):
            pass


def test_a_step_whose_log_lost_its_end_is_an_error(
    docker_engine: docker.DockerClient, image: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"pgstack-test-{os.getpid()}-step"

    def step(script: str, lines: int = 200) -> tuple[int, str]:
        with open_throw_away(
            docker_engine, name, image(PG17), ["sh", "-c", script], network_mode="none", tmpfs=NO_STRAY
        ) as made:
            done = run_to_end(made, lines=lines)
        return done.code, done.output

    assert step("echo a; echo b >&2")[0] == 0
    assert step("seq 1 50; printf x", 10)[1].endswith("\n49\n50\nx")
    assert step("echo bad; exit 4") == (4, "bad\n")
    assert step("seq 1 500 & echo b >&2; wait", 3)[0] == 0
    monkeypatch.setattr(docker_host, "MARKS", 3)  # as of a log that was closed too early: one is missing
    with pytest.raises(DockerFailed, match="lost its end"):
        step("echo a")

"""`pgstack new-stack` writes a file that is deployed as it is, with a port that nobody has."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.cli.new import stack_file
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config import environment as e
from pgvector_stacks.config import stack_ports


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of stacks/."""
    monkeypatch.setattr(e, "STACKS", tmp_path)
    return tmp_path


def taken(*ports: int) -> Callable[[e.Environment], Callable[[int], bool]]:
    """A Docker host on which these ports are taken."""
    return lambda environment: ports.__contains__


def never(environment: e.Environment) -> Callable[[int], bool]:
    """A Docker host that may not be asked."""
    pytest.fail(environment.stack)


def test_the_file_has_the_environment_and_a_port_that_nobody_has(stacks: Path) -> None:
    said = stack_file.create_stack("pr-123", "test", None, taken(5436))
    assert said == "wrote stacks/Pulumi.pr-123.yaml (environment test, port 5437); next:  pgstack up pr-123"
    assert (
        (stacks / "Pulumi.pr-123.yaml")
        .read_text()
        .endswith("config:\n  pgvector:environment: test\n  pgvector:port: 5437\n")
    )
    found = e.from_file("pr-123")
    assert (found.port, found.environment) == (5437, "test")
    stack_ports.refuse_conflict(found)
    stack_file.create_stack("pr-124", "test", None, taken())
    assert e.from_file("pr-124").port == 5436


def test_an_embedded_stack_needs_no_port_and_no_docker_host(stacks: Path) -> None:
    assert "(environment local);" in stack_file.create_stack("alice", "local", None, never)
    assert e.read_stack_file("alice") == {"environment": "local"}


def test_a_stack_named_like_an_environment_may_have_its_default(stacks: Path) -> None:
    stack_file.create_stack("staging", "staging", None, taken())
    assert e.from_file("staging").port == 5435


def test_keys_are_taken_from_another_stack_but_for_secrets_and_what_only_one_can_have(stacks: Path) -> None:
    (stacks / "Pulumi.staging.yaml").write_text(
        "encryptionsalt: v1:abc\nconfig:\n  pgvector:cpus: 3\n  pgvector:scripts: [a.sql]\n  pgvector:port: 6000\n"
        "  pgvector:containerName: mine\n  pgvector:baseline: [a.sql]\n  pgvector:appPassword:\n    secure: v1:abc\n"
    )
    stack_file.create_stack("pr-1", "test", "org/pgvector/staging", taken())
    assert e.read_stack_file("pr-1") == {"environment": "test", "cpus": 3, "scripts": ["a.sql"], "port": 5435}
    assert "secure" not in (stacks / "Pulumi.pr-1.yaml").read_text()
    assert "encryptionsalt" not in (stacks / "Pulumi.pr-1.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("qa", "dev", None), "stacks/Pulumi.qa.yaml exists already; nothing was written"),
        (("pr-1", "tset", None), "pgvector:environment = 'tset'; did you mean \"test\"?"),
        (("pr-1", "test", "stagin"), "no stack 'stagin'; did you mean \"staging\"?"),
        (("p r", "test", None), "'p r' is not a name for a stack"),
        (("dev", "test", None), "a stack named like an environment belongs to it"),
        (("QA", "test", None), "two names can't differ only in case"),
    ],
)
def test_what_can_not_be_is_refused_and_nothing_is_written(
    stacks: Path, arguments: tuple[str, str, str | None], told: str
) -> None:
    (stacks / "Pulumi.qa.yaml").write_text("config:\n  pgvector:environment: dev\n")
    with pytest.raises(PgstackError) as error:
        stack_file.create_stack(*arguments, never)
    assert told in str(error.value)
    assert [file.name for file in stacks.iterdir()] == ["Pulumi.qa.yaml"]


@given(st.sets(st.integers(1, 65535)))
def test_every_port_that_a_container_publishes_is_found(ports: set[int]) -> None:
    bindings = {f"{port}/tcp": [{"HostIp": "", "HostPort": str(port)}] for port in ports}
    more = {"1/tcp": None, "2/tcp": [{"HostIp": "", "HostPort": ""}]} if not ports & {1, 2} else {}
    assert stack_file.find_published_ports({"PortBindings": bindings | more}) == ports
    assert stack_file.find_published_ports({"PortBindings": None}) == set()


@pytest.mark.docker
def test_the_docker_host_and_the_sockets_of_this_machine_are_asked(stacks: Path) -> None:
    docker.from_env().ping()
    is_taken = stack_file.ask_docker_host(e.from_config("dev", {}))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert is_taken(port)
    assert not is_taken(port)

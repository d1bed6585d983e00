"""Two stacks on one Docker host have two ports, and the message about it has the next free one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.config import environment as e
from pgvector_stacks.config import stack_ports
from pgvector_stacks.engines.interface import get_engine
from tests.stacks.test_stack_names import stacks as stacks
from tests.stacks.test_stack_names import write


@pytest.mark.promise("A stack whose default port is another stack's is refused with the next free one")
def test_a_default_port_of_another_stack_is_refused_with_the_next(stacks: Path) -> None:
    write(stacks, "pr-1", "pgvector:environment: test")
    with pytest.raises(e.ConfigError) as error:
        stack_ports.refuse_conflict(e.from_file("pr-1"))
    assert str(error.value) == (
        "stack pr-1: its port would be 5434, the default of test, and that is the port of test\n"
        "  set it in stacks/Pulumi.pr-1.yaml; the next free one:  pgvector:port: 5436"
    )
    write(stacks, "pr-1", "pgvector:environment: test", "pgvector:port: 5436")
    stack_ports.refuse_conflict(e.from_file("pr-1"))
    write(stacks, "pr-2", "pgvector:environment: test")
    with pytest.raises(e.ConfigError, match="pgvector:port: 5437"):
        stack_ports.refuse_conflict(e.from_file("pr-2"))


def test_a_default_that_its_stack_gave_up_is_free_until_another_file_claims_it(stacks: Path) -> None:
    write(stacks, "test", "pgvector:port: 6000")
    write(stacks, "pr-1", "pgvector:environment: test")
    stack_ports.refuse_conflict(e.from_file("pr-1"))
    write(stacks, "qa", "pgvector:environment: dev", "pgvector:port: 5434")
    with pytest.raises(e.ConfigError, match="that is the port of qa"):
        stack_ports.refuse_conflict(e.from_file("pr-1"))


def test_a_stack_on_another_docker_host_may_have_the_same_port(stacks: Path) -> None:
    write(stacks, "production-eu", "pgvector:environment: production", "pgvector:dockerHost: ssh://eu.example")
    stack_ports.refuse_conflict(e.from_file("production-eu"))


@pytest.mark.parametrize("stack", e.ENVIRONMENTS)
def test_a_stack_named_like_an_environment_keeps_its_default(stacks: Path, stack: str) -> None:
    write(stacks, "qa", "pgvector:environment: dev", f"pgvector:port: {e.DEFAULTS[stack].get('port', 5432)}")
    stack_ports.refuse_conflict(e.from_file(stack))


def test_an_embedded_stack_claims_no_port(stacks: Path) -> None:
    write(stacks, "alice", "pgvector:environment: local", "pgvector:port: 5433")
    write(stacks, "unknown", "pgvector:port: 5433")
    assert {claim.stack for claim in stack_ports.read_claims()} == {*e.ENVIRONMENTS} - {"local"}


def test_on_docker_a_stack_of_local_has_postgresqls_port(stacks: Path) -> None:
    write(stacks, "bob", "pgvector:environment: local", "pgvector:engine: docker")
    with pytest.raises(e.ConfigError, match=r"its port would be 5432.* that is the port of production"):
        stack_ports.refuse_conflict(e.from_file("bob"))


@given(st.integers(1024, 2000), st.sets(st.integers(1024, 2000)))
def test_the_port_chosen_is_the_first_that_is_free(first: int, taken: set[int]) -> None:
    port = stack_ports.choose_port(first, taken.__contains__)
    assert port not in taken
    assert set(range(first, port)) <= taken


def test_no_port_at_all_is_said() -> None:
    with pytest.raises(e.ConfigError, match="no port from 65000 to 65535 is free"):
        stack_ports.choose_port(65000, lambda _: True)


def test_preview_and_up_refuse_it_before_they_ask_the_docker_host(stacks: Path) -> None:
    write(stacks, "pr-1", "pgvector:environment: test")
    environment = e.from_file("pr-1")
    with pytest.raises(e.ConfigError, match="the next free one"):
        get_engine(environment).check(environment, offline=True)

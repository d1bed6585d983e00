"""A Docker host over ssh: the database is published on its loopback alone, and `up` reaches it through a tunnel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.docker.conftest import Make, free_port
from tests.sshd import Host, sshd

pytestmark = [pytest.mark.engine, pytest.mark.docker]


@pytest.fixture
def ssh_host(tmp_path: Path) -> Iterator[Host]:
    with sshd(tmp_path) as host:
        yield host


@pytest.mark.promise("A stack on a Docker host over ssh needs no port open on a network")
def test_a_stack_on_a_docker_host_over_ssh_needs_no_published_port(make: Make, ssh_host: Host) -> None:
    local = make("dev")
    stack = replace(local, extra={**local.extra, "PATH": f"{ssh_host.path}{os.pathsep}{os.environ['PATH']}"})
    stack.configure(dockerHost=ssh_host.url, tls="require")
    stack.up()
    stack.add_script(
        "create table app.over_ssh (i int); insert into app.over_ssh select generate_series(1, 10);", "4.sql"
    )
    stack.up()
    assert "unchanged" in stack.up()
    said = stack.ok("test-connection", "dev")
    assert "✓ roles and privileges" in said
    assert f"through {ssh_host.url}" in said
    assert "applied  sql/4.sql" in stack.ok("status", "dev")
    assert f"answers at {ssh_host.url}" in " ".join(stack.ok("doctor", "dev").split())
    assert stack.ask("SELECT count(*) FROM app.over_ssh") == [(10,)]
    assert not tunnels(stack.root), "a tunnel outlived its process"


def test_an_ssh_host_that_does_not_answer_is_told_with_a_line_to_try(make: Make, ssh_host: Host) -> None:
    local = make("dev")
    stack = replace(local, extra={**local.extra, "PATH": f"{ssh_host.path}{os.pathsep}{os.environ['PATH']}"})
    url = f"ssh://127.0.0.1:{free_port()}"
    stack.configure(dockerHost=url)
    said = stack.refused()
    assert f"no Docker Engine answers at {url} (pgvector:dockerHost)" in said
    assert "Connection refused" in said
    assert "try it by hand:  ssh " in said


def tunnels(root: Path) -> list[str]:
    """ssh clients that were started in a checkout."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == "ssh" and Path(process.cwd()) == root:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found

"""A Docker host over ssh: the database is published on its loopback alone, and `up` reaches it through a tunnel."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from tests.docker.conftest import Make, free_port
from tests.lacking import lacking

pytestmark = [pytest.mark.engine, pytest.mark.docker]
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


@dataclass(frozen=True)
class Host:
    """An ssh server of the test's own on loopback. `path`: an `ssh` that knows its key."""

    url: str
    path: Path
    process: subprocess.Popen[bytes]


@pytest.fixture
def ssh_host(tmp_path: Path) -> Iterator[Host]:
    if not Path(SSHD).exists():
        lacking("no sshd here (package openssh-server)")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        f"PidFile {folder}/sshd.pid\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n"
    )
    (folder / "config").write_text(
        f"Host *\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known\n"
        "  StrictHostKeyChecking accept-new\n  LogLevel ERROR\n"
    )
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    wrapper = bin_folder / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
    wrapper.chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)  # where it drops its privileges
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while subprocess.run([wrapper, "-p", str(port), "127.0.0.1", "true"], check=False).returncode:
            assert time.monotonic() < deadline, "sshd does not answer"
            time.sleep(0.1)
        yield Host(f"ssh://{getpass.getuser()}@127.0.0.1:{port}", bin_folder, process)
    finally:
        process.terminate()
        process.wait(10)


def test_a_stack_on_a_docker_host_over_ssh_needs_no_published_port(make: Make, ssh_host: Host) -> None:
    local = make("dev")
    stack = replace(local, extra={**local.extra, "PATH": f"{ssh_host.path}{os.pathsep}{os.environ['PATH']}"})
    stack.configure(dockerHost=ssh_host.url)
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

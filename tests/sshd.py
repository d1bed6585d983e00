"""An ssh server of a test's own on loopback, and an `ssh` that knows its key."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lacking import lacking

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


@dataclass(frozen=True)
class Host:
    """An ssh server of the test's own on loopback. `path`: an `ssh` that knows its key."""

    url: str
    path: Path
    process: subprocess.Popen[bytes]


@contextmanager
def sshd(parent: Path) -> Iterator[Host]:
    """Below `parent`, for this user, who logs in with a key of the test's."""
    if not Path(SSHD).exists():
        lacking("no sshd here (package openssh-server)")
    folder = parent / "ssh"
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
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

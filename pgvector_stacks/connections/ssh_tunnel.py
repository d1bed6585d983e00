"""Opens tunnels through the user's own `ssh`: to a Docker Engine's socket, and to a database that is not published.

Each process opens one tunnel per target, when it is first needed. The tunnel runs `cat` on the remote host, with a pipe
of this process as its input, so it ends with this process, however that ends. Keys, hosts and jump hosts are those of
~/.ssh/config.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pgvector_stacks.common.errors import ConnectionFailed

PREFIX = "ssh://"
DOCKER_SOCKET = "/var/run/docker.sock"
OPEN_TIMEOUT_S = 20.0
POLL_S = 0.05
OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ConnectTimeout=10",
           "-o", "ServerAliveInterval=15")  # fmt: skip


@dataclass(frozen=True, slots=True)
class SshUrl:
    """`ssh://user@host:port/path/of/docker.sock`, as Docker writes it."""

    destination: tuple[str, ...]
    socket: str


def parse(url: str) -> SshUrl:
    """Parse an ssh URL. Raises ConnectionFailed for a URL without a host, or with a password."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "ssh" or not parts.hostname or parts.hostname.startswith("-") or parts.password:
        raise ConnectionFailed(f"{url}: an ssh URL is ssh://USER@HOST[:PORT], without a password")
    user = ("-l", unquote(parts.username)) if parts.username else ()
    return SshUrl(
        (*user, *(("-p", str(port)) if port else ()), parts.hostname), parts.path.rstrip("/") or DOCKER_SOCKET
    )


_OPEN: dict[tuple[str, str], tuple[subprocess.Popen[bytes], str]] = {}
_LOCK = threading.Lock()


def to_docker(url: str) -> str:
    """Return a local `unix://` URL that is forwarded to the remote Docker socket. Raises ConnectionFailed."""
    remote = parse(url).socket

    def place() -> tuple[str, str, Callable[[], bool]]:
        path = _private() / "docker.sock"
        return f"{path}:{remote}", f"unix://{path}", path.is_socket

    return _tunnel(url, remote, place)


def to_port(url: str, host: str, port: int) -> str:
    """Return a local folder, mode 0700, whose socket `.s.PGSQL.PORT` is forwarded to `host:port`, seen from the remote.

    A local TCP port would not do: another user could take it before ssh does, or connect. Raises ConnectionFailed.
    """

    def place() -> tuple[str, str, Callable[[], bool]]:
        path = _private() / f".s.PGSQL.{port}"
        return f"{path}:{f'[{host}]' if ':' in host else host}:{port}", str(path.parent), path.is_socket

    return _tunnel(url, f"{host}:{port}", place)


def _private() -> Path:
    """Create a folder, mode 0700, that is removed with the process. Its path is short: a socket's path is limited."""
    folder = tempfile.mkdtemp(prefix="pgstack-ssh-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _tunnel(url: str, what: str, place: Callable[[], tuple[str, str, Callable[[], bool]]]) -> str:
    target = parse(url)
    with _LOCK:
        known = _OPEN.get((url, what))
        if known is not None and known[0].poll() is None:
            return known[1]
        forward, found, ready = place()
        process = _start(["ssh", *OPTIONS, "-L", forward, *target.destination, "cat"])
        deadline = time.monotonic() + OPEN_TIMEOUT_S
        while process.poll() is not None or not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                said = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
                last = said.splitlines()[-1] if said else "no answer"
                raise ConnectionFailed(
                    f"no ssh tunnel to {url}: {last}\n  try it by hand:  ssh {' '.join(target.destination)} docker info"
                )
            time.sleep(POLL_S)
        _OPEN[url, what] = process, found
        return found


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
    except FileNotFoundError:
        raise ConnectionFailed("there is no ssh on this machine (package openssh-client)") from None
    atexit.register(process.kill)
    return process

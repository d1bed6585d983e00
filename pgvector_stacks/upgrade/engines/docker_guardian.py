"""Sees to it that a killed upgrade of a server in a container leaves a server that serves.

A small process of its own, which holds the read end of a pipe to the process that upgrades, for as long as that lives:
also after the upgrade, until the engine has replaced the old container. When the pipe closes and the old container is
still there and stopped, what a killed run left on the engine is removed and the old one, whose data directory is as it
was, is started again. It ends with its work.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.docker import docker_host

_HELD: list[subprocess.Popen[str]] = []  # their pipes are closed by the end of this process and by nothing else


def watch(url: str, name: str, image: str) -> None:
    """From now on until this process ends. `url`: the engine's; `name`: the server's container; `image`: its id now."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__], cwd=Path(__file__).parents[3], start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps([url, name, image]) + "\n")
    process.stdin.flush()
    _HELD.append(process)


def serve_again(url: str, name: str, image: str) -> None:
    """Start the old container, unless it runs or another has taken its place. Raises DockerFailed."""
    client = docker_host.connect(url)
    server = docker_host.server_of(client, name)
    if server is None or server.status == "running" or server.attrs["Image"] != image:
        return
    docker_host.remove_left_throw_aways(client, name)  # one of them may hold the lock on the data directory
    with docker_host.docker_errors():
        server.start()


def main() -> None:
    """Told all on stdin."""
    url, name, image = json.loads(sys.stdin.readline())
    sys.stdin.read()
    with suppress(PgstackError):  # nobody listens any more; the next `up` says it
        serve_again(url, name, image)


if __name__ == "__main__":
    main()

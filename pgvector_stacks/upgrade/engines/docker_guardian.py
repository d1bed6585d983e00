"""Restarts the old server of a container after a killed upgrade.

The guardian is a small process that holds the read end of a pipe from the upgrading process. It waits until that
process ends, which is after Pulumi has replaced the old container. If the old container is still there and stopped
then, the guardian removes what the killed run left on the Docker host and starts the old container, whose data
directory is unchanged.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.docker import docker_host

_HELD: list[subprocess.Popen[str]] = []  # only the end of this process closes their pipes


def start_guardian(url: str, name: str, image: str) -> None:
    """Start a guardian that watches until this process ends. `url`: the Docker host's; `name`: the server's container;
    `image`: the container's image id.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", __name__], cwd=Path(__file__).parents[3], start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps([url, name, image]) + "\n")
    process.stdin.flush()
    _HELD.append(process)


def restart_old_server(url: str, name: str, image: str) -> None:
    """Start the old container, unless it runs or a new one has replaced it. Raises DockerFailed."""
    client = docker_host.connect(url)
    server = docker_host.find_container(client, name)
    if server is None or server.status == "running" or server.attrs["Image"] != image:
        return
    docker_host.remove_leftover_containers(client, name)  # one of them may hold the lock on the data directory
    with docker_host.docker_errors():
        server.start()


def main() -> None:
    """Read the arguments from stdin, wait until the pipe closes, then start the server."""
    url, name, image = json.loads(sys.stdin.readline())
    sys.stdin.read()
    with suppress(PgstackError):  # nobody reads the error here; the next `up` reports it
        restart_old_server(url, name, image)


if __name__ == "__main__":
    main()

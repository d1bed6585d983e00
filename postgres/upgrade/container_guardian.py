"""Sees to it that a killed upgrade of a server in a container leaves a server that serves.

A small process of its own, which holds the read end of a pipe. The upgrade says "done" at its end, also after a failure
that it dealt with itself. A pipe that closes without that word means that it was killed: what it left on the engine is
removed, and the old container, whose data directory is as it was, is started again. It ends with its work.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from postgres import docker_host
from postgres.errors import PgstackError

DONE = "done"


@contextmanager
def guarded(url: str, name: str) -> Iterator[None]:
    """A guardian for as long as this lasts. `url`: the engine's; `name`: the server's container."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__], cwd=Path(__file__).parents[2], start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps([url, name]) + "\n")
        process.stdin.flush()
        try:
            yield
        finally:
            process.stdin.write(DONE)
    finally:
        with suppress(BrokenPipeError):  # somebody killed it
            process.stdin.close()
        process.wait()


def serve_again(url: str, name: str) -> None:
    """Nothing of a killed run works on, and the old server runs. Raises DockerFailed."""
    client = docker_host.connect(url)
    docker_host.remove_left_throw_aways(client, name)
    server = docker_host.server_of(client, name)
    if server is not None and server.status != "running":
        with docker_host.told():
            server.start()


def main() -> None:
    """Told all on stdin."""
    url, name = json.loads(sys.stdin.readline())
    if sys.stdin.read() == DONE:
        return
    with suppress(PgstackError):  # nobody listens any more; the next `up` says it
        serve_again(url, name)


if __name__ == "__main__":
    main()

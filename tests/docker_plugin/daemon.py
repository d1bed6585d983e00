"""The Docker Engine that the provider's configuration names, and its failures in the real plugin's words."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from tests.docker_plugin.inputs import Refused

DEFAULT_HOST = "unix:///var/run/docker.sock"
# as long as the real plugin lets a resource take
TIMEOUT_S = 20 * 60
PING_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Daemon:
    """Where it answers: what the provider's configuration and the environment say."""

    host: str
    check: bool = True

    @contextmanager
    def client(self) -> Iterator[docker.APIClient]:
        """A client of its own for each operation: they run in threads. Raises Refused."""
        try:
            client = docker.APIClient(base_url=self.host, version="auto", timeout=TIMEOUT_S)
        except DockerException as error:
            raise Refused(self._unreachable(error)) from None
        try:
            yield client
        except requests.ConnectionError:
            raise Refused(
                f"Cannot connect to the Docker daemon at {self.host}. Is the docker daemon running?"
            ) from None
        finally:
            client.close()

    def _unreachable(self, error: Exception) -> str:
        reason = f"Cannot connect to the Docker daemon at {self.host}. Is the docker daemon running?"
        if not self.check:
            return reason
        return (
            f"failed to create Docker client: Error pinging Docker server, please make sure that {self.host} is "
            f"reachable and has a  '_ping' endpoint. Error: {reason}"
        )


def configured(config: Mapping[str, Any], environ: Mapping[str, str], home: Path) -> Daemon:
    """Raises Refused where no Docker Engine answers: the whole preview fails, whatever it is about.

    As in the real plugin the check asks `host`, never the context, and `disableDockerDaemonCheck` doesn't skip it;
    a host behind ssh isn't asked at all.
    """
    host = str(config.get("host") or environ.get("DOCKER_HOST") or DEFAULT_HOST)
    explicit = bool(config.get("host"))
    if not host.startswith("ssh://") and not answers(host):
        user_hosts = [f"unix://{home}/.docker/run/docker.sock", f"unix://{home}/.docker/desktop/docker.sock"]
        host = next((other for other in user_hosts if not explicit and answers(other)), "")
        if not host:
            raise Refused(
                "docker native provider returned an unexpected error from Configure: "
                "failed to connect to any docker daemon"
            )
    context = config.get("context") or environ.get("DOCKER_CONTEXT")
    if context:
        host = context_host(str(context), home)
    if host.startswith("ssh://"):
        options = config.get("sshOpts") or environ.get("DOCKER_SSH_OPTS", "").split()
        if isinstance(options, str):
            options = json.loads(options)
        host = tunnel(host, [str(option) for option in options])
    return Daemon(host, check=str(config.get("disableDockerDaemonCheck", "")).lower() != "true")


def answers(host: str) -> bool:
    """True where a Docker Engine answers a ping."""
    try:
        client = docker.APIClient(base_url=host, version="1.24", timeout=PING_TIMEOUT_S)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except (DockerException, requests.RequestException, OSError):
        return False


def context_host(name: str, home: Path) -> str:
    """The host that a context of the Docker client names. Raises Refused."""
    for file in sorted((home / ".docker" / "contexts" / "meta").glob("*/meta.json")):
        meta = json.loads(file.read_text())
        if meta.get("Name") == name and "docker" in meta.get("Endpoints", {}):
            return str(meta["Endpoints"]["docker"]["Host"])
    raise Refused(f"Error loading Docker context '{name}': context '{name}' not found")


def tunnel(host: str, options: list[str]) -> str:
    """A socket of our own, each connection to it an `ssh … docker system dial-stdio`, as the Docker client does it."""
    address = urlsplit(host)
    command = ["ssh", *options]
    command += ["-l", address.username] if address.username else []
    command += ["-p", str(address.port)] if address.port else []
    command += ["--", address.hostname or "", "docker", "system", "dial-stdio"]
    folder = tempfile.mkdtemp(prefix="docker-plugin-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = f"{folder}/docker.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_carry, args=(connection, command), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"unix://{path}"


def _carry(connection: socket.socket, command: list[str]) -> None:
    with connection, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as remote:
        assert remote.stdin is not None
        assert remote.stdout is not None
        descriptor, sink = remote.stdout.fileno(), remote.stdin

        def back() -> None:
            try:
                while data := os.read(descriptor, 65536):
                    connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        answer = threading.Thread(target=back, daemon=True)
        answer.start()
        try:
            while data := connection.recv(65536):
                sink.write(data)
                sink.flush()
        except OSError:
            pass
        remote.terminate()
        answer.join()


def said(error: APIError) -> str:
    """The daemon's words, as the real plugin's client frames them."""
    return f"Error response from daemon: {error.explanation or error}"


def is_gone(call: Callable[[], Any]) -> bool:
    """True where `call` says that the thing isn't there. Raises what else it raises."""
    try:
        call()
    except NotFound:
        return True
    return False

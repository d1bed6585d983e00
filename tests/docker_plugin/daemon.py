"""The Docker Engine that the provider's configuration names, and its failures in the real plugin's words."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig

from tests.docker_plugin.inputs import Refused

DEFAULT_HOST = "unix:///var/run/docker.sock"
# as long as the real plugin lets a resource take
TIMEOUT_S = 20 * 60
PING_TIMEOUT_S = 30
FOLDER = "docker-plugin-"
BLOCK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Daemon:
    """Where it answers: what the provider's configuration and the environment say."""

    host: str
    check: bool = True
    tunnel: Tunnel | None = None
    certificates: str = ""  # a folder, for TLS

    @contextmanager
    def client(self) -> Iterator[docker.APIClient]:
        """A client of its own for each operation: they run in threads. Raises Refused."""
        try:
            client = docker.APIClient(
                base_url=self.host, version="auto", timeout=TIMEOUT_S, tls=secured(self.certificates)
            )
        except DockerException:
            raise Refused(self._unreachable()) from None
        try:
            yield client
        except requests.ConnectionError:
            raise Refused(
                f"Cannot connect to the Docker daemon at {self.host}. Is the docker daemon running?"
            ) from None
        finally:
            client.close()

    def _reason(self) -> str:
        if self.tunnel is None:
            return f"Cannot connect to the Docker daemon at {self.host}. Is the docker daemon running?"
        return (
            f"error during connect: command {self.tunnel.command} has exited, make sure the URL is valid, and Docker "
            f"18.09 or later is installed on the remote host: stderr={self.tunnel.said}"
        )

    def _unreachable(self) -> str:
        if not self.check:
            return self._reason()
        shown = self.host if self.tunnel is None else self.tunnel.host
        return (
            f"failed to create Docker client: Error pinging Docker server, please make sure that {shown} is "
            f"reachable and has a  '_ping' endpoint. Error: {self._reason()}"
        )


def configured(config: Mapping[str, Any], environ: Mapping[str, str], home: Path) -> Daemon:
    """Raises Refused where no Docker Engine answers: the whole preview fails, whatever it is about.

    As in the real plugin the check asks `host`, never the context, and `disableDockerDaemonCheck` doesn't skip it;
    a host behind ssh isn't asked at all.
    """
    host = str(config.get("host") or environ.get("DOCKER_HOST") or DEFAULT_HOST)
    explicit = bool(config.get("host"))
    certificates = str(config.get("certPath") or environ.get("DOCKER_CERT_PATH") or "")
    if not host.startswith("ssh://") and not answers(host, certificates):
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
    check = str(config.get("disableDockerDaemonCheck", "")).lower() != "true"
    if not host.startswith("ssh://"):
        return Daemon(host, check, certificates=certificates)
    options = config.get("sshOpts") or environ.get("DOCKER_SSH_OPTS", "").split()
    if isinstance(options, str):
        options = json.loads(options)
    tunnel = Tunnel(host, [str(option) for option in options])
    return Daemon(tunnel.open(), check, tunnel)


class _Config(TLSConfig):  # type: ignore[misc]
    """The real plugin asks no REQUESTS_CA_BUNDLE."""

    def configure_client(self, client: Any) -> None:
        super().configure_client(client)
        client.trust_env = False


def secured(certificates: str) -> TLSConfig | None:
    """As the real plugin: all three files, and the engine's certificate is verified."""
    if not certificates:
        return None
    ca, certificate, key = (f"{certificates}/{name}.pem" for name in ("ca", "cert", "key"))
    return _Config(client_cert=(certificate, key), ca_cert=ca, verify=True)


def answers(host: str, certificates: str = "") -> bool:
    """True where a Docker Engine answers a ping."""
    try:
        client = docker.APIClient(base_url=host, version="1.24", timeout=PING_TIMEOUT_S, tls=secured(certificates))
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
    raise Refused(f"1 error occurred:\n\t* Error loading Docker context '{name}': context '{name}' not found\n\n")


class Tunnel:
    """A socket of our own, each connection to it an `ssh … docker system dial-stdio`, as the Docker client does it.

    said: what ssh said last.
    """

    def __init__(self, host: str, options: list[str]) -> None:
        address = urlsplit(host)
        self.host, self.said = host, ""
        self.command = ["ssh", *options]
        self.command += ["-l", address.username] if address.username else []
        self.command += ["-p", str(address.port)] if address.port else []
        self.command += ["-T", "--", address.hostname or "", "docker", "system", "dial-stdio"]

    def open(self) -> str:
        """The address of the socket. A plugin is killed, not asked to leave: the next removes what it left."""
        for left in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
            if not Path(f"/proc/{left.name.removeprefix(FOLDER)}").exists():
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.gettempdir()) / f"{FOLDER}{os.getpid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{secrets.token_hex(4)}.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return f"unix://{path}"

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._carry, args=(connection,), daemon=True).start()

    def _carry(self, connection: socket.socket) -> None:
        pipe = subprocess.PIPE
        with connection, subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=pipe) as remote:
            assert remote.stdin is not None
            assert remote.stdout is not None
            assert remote.stderr is not None
            descriptor, sink = remote.stdout.fileno(), remote.stdin

            def back() -> None:
                with suppress(OSError):
                    while data := os.read(descriptor, BLOCK_BYTES):
                        connection.sendall(data)
                    if remote.wait():
                        assert remote.stderr is not None
                        self.said = remote.stderr.read().decode(errors="replace").strip()
                    connection.shutdown(socket.SHUT_RDWR)

            answer = threading.Thread(target=back, daemon=True)
            answer.start()
            with suppress(OSError):
                while data := connection.recv(BLOCK_BYTES):
                    sink.write(data)
                    sink.flush()
            remote.terminate()
            answer.join()


def said(error: APIError) -> str:
    """The daemon's words, as the real plugin's client frames them."""
    return f"Error response from daemon: {error.explanation or error}"

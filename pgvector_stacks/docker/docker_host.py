"""Connects to a Docker Engine, and runs throw-away containers on it.

The Docker Engine is that of the stack's `dockerHost` or `dockerContext`, else of DOCKER_HOST, DOCKER_CONTEXT, the
current context, or the local socket. Every object that this module creates has the label `pgvector-stacks.name`, so
that the next run finds and removes what a killed run left. The module itself changes nothing in a volume.
"""

from __future__ import annotations

import io
import os
import secrets
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import Mount

from pgvector_stacks.common.errors import ConnectionFailed
from pgvector_stacks.connections import ssh_tunnel
from pgvector_stacks.docker import docker_context, docker_tls, end_mark
from pgvector_stacks.docker.docker_context import DEFAULT
from pgvector_stacks.docker.docker_context import DockerFailed as DockerFailed

NAME_LABEL = "pgvector-stacks.name"
ROLE_LABEL = "pgvector-stacks.role"  # server, backup or throw-away
CLAIM_LABEL = "pgvector-stacks.claim"
TIMEOUT_S = 60
LOG_LINES = 20
MARKS = 2  # one per stream
ROOT = "root"
ROOT_CAPABILITIES = ["CHOWN", "FOWNER", "FSETID", "DAC_OVERRIDE"]  # needed to give files to another user
TMP = "/tmp"
HARDENED: Mapping[str, Any] = MappingProxyType(
    {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"], "pids_limit": 1024, "read_only": True}
    | {"mem_limit": "512m", "memswap_limit": "512m", "network_mode": "none"}
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The URL of the Docker Engine, and what chose it (for messages)."""

    url: str
    chosen_by: str

    @property
    def is_local(self) -> bool:
        """True if the Docker Engine's files and ports are those of this machine."""
        return self.url.startswith("unix://")

    @property
    def via(self) -> str:
        """The ssh URL through which published ports are reached; "" if they are reached directly."""
        return self.url if self.url.startswith(ssh_tunnel.PREFIX) else ""


def choose_endpoint(host: str | None, context: str | None, environ: Mapping[str, str]) -> Endpoint:
    """Choose the Docker Engine. Raises DockerFailed for a context that does not exist."""
    if host:
        return Endpoint(host, "pgvector:dockerHost")
    if context:
        return Endpoint(_context_url(context, environ, "pgvector:dockerContext"), "pgvector:dockerContext")
    if environ.get("DOCKER_HOST"):
        return Endpoint(environ["DOCKER_HOST"], "DOCKER_HOST")
    if environ.get("DOCKER_CONTEXT"):
        return Endpoint(_context_url(environ["DOCKER_CONTEXT"], environ, "DOCKER_CONTEXT"), "DOCKER_CONTEXT")
    current = docker_context.read_current_name(environ)
    if current is not None:
        return Endpoint(_context_url(current, environ, "the current context"), f"the current context {current}")
    return Endpoint(DEFAULT, "the default")


def _context_url(name: str, environ: Mapping[str, str], who: str) -> str:
    return docker_context.read_context(name, environ, who).host


def connect(url: str, chosen_by: str = "") -> docker.DockerClient:
    """Connect to the Docker Engine and ping it, with TLS if `docker_context.find_tls_files` returns TLS files.

    Raises DockerFailed with the URL that was tried.
    """
    by = f" ({chosen_by})" if chosen_by else ""
    try:
        base = ssh_tunnel.to_docker(url) if url.startswith(ssh_tunnel.PREFIX) else url
    except ConnectionFailed as error:
        raise DockerFailed(f"no Docker Engine answers at {url}{by}: {error}") from None
    tls = docker_context.find_tls_files(url, os.environ)
    docker_tls.refuse_unverified(url, tls, by)
    try:
        client = docker.DockerClient(
            base_url=base, timeout=TIMEOUT_S, version="auto", tls=docker_tls.make_config(tls, url)
        )
        client.ping()
    except (DockerException, requests.RequestException, ValueError) as error:
        cause = docker_tls.explain_error(url, tls, str(error)) or _explain_unreachable(error)
        remedy = docker_tls.find_remedy(url, tls, str(error)) or _find_remedy(url, error)
        raise DockerFailed(f"no Docker Engine answers at {url}{by}: {cause}\n  {remedy}") from None
    return client


def _explain_unreachable(error: Exception) -> str:
    text = str(error)
    if "FileNotFoundError" in text or "No such file" in text:
        return "there is no such socket"
    if "Permission" in text:
        return "this user may not open the socket"
    if "refused" in text.lower():
        return "nothing listens there"
    if "RemoteDisconnected" in text or "reset by peer" in text:
        return "it ended the connection"
    return " ".join(text.split())[:200]


def _find_remedy(url: str, error: Exception) -> str:
    if "Permission" in str(error):
        return 'add the user to the group docker:  sudo usermod -aG docker "$USER"   (then log in again)'
    if url.startswith("unix://"):
        return (
            "start it:  sudo systemctl start docker   (install it: Debian's docker.io, or Docker's own docker-ce)\n"
            "  or name another engine:  pgvector:dockerHost, pgvector:dockerContext, DOCKER_HOST"
        )
    return "check that the host is up and that you reach it:  docker -H " + url + " info"


@contextmanager
def docker_errors() -> Iterator[None]:
    """Raise the Docker SDK's errors as DockerFailed."""
    try:
        yield
    except ImageNotFound as error:
        raise DockerFailed(f"Docker has no such image: {error.explanation}") from None
    except APIError as error:
        raise DockerFailed(f"Docker refused: {error.explanation or error}") from None
    except (DockerException, requests.RequestException) as error:
        raise DockerFailed(f"Docker did not answer: {' '.join(str(error).split())[:300]}") from None


@dataclass(frozen=True, slots=True)
class ContainerResult:
    """The exit code and the log of a throw-away container."""

    code: int
    output: str


@contextmanager
def open_throw_away(
    client: docker.DockerClient,
    name: str,
    image: str,
    command: Sequence[str],
    *,
    has_end_mark: bool = True,
    **options: Any,
) -> Iterator[Container]:
    """Create a container, and remove it with its anonymous volumes at the end of the block. Raises DockerFailed.

    `name`: the stack's container name. `has_end_mark`: end the log with an end mark, which `run_to_end` requires; False
    for a container that the caller stops. `options`: arguments for the Docker SDK's `containers.create`. The container
    has no capabilities except those of `cap_add`; as root it has those needed to give files to another user. It can't
    gain privileges, has few processes, a memory limit, and no network unless `options` names one. It writes only to its
    mounts and to /tmp. /tmp is an anonymous volume, because a tmpfs exists only in a running container, and `put_files`
    writes before that.
    """
    if options.get("user") == ROOT:
        options = {"cap_add": ROOT_CAPABILITIES} | options
    hardened = dict(HARDENED)
    if options.get("network"):
        del hardened["network_mode"]
    options["mounts"] = [*options.get("mounts", []), anonymous_mount(TMP, name)]
    with docker_errors():
        container = client.containers.create(
            image,
            end_mark.add_mark(command, end_mark.new_mark()) if has_end_mark else list(command),
            name=f"{name}-throw-away-{secrets.token_hex(3)}",
            labels={NAME_LABEL: name, ROLE_LABEL: "throw-away"},
            entrypoint=[],
            **{**hardened, **options},
        )
    try:
        yield container
    finally:
        with suppress(DockerException, requests.RequestException):
            container.remove(force=True, v=True)


def anonymous_mount(place: str, name: str) -> Mount:
    """Return a mount of an unnamed volume, which is removed with its container. Labels identify one that is left."""
    return Mount(place, None, type="volume", labels={NAME_LABEL: name, ROLE_LABEL: "throw-away"})


def run_to_end(container: Container, *, timeout_s: float = 600.0, lines: int = 200) -> ContainerResult:
    """Start the container and wait for its end. Raises DockerFailed.

    A run longer than `timeout_s` is an error, and so is exit code 0 with a log that lacks its end marks. The log of a
    failed container may be incomplete, because it is only shown in messages.
    """
    mark = end_mark.find_mark(container.attrs["Config"]["Cmd"])
    assert mark is not None, "created with has_end_mark=False"
    with docker_errors():
        container.start()
        try:
            code = int(container.wait(timeout=timeout_s)["StatusCode"])
        except requests.exceptions.ConnectionError as error:
            if "timed out" not in str(error).lower():
                raise
            raise DockerFailed(f"a step in a throw-away container took longer than {timeout_s:.0f} s") from None
        output, marks = end_mark.strip_marks(container.logs(tail=lines + MARKS, stdout=True, stderr=True), mark)
        if code == 0 and marks != MARKS:  # the tail may lack a mark: streams interleave
            marks = end_mark.strip_marks(container.logs(stdout=True, stderr=True), mark)[1]
    if code == 0 and marks != MARKS:
        raise DockerFailed(f"the log of the throw-away container {container.name} lost its end: try again")
    return ContainerResult(code, output.decode(errors="replace"))


def read_log(container: Container, *, lines: int = LOG_LINES, last_s: int | None = None) -> str:
    """Return the last lines of a container's log, both streams; `last_s`: only those of the last so many seconds."""
    since = {} if last_s is None else {"since": int(time.time()) - last_s}
    return str(container.logs(tail=lines, stdout=True, stderr=True, **since).decode(errors="replace"))


def put_files(container: Container, path: str, files: Mapping[str, str], *, mode: int = 0o444) -> None:
    """Write files into an existing folder of the container. No argument or environment variable shows their content.

    All users of the container may read the files, because the UID of postgres differs between images.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            content = text.encode()
            entry.size, entry.mode, entry.mtime = len(content), mode, int(time.time())
            archive.addfile(entry, io.BytesIO(content))
    with docker_errors():
        container.put_archive(path, packed.getvalue())


def remove_leftover_containers(client: docker.DockerClient, name: str) -> None:
    """Remove the throw-away containers that a killed run of this stack left."""
    with docker_errors():
        for container in client.containers.list(
            all=True, ignore_removed=True, filters={"label": [f"{NAME_LABEL}={name}", f"{ROLE_LABEL}=throw-away"]}
        ):
            with suppress(NotFound):
                container.remove(force=True, v=True)


def find_container(client: docker.DockerClient, name: str) -> Container | None:
    """Return the container of a stack's server, running or not; None if there is none. Raises DockerFailed."""
    with docker_errors():
        try:
            return client.containers.get(name)
        except NotFound:
            return None


@dataclass(frozen=True, slots=True)
class Network:
    """A Docker network. `users`: the running containers in it."""

    id: str
    labels: Mapping[str, str]
    users: tuple[str, ...]

    def is_removable(self, name: str, claim: str | None) -> bool:
        """True if the stack's network can be removed: it has the stack's name, and our claim or no containers."""
        mine = claim is not None and claim != "" and self.labels.get(CLAIM_LABEL) == claim
        return self.labels.get(NAME_LABEL) == name and (mine or not self.users)


def find_network(client: docker.DockerClient, name: str) -> Network | None:
    """Return the network with this name; None if there is none. Raises DockerFailed."""
    with docker_errors():
        for found in client.networks.list(names=[name]):  # Docker also lists names that only contain `name`
            if found.name == name:
                with suppress(NotFound):
                    found.reload()
                    users = sorted(each["Name"] for each in (found.attrs.get("Containers") or {}).values())
                    return Network(found.id, found.attrs.get("Labels") or {}, tuple(users))
    return None


def volume_exists(client: docker.DockerClient, volume: str) -> bool:
    """True if the volume exists. Raises DockerFailed."""
    with docker_errors():
        try:
            client.volumes.get(volume)
        except NotFound:
            return False
        return True


def has_image(client: docker.DockerClient, image: str) -> bool:
    """True if the Docker Engine has the image already. Raises DockerFailed."""
    with docker_errors():
        try:
            client.images.get(image)
        except (ImageNotFound, NotFound):
            return False
        return True


def list_digests(client: docker.DockerClient, image: str) -> list[str]:
    """Return REPOSITORY@sha256:… for each registry that the image was pulled from; [] for an image built locally.

    Raises DockerFailed.
    """
    with docker_errors():
        try:
            return list(client.images.get(image).attrs.get("RepoDigests") or [])
        except (ImageNotFound, NotFound):
            return []


def list_volume_users(client: docker.DockerClient, volume: str) -> list[Container]:
    """Return the containers, running or not, that mount a volume, without our throw-away containers."""
    with docker_errors():
        found = client.containers.list(all=True, filters={"volume": volume}, ignore_removed=True)
    # a throw-away container is removed, or about to be
    return [container for container in found if container.labels.get(ROLE_LABEL) != "throw-away"]

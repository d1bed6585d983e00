"""What must hold before a container is touched: facts from the Docker host, and checks over them.

`gather` asks; every check is a pure function over what is wanted and what was found, and returns a finding that names
the remedy where something is wrong. Adding one is adding a function to CHECKS.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from postgres import images
from postgres.adoption import User, in_use, user
from postgres.docker_host import CLAIM_LABEL, NAME_LABEL, Endpoint, told, volume_exists, volume_users

LEAST_API = (1, 41)  # Docker 20.10
LEAST_FREE_MB = 1024
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "amd64": "amd64"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and the command or step that mends it ("" where nothing is wrong).

    `serious` False: worth a warning, and no reason to stop.
    """

    what: str
    found: str
    remedy: str = ""
    serious: bool = True

    @property
    def good(self) -> bool:
        return not self.remedy

    def __str__(self) -> str:
        return f"{self.what}: {self.found}" + (f"\n  {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the stack is going to need. Memory in MiB; `claim` None where the state has none yet.

    `adopt`: the existing volume to go on with; "" where the stack's own, called like it, is used.
    """

    name: str
    image: str
    memory_mb: int
    cpus: float
    port: int
    bind_address: str
    wal_mb: int
    claim: str | None
    adopt: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the Docker host says. None where it can't be known from here."""

    api: tuple[int, ...]
    architecture: str
    memory_mb: int
    cpus: int
    limits_memory: bool
    root: str
    free_mb: int | None
    image_here: bool
    image_architectures: tuple[str, ...]
    image_problem: str
    port_holder: str
    volume_there: bool
    other_users: tuple[User, ...]


def gather(client: docker.DockerClient, endpoint: Endpoint, wanted: Wanted) -> Facts:
    """Ask the engine, and this machine where they are the same. Raises DockerFailed."""
    with told():
        info = client.info()
        version = client.version()
    here, architectures, problem = _image(client, wanted.image)
    volume = wanted.adopt or wanted.name
    free = None
    if endpoint.local and Path(info["DockerRootDir"]).exists():
        with suppress(OSError):
            free = shutil.disk_usage(info["DockerRootDir"]).free // 2**20
    return Facts(
        api=tuple(int(part) for part in version["ApiVersion"].split(".")),
        architecture=ARCHITECTURES.get(info["Architecture"], info["Architecture"]),
        memory_mb=info["MemTotal"] // 2**20,
        cpus=info["NCPU"],
        limits_memory=bool(info.get("MemoryLimit")),
        root=info["DockerRootDir"],
        free_mb=free,
        image_here=here,
        image_architectures=architectures,
        image_problem=problem,
        port_holder=_port_holder(client, endpoint, wanted),
        volume_there=volume_exists(client, volume),
        other_users=tuple(
            user(container) for container in volume_users(client, volume) if not _ours(container.labels, wanted)
        ),
    )


def _ours(labels: dict[str, str], wanted: Wanted) -> bool:
    return (
        labels.get(NAME_LABEL) == wanted.name and wanted.claim is not None and labels.get(CLAIM_LABEL) == wanted.claim
    )


def _image(client: docker.DockerClient, image: str) -> tuple[bool, tuple[str, ...], str]:
    """(here, architectures, why it can't be had)."""
    try:
        found = client.images.get(image)
        return True, (str(found.attrs["Architecture"]),), ""
    except (ImageNotFound, NotFound):
        pass
    except (DockerException, requests.RequestException) as error:
        return False, (), " ".join(str(error).split())[:200]
    try:
        data = client.images.get_registry_data(image)
        platforms = data.attrs.get("Platforms") or []
        return False, tuple(sorted({str(each["architecture"]) for each in platforms})), ""
    except (APIError, DockerException, requests.RequestException) as error:
        return False, (), " ".join(str(getattr(error, "explanation", None) or error).split())[:200]


def _port_holder(client: docker.DockerClient, endpoint: Endpoint, wanted: Wanted) -> str:
    """Who listens on the port: "" where nobody does, or our own container."""
    with told():
        publishing = client.containers.list(filters={"publish": str(wanted.port)}, ignore_removed=True)
    for container in publishing:
        if _ours(container.labels, wanted):
            return ""
        return f"the container {container.name}"
    if not endpoint.local or _can_bind(wanted.bind_address, wanted.port):
        return ""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (wanted.port,) and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "another process"


def _can_bind(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno == 99  # not an address of this machine: the engine will say so
    return True


def _engine(_: Wanted, facts: Facts) -> Finding:
    shown, least = (".".join(map(str, version)) for version in (facts.api, LEAST_API))
    remedy = "" if facts.api >= LEAST_API else f"install Docker 20.10 or newer (API {least})"
    return Finding("Docker", f"API {shown}", remedy)


def _image_is_there(wanted: Wanted, facts: Facts) -> Finding:
    if facts.image_problem:
        return Finding(
            "image", f"{wanted.image} is not on the Docker host and can't be pulled: {facts.image_problem}",
            f"check the name (pgvector:image) and the registry, or load it:  docker pull {wanted.image}",
        )  # fmt: skip
    if facts.image_architectures and facts.architecture not in facts.image_architectures:
        return Finding(
            "image",
            f"{wanted.image} exists for {', '.join(facts.image_architectures)}, the host is {facts.architecture}",
            "choose an image for this architecture (pgvector:image)",
        )  # fmt: skip
    return Finding("image", f"{wanted.image} {'is here' if facts.image_here else 'can be pulled'}")


def _image_is_kept_up(wanted: Wanted, _: Facts) -> Finding:
    if images.is_frozen(wanted.image):
        return Finding(
            "image's age", f"{images.FROZEN} gets no updates since October 2023 (PostgreSQL 15.4, pgvector 0.5.1)",
            "its author moved to pgvector/pgvector: 0.8.6-pg15-bookworm runs on the same data", serious=False,
        )  # fmt: skip
    return Finding("image's age", "of a lineage that is kept up")


def _memory(wanted: Wanted, facts: Facts) -> Finding:
    found = f"{facts.memory_mb} MiB on the host, pgvector:memoryMb is {wanted.memory_mb}"
    if not facts.limits_memory:
        return Finding(
            "memory", f"the host can't limit memory (no memory cgroup); {found}",
            "boot the host with cgroup_enable=memory swapaccount=1",
        )  # fmt: skip
    return Finding("memory", found, "lower pgvector:memoryMb" if wanted.memory_mb > facts.memory_mb else "")


def _cpus(wanted: Wanted, facts: Facts) -> Finding:
    found = f"{facts.cpus} on the host, pgvector:cpus is {wanted.cpus:g}"
    return Finding("cpus", found, "lower pgvector:cpus" if wanted.cpus > facts.cpus else "")


def _disk(wanted: Wanted, facts: Facts) -> Finding:
    if facts.free_mb is None:
        return Finding("disk", f"can't be seen from here ({facts.root} on the Docker host)")
    needed = LEAST_FREE_MB + wanted.wal_mb
    remedy = "" if facts.free_mb >= needed else "free some:  docker system df;  docker image prune"
    return Finding("disk", f"{facts.free_mb} MB free in {facts.root}, needed {needed}", remedy)


def _port(wanted: Wanted, facts: Facts) -> Finding:
    if facts.port_holder:
        return Finding(
            "port", f"{wanted.bind_address}:{wanted.port} is taken by {facts.port_holder}",
            "stop it, or choose another port (pgvector:port)",
        )  # fmt: skip
    return Finding("port", f"{wanted.bind_address}:{wanted.port} is free or ours")


def _volume(wanted: Wanted, facts: Facts) -> Finding:
    if wanted.adopt:
        return _adopted_volume(wanted, facts)
    if facts.other_users:
        names = [each.name for each in facts.other_users]
        return Finding(
            "volume",
            f"{wanted.name} is used by another container: {', '.join(names)} (two servers on one volume lose data)",
            f"remove it where it isn't needed any more:  docker rm -f {' '.join(names)};  "
            "or choose another name (pgvector:containerName)",
        )  # fmt: skip
    return Finding("volume", f"{wanted.name} is free or ours")


def _adopted_volume(wanted: Wanted, facts: Facts) -> Finding:
    if not facts.volume_there:
        return Finding(
            "volume", f"there is no volume {wanted.adopt} to adopt",
            "see them:  docker volume ls   (Compose puts its project's name in front: PROJECT_NAME);  "
            "correct pgvector:adoptVolume",
        )  # fmt: skip
    wrong, remedy = in_use(wanted.adopt, facts.other_users)
    return Finding("volume", wrong or f"{wanted.adopt} is free or ours", remedy)


CHECKS: tuple[Callable[[Wanted, Facts], Finding], ...] = (
    _engine, _image_is_there, _image_is_kept_up, _memory, _cpus, _disk, _port, _volume,
)  # fmt: skip


def findings(wanted: Wanted, facts: Facts) -> list[Finding]:
    """Every check's finding, in the order of CHECKS. Pure."""
    return [check(wanted, facts) for check in CHECKS]

"""Checks the Docker host before an `up` touches a container: gathers facts, and decides over them.

`gather_facts` asks the Docker Engine. Every check is a pure function over what the stack needs and the facts. A check
returns a finding, with a remedy if something is wrong. To add a check, add a function to CHECKS.
"""

from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from pgvector_stacks.common import image_names
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.docker import relocation
from pgvector_stacks.docker.adoption import MountingContainer, find_use_problem, to_mounting_container
from pgvector_stacks.docker.docker_host import (
    CLAIM_LABEL,
    NAME_LABEL,
    Endpoint,
    Network,
    docker_errors,
    find_container,
    find_network,
    list_volume_users,
    volume_exists,
)

LEAST_API = (1, 41)  # Docker 20.10
LEAST_FREE_MB = 1024
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "amd64": "amd64"}


@dataclass(frozen=True, slots=True)
class HostNeeds:
    """What the stack needs from the Docker host. `memory_mb` in MiB; `claim`: None if the state has none yet.

    `adopt`: the existing volume to adopt; "" to use the stack's own volume, which has the container's name.
    """

    name: str
    image: str
    memory_mb: int
    cpus: float
    port: int
    bind_address: str
    wal_mb: int
    claim: str | None
    data_path: str | None = None
    adopt: str = ""
    is_recorded: bool = False  # the state already has the data in this place


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is known about the Docker host. None: unknown from here."""

    api: tuple[int, ...]
    architecture: str
    memory_mb: int
    cpus: int
    can_limit_memory: bool
    root: str  # the directory for the data: Docker's data root, or the stack's `dataPath`
    free_mb: int | None
    root_missing: bool
    has_volume: bool
    has_image: bool
    image_architectures: tuple[str, ...]
    image_problem: str
    port_holder: str
    has_address: bool
    other_users: tuple[str, ...]
    container: Mapping[str, str] | None  # the labels of the container with the stack's name
    network: Network | None
    adopted_exists: bool = True
    adopted_users: tuple[MountingContainer, ...] = ()  # containers that mount the volume to adopt, without ours
    misplaced_source: str | None = None  # see `_find_misplaced_volume`


def gather_facts(client: docker.DockerClient, endpoint: Endpoint, wanted: HostNeeds) -> HostFacts:
    """Ask the Docker Engine, and also this machine if the Docker Engine is local. Raises DockerFailed."""
    with docker_errors():
        info = client.info()
        version = client.version()
    here, architectures, problem = _find_image(client, wanted.image)
    root, free, missing = wanted.data_path or info["DockerRootDir"], None, False
    if (
        endpoint.is_local and Path(info["DockerRootDir"]).exists()
    ):  # else the Docker Engine's files are on another machine
        missing = wanted.data_path is not None and not Path(wanted.data_path).is_dir()
        with suppress(OSError):
            free = shutil.disk_usage(root).free // 2**20
    server = find_container(client, wanted.name)
    return HostFacts(
        api=tuple(int(part) for part in version["ApiVersion"].split(".")),
        architecture=ARCHITECTURES.get(info["Architecture"], info["Architecture"]),
        memory_mb=info["MemTotal"] // 2**20,
        cpus=info["NCPU"],
        can_limit_memory=bool(info.get("MemoryLimit")),
        root=root,
        free_mb=free,
        root_missing=missing,
        has_volume=volume_exists(client, wanted.name),
        has_image=here,
        image_architectures=architectures,
        image_problem=problem,
        port_holder=_find_port_holder(client, endpoint, wanted),
        has_address=not endpoint.is_local or try_to_bind(wanted.bind_address, 0) != errno.EADDRNOTAVAIL,
        other_users=tuple(
            container.name
            for container in list_volume_users(client, wanted.name)
            if not _is_ours(container.labels, wanted)
        ),
        container=None if server is None else server.labels,
        network=find_network(client, wanted.name),
        adopted_exists=not wanted.adopt or volume_exists(client, wanted.adopt),
        adopted_users=tuple(
            to_mounting_container(container)
            for container in (list_volume_users(client, wanted.adopt) if wanted.adopt else ())
            if not _is_ours(container.labels, wanted)
        ),
        misplaced_source=_find_misplaced_volume(client, wanted),
    )


def _find_misplaced_volume(client: docker.DockerClient, wanted: HostNeeds) -> str | None:
    """Return the directory of the stack's existing volume ("": Docker's own place) if it holds data elsewhere than the
    stack file says; None if the place is right, or the volume is empty or missing.
    """
    bound = None if wanted.adopt else relocation.find_bind_source(client, wanted.name)
    if bound is None or not relocation.find_misplacement(wanted.name, bound, wanted.data_path or "", wanted.image)[0]:
        return None
    place = relocation.DataPlace("", wanted.name, bound)
    return bound if relocation.holds_data(client, wanted.name, place, (wanted.image,)) else None


def report_foreign_container(name: str, labels: Mapping[str, str]) -> Finding:
    """Return the finding for a container that has the stack's name but is not the stack's."""
    by = " (another checkout did, or this one before its state was lost)" if labels.get(NAME_LABEL) == name else ""
    return Finding(
        "container", f"there is a container {name} that this stack did not create{by}",
        f"remove it (its volumes stay):  docker rm -f {name};  or choose another name (pgvector:containerName)",
    )  # fmt: skip


def report_foreign_network(name: str, users: Sequence[str]) -> Finding:
    """Return the finding for a network that has the stack's name but is not the stack's, or that others use."""
    used = f", used by {', '.join(users)}" if users else ""
    return Finding(
        "network", f"there is a network {name} that this stack did not create{used}",
        f"remove it:  docker network rm {name};  or choose another name (pgvector:containerName)",
    )  # fmt: skip


def _is_ours(labels: Mapping[str, str], wanted: HostNeeds) -> bool:
    """True if the claim label is the stack's. The name does not count: pgvector:containerName may have changed."""
    return bool(wanted.claim) and labels.get(CLAIM_LABEL) == wanted.claim


def _find_image(client: docker.DockerClient, image: str) -> tuple[bool, tuple[str, ...], str]:
    """Return (True if the Docker Engine has the image, its architectures, why the image can't be pulled or "")."""
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


def _find_port_holder(client: docker.DockerClient, endpoint: Endpoint, wanted: HostNeeds) -> str:
    """Return who listens on the port; "" if it is free or our own container listens."""
    with docker_errors():
        publishing = client.containers.list(filters={"publish": str(wanted.port)}, ignore_removed=True)
    for container in publishing:
        if _is_ours(container.labels, wanted):
            return ""
        bound = [each for bindings in container.ports.values() for each in bindings or []]
        if any(
            each["HostPort"] == str(wanted.port) and _addresses_conflict(each["HostIp"], wanted.bind_address)
            for each in bound
        ):
            return f"the container {container.name}"
    if not endpoint.is_local or try_to_bind(wanted.bind_address, wanted.port) in (0, errno.EADDRNOTAVAIL):
        return ""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (wanted.port,) and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "another process"


def _addresses_conflict(one: str, other: str) -> bool:
    """True if one port can't be published on both addresses."""
    return one == other or bool({"", "0.0.0.0", "::"} & {one, other})


def try_to_bind(address: str, port: int) -> int:
    """Return 0 if a socket could bind to the address, else the error number. Port 0: any port."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno or errno.EINVAL
    return 0


def _check_api(_: HostNeeds, facts: HostFacts) -> Finding:
    shown, least = (".".join(map(str, version)) for version in (facts.api, LEAST_API))
    remedy = "" if facts.api >= LEAST_API else f"install Docker 20.10 or newer (API {least})"
    return Finding("Docker", f"API {shown}", remedy)


def _check_image(wanted: HostNeeds, facts: HostFacts) -> Finding:
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
    return Finding("image", f"{wanted.image} {'is here' if facts.has_image else 'can be pulled'}")


def _check_image_age(wanted: HostNeeds, _: HostFacts) -> Finding:
    if image_names.is_frozen(wanted.image):
        return Finding(
            "image's age",
            f"{image_names.FROZEN} has had no updates since October 2023 (PostgreSQL 15.4, pgvector 0.5.1)",
            "its author moved to pgvector/pgvector: 0.8.6-pg15-bookworm runs on the same data", serious=False,
        )  # fmt: skip
    return Finding("image's age", "of a maintained lineage")


def _check_memory(wanted: HostNeeds, facts: HostFacts) -> Finding:
    found = f"{facts.memory_mb} MiB on the host, pgvector:memoryMb is {wanted.memory_mb}"
    if not facts.can_limit_memory:
        return Finding(
            "memory", f"the host can't limit memory (no memory cgroup); {found}",
            "boot the host with cgroup_enable=memory swapaccount=1",
        )  # fmt: skip
    return Finding("memory", found, "lower pgvector:memoryMb" if wanted.memory_mb > facts.memory_mb else "")


def _check_cpus(wanted: HostNeeds, facts: HostFacts) -> Finding:
    found = f"{facts.cpus} on the host, pgvector:cpus is {wanted.cpus:g}"
    return Finding("cpus", found, "lower pgvector:cpus" if wanted.cpus > facts.cpus else "")


def _check_disk(wanted: HostNeeds, facts: HostFacts) -> Finding:
    if facts.root_missing:
        return Finding(
            "disk", f"pgvector:dataPath is {facts.root}, and there is no such directory on the Docker host",
            f"create it, only for the image's postgres:  sudo install -d -o 999 -g 999 -m 700 {facts.root}",
        )  # fmt: skip
    if facts.free_mb is None:
        return Finding("disk", f"can't be seen from here ({facts.root} on the Docker host)")
    # an existing volume's WAL is on the disk already; and a full disk must not prevent the `up` that fixes it
    needed = LEAST_FREE_MB + (0 if facts.has_volume else wanted.wal_mb)
    found = f"{facts.free_mb} MB free in {facts.root}, needed {needed}"
    remedy = "" if facts.free_mb >= needed else "free some:  df -h;  docker system df;  docker image prune"
    return Finding("disk", found, remedy, serious=not facts.has_volume)


def _check_port(wanted: HostNeeds, facts: HostFacts) -> Finding:
    if not facts.has_address:
        return Finding(
            "port", f"pgvector:bindAddress is {wanted.bind_address}, which is not an address of the Docker host",
            "choose one of its addresses:  ip address;  127.0.0.1 is only this machine, 0.0.0.0 every network",
        )  # fmt: skip
    if facts.port_holder:
        return Finding(
            "port", f"{wanted.bind_address}:{wanted.port} is taken by {facts.port_holder}",
            "stop it, or choose another port (pgvector:port)",
        )  # fmt: skip
    return Finding("port", f"{wanted.bind_address}:{wanted.port} is free or ours")


def _check_volume(wanted: HostNeeds, facts: HostFacts) -> Finding:
    if wanted.adopt:
        return _check_adopted_volume(wanted, facts)
    if facts.other_users:
        names = ", ".join(facts.other_users)
        return Finding(
            "volume", f"{wanted.name} is used by another container: {names} (two servers on one volume lose data)",
            f"remove it if you no longer need it (its volumes stay):  docker rm -f {' '.join(facts.other_users)};  "
            "or choose another name (pgvector:containerName)",
        )  # fmt: skip
    wrong, remedy = relocation.find_misplacement(
        wanted.name, facts.misplaced_source, wanted.data_path or "", wanted.image
    )
    if wrong:
        return Finding("volume", wrong, remedy, serious=not wanted.is_recorded)
    return Finding("volume", f"{wanted.name} is free or ours")


def _check_adopted_volume(wanted: HostNeeds, facts: HostFacts) -> Finding:
    if not facts.adopted_exists:
        return Finding(
            "volume", f"there is no volume {wanted.adopt} to adopt",
            "see them:  docker volume ls   (Compose puts its project's name in front: PROJECT_NAME);  "
            "correct pgvector:adoptVolume",
        )  # fmt: skip
    wrong, remedy = find_use_problem(wanted.adopt, facts.adopted_users)
    return Finding("volume", wrong or f"{wanted.adopt} is free or ours", remedy)


def _check_container(wanted: HostNeeds, facts: HostFacts) -> Finding:
    ours = facts.container is None or _is_ours(facts.container, wanted)
    if ours or wanted.name in facts.other_users:  # then the finding for the volume names the container
        return Finding("container", f"{wanted.name} is free or ours")
    return report_foreign_container(wanted.name, facts.container or {})


def _check_network(wanted: HostNeeds, facts: HostFacts) -> Finding:
    if facts.network is None or facts.network.is_removable(wanted.name, wanted.claim):
        return Finding("network", f"{wanted.name} is free or ours")
    return report_foreign_network(wanted.name, facts.network.users)


CHECKS: tuple[Callable[[HostNeeds, HostFacts], Finding], ...] = (
    _check_api, _check_image, _check_image_age, _check_memory, _check_cpus, _check_disk, _check_port, _check_volume,
    _check_container, _check_network,
)  # fmt: skip


def run_checks(wanted: HostNeeds, facts: HostFacts) -> list[Finding]:
    """Run every check, in the order of CHECKS. Pure."""
    return [check(wanted, facts) for check in CHECKS]

"""The floor of the Docker figures: a plain Pulumi program with the same four Docker resources and one that is empty.

No code of ours runs in it, and it doesn't wait for the server: what it takes is Pulumi and its Docker plugin. The
provider's process imports this file too, so pulumi_docker is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi.automation as auto
from pulumi.dynamic import CreateResult, Resource, ResourceProvider

PROJECT = """\
name: bench
runtime: python
options:
  refresh: always
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """The container: as ours, but for what only ours has (a data directory made before, a lock, a claim)."""

    name: str
    image: str
    port: int
    data: str
    command: tuple[str, ...]
    tmpfs: dict[str, str]
    memory_mb: int
    cpus: str
    shm_mb: int
    open_files: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class EmptyProvider(ResourceProvider):
    """Does nothing."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("empty", props)


class Empty(Resource, module="bench", name="Empty"):
    """Waits for the container's resource, as the SQL resource does."""

    def __init__(self, name: str, container: pulumi.Output[str]) -> None:
        super().__init__(EmptyProvider(), name, {"container": container})


def program(shape: Shape) -> Callable[[], None]:
    def declare() -> None:
        import pulumi_docker as docker

        image = docker.RemoteImage("image", name=shape.image, keep_locally=True)
        volume = docker.Volume("volume", name=shape.name, driver="local")
        network = docker.Network("network", name=shape.name)
        container = docker.Container(
            "server",
            name=shape.name,
            image=image.image_id,
            command=list(shape.command),
            envs=["POSTGRES_PASSWORD=bench"],
            user="postgres",
            read_only=True,
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges"],
            mounts=[docker.ContainerMountArgs(type="volume", source=volume.name, target=shape.data)],
            tmpfs=shape.tmpfs,
            memory=shape.memory_mb,
            memory_swap=shape.memory_mb,
            cpus=shape.cpus,
            shm_size=shape.shm_mb,
            ulimits=[docker.ContainerUlimitArgs(name="nofile", soft=shape.open_files, hard=shape.open_files)],
            ports=[docker.ContainerPortArgs(internal=5432, external=shape.port, ip="127.0.0.1")],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=["db"])],
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=["CMD", "pg_isready", "-q", "-h", "127.0.0.1"],
                interval="10s", timeout="5s", retries=6, start_period="30s",
            ),
            log_driver="json-file",
            log_opts={"max-size": "20m", "max-file": "5"},
            labels=[docker.ContainerLabelArgs(label="bench", value=shape.name)],
            restart="unless-stopped",
            stop_signal="SIGINT",
            stop_timeout=60,
            destroy_grace_seconds=60,
            must_run=True,
            wait=False,
        )  # fmt: skip
        empty = Empty("empty", container.id)
        pulumi.export("container", empty.id)

    return declare


def stack(folder: Path, shape: Shape) -> auto.Stack:
    """In a folder with a Pulumi.yaml; backend and passphrase come from the environment."""
    options = auto.LocalWorkspaceOptions(work_dir=str(folder))
    return auto.create_or_select_stack("dev", project_name="bench", program=program(shape), opts=options)

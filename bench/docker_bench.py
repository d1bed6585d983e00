"""What the Docker figures share: an engine of this machine, the image, the plugin, names of their own, a clean end.

Docker objects are named pgstack-bench-… and removed by name, even after a failure.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import requests
from docker.errors import DockerException, NotFound

from bench.figures import NotMeasured
from pgvector_stacks.automation.toolchain import Toolchain, ToolchainError, find_or_get
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.image_names import parse_major
from pgvector_stacks.config.environment import from_config
from pgvector_stacks.docker import docker_host
from pgvector_stacks.docker.docker_host import NAME_LABEL
from tests.docker_plugin import install
from tests.images import build

COUNTER = itertools.count(1)
PREFIX = "pgstack-bench"
ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker Engine on this machine, and the image that the environments name."""

    client: docker.DockerClient
    image: str
    stand_in: bool

    @property
    def major(self) -> int:
        return parse_major(self.image) or 0

    @property
    def old_data(self) -> str:
        """Where the image itself has its data, and so its volume when it is run by hand."""
        return "/var/lib/postgresql/data" if self.major < 18 else "/var/lib/postgresql"

    def facts(self) -> str:
        version = self.client.version()
        return (
            f"Docker {version['Version']} (API {version['ApiVersion']}), {self.image}"
            f"{', stand-in of tests/images' if self.stand_in else ''}"
        )


@contextmanager
def engine() -> Iterator[Engine]:
    """Raises NotMeasured where none answers or the image can't be had."""
    why = build.why_no_engine()
    if why is not None:
        raise NotMeasured(why)
    image = from_config("dev", {}).image
    try:
        where = docker_host.choose_endpoint(None, None, os.environ)
        if not where.is_local:
            raise NotMeasured(f"{where.url} is another machine's Docker Engine: ports and times would be the network's")
        build.ensure(image)
        client = docker_host.connect(where.url, where.chosen_by)
    except PgstackError as error:
        raise NotMeasured(str(error)) from None
    except build.CannotBuild as error:
        raise NotMeasured(f"{error}; or:  docker pull {image}") from None
    except subprocess.CalledProcessError as error:
        raise NotMeasured(f"the image can't be built: {error.stderr or error}") from None
    try:
        found = client.images.get(image)
        yield Engine(client, image, build.LABEL in (found.labels or {}))
    finally:
        client.close()


@dataclass(frozen=True, slots=True)
class Pulumi:
    """The command line, and a PULUMI_HOME of the bench's own with the pulumi-docker plugin. `note`: which one it is."""

    toolchain: Toolchain
    home: Path
    note: str

    @property
    def variables(self) -> dict[str, str]:
        return {"PULUMI_HOME": str(self.home)}


def pulumi(home: Path) -> Pulumi:
    """Raises NotMeasured."""
    try:
        toolchain = find_or_get(lambda _: None)
    except ToolchainError as error:
        raise NotMeasured(str(error)) from None
    plugin = install.ensure(home, pulumi=toolchain.pulumi)
    folder = plugin.path.parent
    if plugin.kind == "real" and folder.name.startswith("resource-"):  # in the user's own home
        (home / "plugins").mkdir(parents=True, exist_ok=True)
        (home / "plugins" / folder.name).symlink_to(folder)
    return Pulumi(toolchain, home, plugin.note)


def new_name() -> str:
    """No name is a part of another one: Docker finds names by a part of them."""
    return f"{PREFIX}-{os.getpid()}-{next(COUNTER):03}"


@contextmanager
def removed(client: docker.DockerClient, *, network: bool = False) -> Iterator[str]:
    """A new name; what is called so, or labelled with it, is gone afterwards. With a network of that name on request.

    Not the default one: a second engine on the machine, started with another bridge, takes docker0 away. Raises
    NotMeasured where the engine makes no network.
    """
    name = new_name()
    try:
        if network:
            try:
                client.networks.create(name)
            except DockerException as error:
                raise NotMeasured(str(error)) from None
        yield name
    finally:
        remove(client, name)


def remove(client: docker.DockerClient, name: str) -> None:
    """Tried again for a while: the engine may be busy with it. What stays is said."""
    labelled = {"label": f"{NAME_LABEL}={name}"}
    for attempt in range(ATTEMPTS):
        try:
            containers = client.containers.list(all=True, filters=labelled, ignore_removed=True)
            with suppress(NotFound):
                containers.append(client.containers.get(name))
            for container in containers:
                with suppress(NotFound):  # it may be there twice
                    container.remove(force=True, v=True)
            with suppress(NotFound):
                client.volumes.get(name).remove()
            with suppress(NotFound):
                client.networks.get(name).remove()
        except (DockerException, requests.RequestException) as error:
            if attempt == ATTEMPTS - 1:
                print(f"{name} could not be removed: {error}", file=sys.stderr)
            time.sleep(attempt / 4)
        else:
            return


def free_port() -> int:
    """Below those that the system gives to outgoing connections: one of them may take a port before it is used."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port

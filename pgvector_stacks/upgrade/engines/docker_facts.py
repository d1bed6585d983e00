"""Collects the facts that an upgrade needs about images, containers and the volume: see facts.py."""

from __future__ import annotations

import re

import docker
from docker.models.containers import Container

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.docker.docker_host import open_throw_away, run_to_end
from pgvector_stacks.toolbox.docker_toolbox import NO_STRAY, USER, DockerToolbox, read_output
from pgvector_stacks.toolbox.interface import ProgramResult
from pgvector_stacks.upgrade.facts import Disk, TargetVersion


def measure_disk(server: Container) -> Disk:
    """Measure the volume in the running container: free space, and whether reflink copies work. Raises ServerError."""
    script = f"""
        if trial=$(mktemp -d {VOLUME}/.reflink-XXXXXX) && echo 1 >"$trial/one" &&
            cp --reflink=always "$trial/one" "$trial/other"; then echo yes; else echo no; fi
        rm -rf "$trial"
        df -B1 --output=avail {VOLUME} | tail -n 1
    """
    said = read_output(server, ["sh", "-ec", script], USER)
    found = re.fullmatch(rb"(yes|no)\s+(\d+)\s*", said)
    if found is None:
        raise ServerError(f"the free space of {VOLUME} can't be read: {said.decode(errors='replace').strip()[-300:]}")
    return Disk(int(found[2]), found[1] == b"yes")


def read_target_of_image(client: docker.DockerClient, name: str, image: str, major: int) -> TargetVersion:
    """Read version and extensions from a local image, without starting a server. Raises ServerError."""
    command = ["sh", "-c", _target_script(major)]
    with open_throw_away(client, name, image, command, user=USER, tmpfs=NO_STRAY) as made:
        done = run_to_end(made, timeout_s=60, lines=2000)
    return _parse_target(ProgramResult(done.code, done.output), image, major)


def read_target(made: DockerToolbox, major: int) -> TargetVersion:
    """Read version and extensions from the toolbox's own image. Raises ServerError."""
    return _parse_target(made.sh(_target_script(major)), made.container.attrs["Config"]["Image"], major)


def _target_script(major: int) -> str:
    return (
        f"/usr/lib/postgresql/{major}/bin/postgres --version;"
        f" grep -H '^default_version' /usr/share/postgresql/{major}/extension/*.control;"
        " getconf GNU_LIBC_VERSION || true"
    )


def _parse_target(done: ProgramResult, image: str, major: int) -> TargetVersion:
    if done.code != 0:
        raise ServerError(
            f"the image {image} has no PostgreSQL {major} where Debian's packages have it\n{done.tail(3)}"
        )
    version = re.search(r"PostgreSQL\) \d+\.(\d+)", done.output)
    found = re.findall(r"([^/\s]+)\.control:\s*default_version\s*=\s*'([^']*)'", done.output)
    libc = re.search(r"^glibc (\S+)", done.output, re.MULTILINE)
    return TargetVersion(major, int(version[1]) if version else None, dict(found), libc[1] if libc else None)

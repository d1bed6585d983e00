"""Refuses a changed key of the stack file that would start the server in a new place, without the stack's data.

Invariant: while the old place holds data, the server starts nowhere else. This module moves no data; its refusals list
the steps for the user. It runs in each preview, and before an `up` touches anything.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import NotFound

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.docker import data_volume
from pgvector_stacks.docker.docker_host import (
    CLAIM_LABEL,
    DockerFailed,
    connect,
    docker_errors,
    has_image,
    volume_exists,
)

RETAINED = "(unless pgvector:volume is retain: first set it to retain, and `up` with the other keys as they were)"


@dataclass(frozen=True, slots=True)
class DataPlace:
    """The place of a stack's data. `path`: the host directory that the volume is bound to; "": Docker's own place."""

    engine: str
    volume: str
    path: str = ""
    adopted: bool = False

    def has_same_files(self, other: DataPlace) -> bool:
        """True if both places hold the same files, provided that the Docker Engine is the same."""
        if self.path or other.path:
            return _normal(self.path) == _normal(other.path)
        return self.volume == other.volume

    @property
    def description(self) -> str:
        return f"in the directory {self.path}" if self.path else f"in the volume {self.volume}"


def _normal(path: str) -> str:
    return posixpath.normpath(path) if path else ""


def explain_engine_refusal(was: str, wanted: str) -> str:
    """Return why a stack with data of the engine `was` ("docker", "embedded") can't switch to the engine `wanted`."""
    return (
        f"pgvector:engine: this stack's data is with the {was} engine; with {wanted} the server would start empty\n"
        f"  go on as it is:  pgvector:engine: {was}\n"
        "  or move it. While that engine is still the stack's:  pgstack backup create STACK;  pgstack down STACK\n"
        f"    {RETAINED}; before it, keep what `pgstack backup key STACK` prints as pgvector:backupKey\n"
        f"  then with {wanted}:  pgstack up STACK;  pgstack backup restore STACK"
    )


def explain_refusal(was: DataPlace, wanted: DataPlace, image: str, *, other_engine: bool) -> str:
    """Return why the server may not start at `wanted` while its data is at `was`, and the remedies; "" if it may."""
    if other_engine:
        return (
            f"this stack's data is {was.description} on the Docker engine {was.engine}; on {wanted.engine} the server "
            "would start empty\n"
            f"  go on there:  pgvector:dockerHost: {was.engine}\n"
            "  or move it. While that engine is still the stack's:  pgstack backup create STACK;  pgstack down STACK\n"
            f"    {RETAINED}; before it, keep what `pgstack backup key STACK` prints as pgvector:backupKey\n"
            "  then on the other one:  pgstack up STACK;  pgstack backup restore STACK"
        )
    if was.has_same_files(wanted):
        return ""
    if was.adopted or wanted.adopted:
        return _explain_adoption(was, wanted)
    if was.path or wanted.path:
        return (
            f"pgvector:dataPath: this stack's data is {was.description}; {wanted.description} the server would start "
            "empty\n"
            f"  leave it there:  {f'pgvector:dataPath: {was.path}' if was.path else 'take pgvector:dataPath out'}\n"
            f"  or move it:  pgstack down STACK   {RETAINED}\n{_copy_steps(was, wanted, image)}"
        )
    return (
        f"this stack's data is {was.description}, as pgvector:containerName or the stack's name was; "
        f"{wanted.description} the server would start empty\n"
        f"  keep the name:  pgvector:containerName: {was.volume}\n"
        f"  or take the volume along:  pgvector:adoptVolume: {was.volume}   (and pgvector:volume: retain or protect)\n"
        f"  or copy it:  pgstack down STACK   {RETAINED}\n{_copy_steps(was, wanted, image)}"
    )


def _explain_adoption(was: DataPlace, wanted: DataPlace) -> str:
    if was.adopted:
        return (
            f"this stack's data is in the volume {was.volume}, which it adopted; without it the server would start "
            "empty\n"
            f"  leave the key in the stack file:  pgvector:adoptVolume: {was.volume}"
        )
    return (
        f"this stack has data of its own, {was.description}: adopting {wanted.volume} would leave it behind\n"
        "  adopt in a stack without data, or take this one down first (its volume stays):  pgstack down STACK\n"
        f"    {RETAINED}"
    )


def _copy_steps(was: DataPlace, wanted: DataPlace, image: str) -> str:
    """Return the steps between `down` and `up`. A volume can't change its directory, so it is removed and recreated."""
    source, target = shlex.quote(was.path or was.volume), shlex.quote(wanted.path or wanted.volume)
    copy = f"docker run --rm --user root --entrypoint cp -v {source}:/from:ro -v {target}:/to {image} -a /from/. /to"
    steps = [copy]
    if was.volume == wanted.volume and was.path:
        steps = [f"docker volume rm {was.volume}   (the files in {was.path} stay)", copy]
    elif was.volume == wanted.volume:
        steps = [f"{copy} && docker volume rm {was.volume}"]
    return "".join(f"    {step}\n" for step in steps) + "    pgstack up STACK"


def refuse_relocation(
    client: docker.DockerClient,
    name: str,
    was: DataPlace,
    wanted: DataPlace,
    claim: str | None,
    images: tuple[str, ...],
) -> None:
    """Raise ServerError if the server would start without its data.

    `client`: for the Docker Engine of `wanted`; `name`: the container's name until now; `images`: images that can
    inspect a volume.
    """
    if was.engine == wanted.engine and was.has_same_files(wanted):
        return
    former, other = client, False
    if was.engine != wanted.engine:
        try:
            former = connect(was.engine)
            other = _engine_id(former) != _engine_id(client)
        except DockerFailed as error:
            # the Docker Engine may have another URL now; then it has this state's containers
            if not _has_container_of(client, claim):
                raise ServerError(f"{explain_refusal(was, wanted, images[0], other_engine=True)}\n  {error}") from None
            former = client
    why = explain_refusal(was, wanted, images[0], other_engine=other)
    if why and holds_data(former, name, was, images):
        raise ServerError(why)


def _engine_id(client: docker.DockerClient) -> str:
    with docker_errors():
        return str(client.info()["ID"])


def _has_container_of(client: docker.DockerClient, claim: str | None) -> bool:
    """True if the Docker Engine has a container of this state."""
    with docker_errors():
        return bool(
            claim and client.containers.list(all=True, ignore_removed=True, filters={"label": f"{CLAIM_LABEL}={claim}"})
        )


def holds_data(client: docker.DockerClient, name: str, place: DataPlace, images: tuple[str, ...]) -> bool:
    """True if the place holds a data directory, and also if the place can't be inspected."""
    there = volume_exists(client, place.volume)
    if not there and not place.path:
        return False
    image = next((each for each in images if has_image(client, each)), None)
    if image is None:
        return True
    try:
        found = data_volume.inspect_volume(client, name, image, place.volume if there else place.path)
    except (ServerError, DockerFailed):
        return True
    return bool(found.directories)


def find_bind_source(client: docker.DockerClient, volume: str) -> str | None:
    """Return the directory that a volume is bound to, "" for Docker's own place; None if there is no such volume."""
    with docker_errors():
        try:
            options: Mapping[str, Any] = client.volumes.get(volume).attrs.get("Options") or {}
        except NotFound:
            return None
    return str(options.get("device", ""))


def find_misplacement(volume: str, bound: str | None, path: str, image: str) -> tuple[str, str]:
    """Return (problem, remedy) if an existing volume is not bound to `path` (`dataPath`), else ("", "").

    Docker would reuse the existing volume without a warning.
    """
    if bound is None or _normal(bound) == _normal(path):
        return "", ""
    was, wanted = DataPlace("", volume, bound), DataPlace("", volume, path)
    return (
        f"{volume} has its data {f'in {bound}' if bound else 'where Docker keeps volumes'}, "
        f"pgvector:dataPath is {path or 'not set'}",
        f"leave it there:  {f'pgvector:dataPath: {bound}' if bound else 'take pgvector:dataPath out'}\n"
        f"  or move it, while no server runs on it:\n{_copy_steps(was, wanted, image)}",
    )

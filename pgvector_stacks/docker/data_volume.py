"""Inspects, creates and deletes the data directory in a Docker volume, and tries a server on an empty directory.

Each step runs in a throw-away container of the server's own image, so that ownership, paths and libraries are right.
The container's user is postgres; it is root for files that the server may read but not write. A killed step leaves
nothing that looks finished. Only `delete_data` deletes a finished data directory.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import docker
from docker.models.containers import Container
from docker.types import Mount

from pgvector_stacks.common import queries, shell
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.connections import server_authentication, single_user_mode
from pgvector_stacks.docker import container_command
from pgvector_stacks.docker.container_spec import LOCK_HELD_CODE, PORT, SOCKETS, TMPFS, ContainerSpec
from pgvector_stacks.docker.docker_host import (
    ROOT,
    ContainerResult,
    DockerFailed,
    docker_errors,
    open_throw_away,
    put_files,
    read_log,
    run_to_end,
)
from pgvector_stacks.docker.exit_diagnosis import ContainerState, diagnose
from pgvector_stacks.embedded.embedded_server import ADMIN
from pgvector_stacks.inspection.validation import version_tuple

USER = "postgres"
OLD_PLACES = (".", "data", "pgdata")
TRIAL = "/tmp/pgstack-trial"
INSPECTION_MOUNT = "/pgstack-volume"
TRIAL_TIMEOUT_S = 120.0
POLL_S = 0.25
PASSWORD_FILE = "pgstack-password"  # noqa: S105
FILE_PREFIX = "pgstack-file-"


@dataclass(frozen=True, slots=True)
class VolumeContent:
    """The data directories of a volume: major version by path in the volume."""

    directories: Mapping[str, int]

    def refusal(self, major: int, volume: str) -> str:
        """Return why a server of `major` may not start on this volume, and what to do; "" if it may."""
        place = f"{major}/docker"
        if any(found.endswith("/adopting") for found in self.directories):
            return (
                f"volume {volume} is half adopted: a move was interrupted\n"
                f"  let the stack that adopts it undo it and go on (pgvector:adoptVolume: {volume}):  pgstack up STACK"
            )
        if place in self.directories:
            inside = self.directories[place]
            if inside != major:
                return (
                    f"volume {volume}: {place} holds data of PostgreSQL {inside}\n"
                    f"  use an image of PostgreSQL {inside} (pgvector:image)"
                )
            return ""
        if not self.directories:
            return ""
        other, inside = next(iter(self.directories.items()))
        if other in OLD_PLACES:
            return (
                f"volume {volume} holds data of PostgreSQL {inside} in the layout of the old images (in its "
                f"{'root' if other == '.' else f'folder {other}'}); the server would start empty beside it\n"
                f"  go on with it:  pgvector:adoptVolume: {volume}\n"
                "  or keep it:  pgvector:containerName of another name makes a volume of its own"
            )
        return (
            f"volume {volume} holds data of PostgreSQL {inside}, the image is PostgreSQL {major}: "
            "the server would start empty beside it\n"
            f"  use an image of PostgreSQL {inside} (pgvector:image), `up`, then change it to PostgreSQL {major}"
        )


def inspect_volume(client: docker.DockerClient, name: str, image: str, volume: str) -> VolumeContent:
    """Find the data directories of an existing volume, or of a directory on the Docker host.

    Raises DockerFailed, ServerError.
    """
    # mounted at LOOKED_AT: at the usual path, images up to 17 hide the folder `data` under an anonymous volume
    with _open_step(client, name, image, volume, "inspect", at=INSPECTION_MOUNT, read_only=True) as container:
        done = run_to_end(container, timeout_s=60)
    if done.code != 0 or "unreadable" in done.output:
        raise ServerError(
            f"volume {volume} can't be read by the image's user postgres\n    {done.output.strip()[-300:]}\n"
            f"  chown it to the image's postgres (999 in Debian's images)"
        )
    rows = [line.split() for line in done.output.splitlines() if line.strip()]
    return VolumeContent({row[0]: int(float(row[1])) for row in rows if len(row) == 2})


def delete_data(client: docker.DockerClient, name: str, image: str, volume: str, path: str) -> tuple[str, ...]:
    """Delete what our servers left in a volume or directory. Return the names of other files there, which stay.

    `path`: the directory's name for messages. Raises DockerFailed; ServerError also if a server still uses the data.
    """
    for user in (USER, ROOT):  # root deletes the files that the server's user can't write
        with _open_step(client, name, image, volume, "delete_data", at=INSPECTION_MOUNT, user=user) as container:
            done = run_to_end(container)
        if done.code != 0 or not any(line.startswith("left pgstack-") for line in done.output.splitlines()):
            break
    if done.code == LOCK_HELD_CODE:
        raise ServerError(
            f"a server still runs on the data in {path}: nothing was deleted\n"
            "  stop it, and try again:  docker ps"
        )  # fmt: skip
    if done.code != 0:
        raise ServerError(
            f"the files in {path} could not be deleted\n    {done.output.strip()[-300:]}\n"
            "  look at who owns them on the Docker host, and try again"
        )
    return tuple(line.removeprefix("left ") for line in done.output.splitlines() if line.startswith("left "))


def prepare_data(
    client: docker.DockerClient, spec: ContainerSpec, image: str, volume: str, password: str
) -> tuple[str, str]:
    """Write pg_hba.conf and the TLS files, then run initdb, or set the administrator's password in existing data.

    Return (system identifier, "initdb" or "found"). Raises ServerError with the cause.
    """
    install_files(client, spec, image, volume)
    environment = {"MAJOR": str(spec.major), "SETTINGS": " ".join(single_user_mode.OPTIONS)}
    with _open_step(client, spec.name, image, volume, "prepare", environment=environment, **spec.memory) as container:
        put_files(container, "/tmp", {PASSWORD_FILE: single_user_mode.compute_verifier(ADMIN, password)})
        done = run_to_end(container)
    said = [line for line in done.output.splitlines() if line.startswith("identifier ")]  # the rest is the server's log
    if done.code != 0 or not said:
        raise ServerError(explain_failed_step("making the data directory", spec, volume, done))
    _, identifier, _, by = said[-1].split()
    return identifier, by


def _files_to_install(spec: ContainerSpec) -> dict[str, str]:
    """Return the server's files under the names that shell/install.sh expects."""
    return {f"{FILE_PREFIX}{name}": text for name, text in spec.files.items()}


def install_files(client: docker.DockerClient, spec: ContainerSpec, image: str, volume: str) -> None:
    """Write pg_hba.conf and the TLS files to the paths in the server's command line. Raises ServerError."""
    for user in (ROOT, USER):  # if root can't, the server's user owns the files
        environment = {"FOLDER": spec.files_folder}
        with _open_step(client, spec.name, image, volume, "install", environment=environment, user=user) as container:
            put_files(container, "/tmp", _files_to_install(spec))
            done = run_to_end(container)
        if done.code == 0:
            break
    else:
        raise ServerError(explain_failed_step("writing pg_hba.conf and the TLS files", spec, volume, done))


def try_server(client: docker.DockerClient, spec: ContainerSpec, image: str, volume: str, pgvector_minimum: str) -> str:
    """Start a server with these settings, limits and image on an empty directory, and check its pgvector version.

    The volume, mounted read-only, provides pg_hba.conf and the TLS files. Return the server's version. Raises
    ServerError with the diagnosis. The running server is not touched.
    """
    password = secrets.token_urlsafe(24)
    command = ["sh", "-ec", shell.get("trial"), "trial", *spec.arguments]
    with open_throw_away(
        client, spec.name, image, command, user=USER, environment={"TRIAL": TRIAL}, tmpfs={SOCKETS: TMPFS[SOCKETS]},
        mounts=[Mount(VOLUME, volume, type="volume", read_only=True)], has_end_mark=False, **spec.limits(),
    ) as container:  # fmt: skip
        put_files(container, "/tmp", {PASSWORD_FILE: password})
        with docker_errors():
            container.start()
        deadline = time.monotonic() + TRIAL_TIMEOUT_S
        while True:
            state = read_state(container, spec.memory_mb, volume)
            if state.status == "running" and _is_ready(container):
                break
            if state.status != "running" or time.monotonic() > deadline:
                said = diagnose(state, "the server with the new image, settings or limits")
                raise ServerError(f"tried in a throw-away container, before anything was changed: {said}")
            time.sleep(POLL_S)
        return _check_versions(container, password, pgvector_minimum)


def _is_ready(container: Container) -> bool:
    """True if the server accepts connections. False also if the container has ended; the caller checks its state."""
    try:
        done = container_command.run(container, ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(PORT)])
    except DockerFailed:
        return False
    return done.code == 0


def _check_versions(container: Container, password: str, pgvector_minimum: str) -> str:
    """Return the trial server's version. Raises ServerError if the image has no pgvector, or one that is too old."""
    done = container_command.run(
        container,
        ["psql", "-XAt", "-F", " ", "-h", "127.0.0.1", "-U", "postgres", "-c", queries.get("server_and_vector")],
        environment={"PGPASSWORD": password} | server_authentication.build_environment(""),
    )
    words = done.text.split()
    if done.code != 0 or not words:
        raise ServerError(f"the trial server does not answer: {' '.join(words)[-300:]}")
    if len(words) == 1:
        raise ServerError(
            "the image has no extension vector\n  use pgvector/pgvector, or an image with pgvector (pgvector:image)"
        )
    if version_tuple(words[1]) < version_tuple(pgvector_minimum):
        raise ServerError(
            f"the image has pgvector {words[1]}, this environment demands {pgvector_minimum} "
            "(pgvector:pgvectorMinimum)\n  use a newer image (pgvector:image)"
        )
    return str(words[0])


@contextmanager
def _open_step(
    client: docker.DockerClient, name: str, image: str, volume: str, *scripts: str,
    at: str = VOLUME, read_only: bool = False, environment: Mapping[str, str] | None = None, user: str = USER,
    **limits: Any,
) -> Iterator[Container]:  # fmt: skip
    """Create a throw-away container that will run `scripts` of `common/shell/` on the volume, mounted at `at`."""
    with open_throw_away(
        client, name, image, ["sh", "-ec", "\n".join(map(shell.get, scripts))], user=user,
        environment={"VOLUME": at, **(environment or {})}, **limits,
        mounts=[Mount(at, volume, type="bind" if volume.startswith("/") else "volume", read_only=read_only)],
    ) as container:  # fmt: skip
        yield container


def explain_failed_step(step: str, spec: ContainerSpec, volume: str, done: ContainerResult) -> str:
    """Return the diagnosis of a step that failed in a throw-away container."""
    state = ContainerState(
        name=spec.name, status="exited", exit_code=done.code, oom_killed=False, error="", health="", log=done.output,
        volume=volume, memory_mb=spec.memory_mb,
    )  # fmt: skip
    return f"{step} failed: {diagnose(state, 'a throw-away container')}"


def read_state(container: Container, memory_mb: int, volume: str, port: int = 0) -> ContainerState:
    """Ask Docker for a container's current state and the end of its log."""
    with docker_errors():
        container.reload()
        found: dict[str, Any] = container.attrs["State"]
        return ContainerState(
            name=container.name,
            status=str(found.get("Status", "")),
            exit_code=int(found.get("ExitCode", 0)),
            oom_killed=bool(found.get("OOMKilled")),
            error=str(found.get("Error", "")),
            health=str((found.get("Health") or {}).get("Status", "")),
            log=read_log(container, lines=40),
            volume=volume,
            memory_mb=memory_mb,
            port=port,
            restarts=int(container.attrs.get("RestartCount", 0)),
        )

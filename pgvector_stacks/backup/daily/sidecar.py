"""The container of scheduled backups, beside the server's: its settings, and the steps that pulumi-docker can't do.

The container runs the server's image, so it has the same PostgreSQL programs as the server. It reads its scripts and
its password from a small volume of its own. It writes into the folder of the stack's backups on this machine, as that
folder's owner. Its database role may only read (inspection/backup_role.py). The password is in no environment variable,
no argument and no log. The folder of its scripts is named after their content, so changed scripts replace the
container.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.types import Mount

from pgvector_stacks.backup import shared_files
from pgvector_stacks.backup.daily.schedule import Schedule
from pgvector_stacks.common import queries, shell
from pgvector_stacks.common.errors import PgstackError, ServerError
from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.connections import server_authentication
from pgvector_stacks.docker.container_spec import OLD_MOUNT, PORT, TMPFS
from pgvector_stacks.docker.data_volume import FILE_PREFIX, PASSWORD_FILE, read_state
from pgvector_stacks.docker.docker_host import (
    ROOT_CAPABILITIES,
    Endpoint,
    docker_errors,
    find_container,
    open_throw_away,
    put_files,
    run_to_end,
)
from pgvector_stacks.docker.readiness import limit_processes
from pgvector_stacks.inspection.backup_role import ROLE
from pgvector_stacks.toolbox.interface import passfile_line

ROOT, ROOT_FILE = "root.crt", "pgstack-root.crt"  # in the volume, like the password; each run reads it again
KEY_FILE = "pgstack-backup-key"
MOUNT, BACKUPS = "/pgstack", "/backups"
MEMORY_MB, CPUS, PIDS, JOBS = 512, "1.0", 64, 2  # CPUS is written as the plugin reads it back
STOP_GRACE_S = 10
# Used instead of root. No account has this UID: systemd lists 65520 to 65533 as unused. It is below 65536, because a
# Docker Engine with user namespaces maps only those.
UNUSED_UID = 65521
START_S, POLL_S = 30.0, 0.2


def refuse_elsewhere(engine: Endpoint, stack: str) -> None:
    """Raise PgstackError if the Docker Engine can't write into a folder of this machine."""
    if not engine.is_local:
        raise PgstackError(
            f"pgvector:backup: the Docker Engine {engine.url} ({engine.chosen_by}) is elsewhere, and backups lie on "
            f"this machine\n  let cron run it here instead:  pgstack backup create {stack}   (docs/backup.md)"
        )


def container_name(server: str) -> str:
    """Return the name of the container and of its volume. `server`: the name of the server's container."""
    return f"{server}-backup"


def container_files() -> dict[str, str]:
    """Return the scripts and queries that the container runs, by file name."""
    return {
        "loop.sh": shell.get("next_run", "backup_loop"),
        "now.sh": shell.get("backup_now"),
        "once.sh": shell.get("backup_once"),
        "dump.sh": shell.get("dump"),
        "backup.pl": shell.read_text("backup.pl"),
        "cluster.sql": queries.get("backup_cluster"),
        "contents.sql": queries.get("backup_contents"),
    }


def scripts_folder() -> str:
    text = "\0".join(f"{name}\0{content}" for name, content in sorted(container_files().items()))
    return f"{MOUNT}/{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def container_environment(
    server: str, major: int, stack: str, database: str, schedule: Schedule, keep: int, *, sslmode: str = "",
    verified: bool = False,
) -> dict[str, str]:  # fmt: skip
    """Return the container's environment. `server`: host name; `major`: of its programs; `verified`: it has a ROOT."""
    path = f"/usr/lib/postgresql/{major}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {
        "BACKUPS": BACKUPS, "DATABASE": database, "HOME": "/tmp", "JOBS": str(JOBS), "KEEP": str(keep), "LC_ALL": "C",
        "PATH": path, "PGCONNECT_TIMEOUT": "10", "PGHOST": server, "PGPASSFILE": f"{MOUNT}/passfile",
        "PGPORT": str(PORT), "PGUSER": ROLE, "SECOND": str(schedule.second), "STACK": stack,
        **server_authentication.build_environment(sslmode, f"{MOUNT}/{ROOT}" if verified else ""),
    }  # fmt: skip


def tmpfs_mounts(major: int) -> dict[str, str]:
    """Return the writable mounts. The second one takes the place of the anonymous volume that the image declares."""
    return {"/tmp": TMPFS["/tmp"], (OLD_MOUNT if major < 18 else VOLUME): "rw,noexec,nosuid,nodev,size=64k"}


def find_owner(directory: Path) -> str:
    """Return UID:GID of the backups' folder, or our own if it doesn't exist yet. `UNUSED_UID` replaces root."""
    try:
        found = directory.stat()
        uid, gid = found.st_uid, found.st_gid
    except OSError:
        uid, gid = os.getuid(), os.getgid()
    return f"{uid}:{gid}" if uid else f"{UNUSED_UID}:{UNUSED_UID}"


def hand_over(directory: Path, owner: str) -> None:
    """Give a folder of root's, with its backups, to the container's user. `owner`: UID:GID. Raises OSError."""
    if os.geteuid() != 0 or directory.stat().st_uid != 0:
        return
    uid, gid = map(int, owner.split(":"))
    shared_files.change_owner(directory, uid, gid)


@dataclass(frozen=True, slots=True)
class Installation:
    """The parts of an installation. `directory`: the backups' folder on this machine; `owner`: UID:GID."""

    server: str
    image: str
    volume: str
    directory: str
    owner: str


def install(client: docker.DockerClient, wanted: Installation, password: str, key: str, certificate: str = "") -> None:
    """Put scripts, password and signing key into the volume, and check that the container can write to the folder.

    Raises ServerError.
    """
    environment = {"VOLUME": MOUNT, "FOLDER": scripts_folder(), "OWNER": wanted.owner, "BACKUPS": BACKUPS}
    mounts = [Mount(MOUNT, wanted.volume, type="volume"), Mount(BACKUPS, wanted.directory, type="bind")]
    # It has its own name, because an `up` removes throw-away containers that are named after the server's.
    stray = {place: "" for place in tmpfs_mounts(17) | tmpfs_mounts(18) if place != "/tmp"}
    with open_throw_away(
        client, container_name(wanted.server), wanted.image, ["sh", "-ec", shell.get("install", "backup_install")],
        user="root", cap_add=[*ROOT_CAPABILITIES, "SETUID", "SETGID"],
        environment=environment, mounts=mounts, tmpfs=stray,
    ) as container:  # fmt: skip
        given = {f"{FILE_PREFIX}{name}": text for name, text in container_files().items()}
        secret = {
            PASSWORD_FILE: passfile_line(password),
            KEY_FILE: key,
            ROOT_FILE: server_authentication.extract_roots(certificate),
        }
        put_files(container, "/tmp", given | secret)
        done = run_to_end(container)
    if done.code != 0:
        raise ServerError(
            f"scheduled backups (pgvector:backup) can't be written to {wanted.directory}\n"
            f"    {done.output.strip()[-500:]}\n"
            "  use another folder (pgvector:backupDirectory), or cron:  docs/backup.md"
        )


def restart(client: docker.DockerClient, server: str) -> None:
    """Restart an existing container, which still has the removed folder mounted. Raises DockerFailed."""
    container = find_container(client, container_name(server))
    if container is not None:
        with docker_errors():
            container.restart(timeout=STOP_GRACE_S)


def wait_until_ready(client: docker.DockerClient, container: str) -> None:
    """Wait until the container waits for its next run. Limit its processes, because the plugin has no field for that.

    Raises ServerError with the container's log if it ends, or isn't ready in time.
    """
    limit_processes(client, container, PIDS)
    deadline = time.monotonic() + START_S
    while True:
        state = read_state(client.containers.get(container), MEMORY_MB, "")
        if state.status == "running" and "next backup" in state.log:
            return
        if state.status != "running" or time.monotonic() > deadline:
            raise ServerError(
                f"{describe_problem(state.name, state.status, state.exit_code, state.log)}\n  {log_hint(state.name)}"
            )
        time.sleep(POLL_S)


def describe_problem(name: str, status: str, code: int, log: str) -> str:
    """Describe a container that should be waiting for its next run but isn't."""
    last = [f"    {line}" for line in log.strip().splitlines()[-5:]]
    return "\n".join([f"the container {name}, which makes the backups, is {status} (exit code {code})", *last])


def log_hint(name: str) -> str:
    return f"read its log:  docker logs {name}"

"""The container that makes backups by itself, beside the server's: what it is like, and what no plugin does for it.

It has the server's image, so its programs are the server's; it reads its scripts and its password from a small volume
of its own and writes into the folder of the stack's backups on this machine, as that folder's owner. Its role may only
read (inspection/backup_role.py). The password is in no environment, no argument and no log. Its scripts lie in a folder
named after their content: others make another container.
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
from pgvector_stacks.docker.data_volume import FILE_PREFIX, PASSWORD_FILE, state_of
from pgvector_stacks.docker.docker_host import OF_ROOT, Endpoint, docker_errors, finish, put, server_of, throw_away
from pgvector_stacks.docker.readiness import limit_processes
from pgvector_stacks.inspection.backup_role import ROLE
from pgvector_stacks.toolbox.interface import passfile_line

ROOT, ROOT_FILE = "root.crt", "pgstack-root.crt"  # in the volume, as the password: a new one is read at the next run
KEY_FILE = "pgstack-backup-key"
MOUNT, BACKUPS = "/pgstack", "/backups"
MEMORY_MB, CPUS, PIDS, JOBS = 512, "1.0", 64, 2  # cpus as the plugin reads them back
STOP_GRACE_S = 10
# Instead of root. No account's: systemd's list of uids has 65520 to 65533 as unused. Below 65536, which an engine with
# user namespaces maps.
UNUSED_UID = 65521
START_S, POLL_S = 30.0, 0.2


def refuse_elsewhere(engine: Endpoint, stack: str) -> None:
    """Raises PgstackError where the engine can't write into a folder of this machine."""
    if not engine.local:
        raise PgstackError(
            f"pgvector:backup: the Docker Engine {engine.url} ({engine.chosen_by}) is elsewhere, and backups lie on "
            f"this machine\n  let cron run it here instead:  pgstack backup create {stack}   (docs/backup.md)"
        )


def name_of(server: str) -> str:
    """Of the container and its volume; `server`: the name of the server's."""
    return f"{server}-backup"


def files() -> dict[str, str]:
    """What the container runs, by file name."""
    return {
        "loop.sh": shell.get("next_run", "backup_loop"),
        "now.sh": shell.get("backup_now"),
        "once.sh": shell.get("backup_once"),
        "dump.sh": shell.get("dump"),
        "backup.pl": shell.text_of("backup.pl"),
        "cluster.sql": queries.get("backup_cluster"),
        "contents.sql": queries.get("backup_contents"),
    }


def folder() -> str:
    text = "\0".join(f"{name}\0{content}" for name, content in sorted(files().items()))
    return f"{MOUNT}/{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def environment(
    server: str, major: int, stack: str, database: str, schedule: Schedule, keep: int, *, sslmode: str = "",
    verified: bool = False,
) -> dict[str, str]:  # fmt: skip
    """Of the container. `server`: its name on the network; `major`: of the programs; `verified`: there is a ROOT."""
    path = f"/usr/lib/postgresql/{major}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {
        "BACKUPS": BACKUPS, "DATABASE": database, "HOME": "/tmp", "JOBS": str(JOBS), "KEEP": str(keep), "LC_ALL": "C",
        "PATH": path, "PGCONNECT_TIMEOUT": "10", "PGHOST": server, "PGPASSFILE": f"{MOUNT}/passfile",
        "PGPORT": str(PORT), "PGUSER": ROLE, "SECOND": str(schedule.second), "STACK": stack,
        **server_authentication.variables(sslmode, f"{MOUNT}/{ROOT}" if verified else ""),
    }  # fmt: skip


def tmpfs(major: int) -> dict[str, str]:
    """Writable places; the second one keeps the image from adding a stray volume."""
    return {"/tmp": TMPFS["/tmp"], (OLD_MOUNT if major < 18 else VOLUME): "rw,noexec,nosuid,nodev,size=64k"}


def owner_of(directory: Path) -> str:
    """UID:GID of the folder of the backups; ours where it is still to be made. Never root: `UNUSED_UID` instead."""
    try:
        found = directory.stat()
        uid, gid = found.st_uid, found.st_gid
    except OSError:
        uid, gid = os.getuid(), os.getgid()
    return f"{uid}:{gid}" if uid else f"{UNUSED_UID}:{UNUSED_UID}"


def hand_over(directory: Path, owner: str) -> None:
    """Give root's folder, and the backups in it, to the container's user. Raises OSError. `owner`: UID:GID."""
    if os.geteuid() != 0 or directory.stat().st_uid != 0:
        return
    uid, gid = map(int, owner.split(":"))
    shared_files.give(directory, uid, gid)


@dataclass(frozen=True, slots=True)
class Installation:
    """`directory`: of the backups, on this machine; `owner`: UID:GID."""

    server: str
    image: str
    volume: str
    directory: str
    owner: str


def install(client: docker.DockerClient, wanted: Installation, password: str, key: str, certificate: str = "") -> None:
    """Put scripts, password and the key that signs into the volume, and see whether the folder can be written.

    Raises ServerError.
    """
    environment = {"VOLUME": MOUNT, "FOLDER": folder(), "OWNER": wanted.owner, "BACKUPS": BACKUPS}
    mounts = [Mount(MOUNT, wanted.volume, type="volume"), Mount(BACKUPS, wanted.directory, type="bind")]
    # under a name of its own: an `up` removes the throw-aways of the server's
    stray = {place: "" for place in tmpfs(17) | tmpfs(18) if place != "/tmp"}
    with throw_away(
        client, name_of(wanted.server), wanted.image, ["sh", "-ec", shell.get("install", "backup_install")],
        user="root", cap_add=[*OF_ROOT, "SETUID", "SETGID"],
        environment=environment, mounts=mounts, tmpfs=stray,
    ) as container:  # fmt: skip
        given = {f"{FILE_PREFIX}{name}": text for name, text in files().items()}
        secret = {
            PASSWORD_FILE: passfile_line(password),
            KEY_FILE: key,
            ROOT_FILE: server_authentication.root_of(certificate),
        }
        put(container, "/tmp", given | secret)
        done = finish(container)
    if done.code != 0:
        raise ServerError(
            f"scheduled backups (pgvector:backup) can't be written to {wanted.directory}\n"
            f"    {done.output.strip()[-500:]}\n"
            "  use another folder (pgvector:backupDirectory), or cron:  docs/backup.md"
        )


def start_anew(client: docker.DockerClient, server: str) -> None:
    """Where there is a container already: it still has the folder that was removed. Raises DockerFailed."""
    container = server_of(client, name_of(server))
    if container is not None:
        with docker_errors():
            container.restart(timeout=STOP_GRACE_S)


def settle(client: docker.DockerClient, container: str) -> None:
    """Wait until it waits for its time, and limit its processes, for which the plugin has no field.

    Raises ServerError with what it said where it ended.
    """
    limit_processes(client, container, PIDS)
    deadline = time.monotonic() + START_S
    while True:
        state = state_of(client.containers.get(container), MEMORY_MB, "")
        if state.status == "running" and "next backup" in state.log:
            return
        if state.status != "running" or time.monotonic() > deadline:
            raise ServerError(
                f"{problem(state.name, state.status, state.exit_code, state.log)}\n  {see_its_log(state.name)}"
            )
        time.sleep(POLL_S)


def problem(name: str, status: str, code: int, log: str) -> str:
    """What is wrong with a container that should wait for its time."""
    last = [f"    {line}" for line in log.strip().splitlines()[-5:]]
    return "\n".join([f"the container {name}, which makes the backups, is {status} (exit code {code})", *last])


def see_its_log(name: str) -> str:
    return f"read its log:  docker logs {name}"

"""Explains why a server in a container does not run: the cause, and the command that repairs it. Pure.

Each diagnosis is a row: symptoms in the log or in Docker's state of the container, the cause, the remedy. The first row
that matches wins, so the more certain rows come first. To add a diagnosis, add a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from pgvector_stacks.docker.container_spec import LOCK_HELD_CODE

LOG_LINES = 12
# After one crash, Docker's restart policy may repair the server; after a second one it isn't expected to.
MOST_RESTARTS = 2


@dataclass(frozen=True, slots=True)
class ContainerState:
    """Docker's state of a container, and the end of its log. `health`: "", starting, healthy or unhealthy."""

    name: str
    status: str
    exit_code: int
    oom_killed: bool
    error: str
    health: str
    log: str
    volume: str = ""
    memory_mb: int = 0
    port: int = 0
    restarts: int = 0

    @property
    def text(self) -> str:
        return f"{self.error}\n{self.log}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A row of DIAGNOSES. `cause` and `remedy` are format strings over the fields of `ContainerState`."""

    matches: Callable[[ContainerState], bool]
    cause: str
    remedy: str


def _log_matches(pattern: str) -> Callable[[ContainerState], bool]:
    found = re.compile(pattern)
    return lambda state: found.search(state.text) is not None


DIAGNOSES: tuple[Diagnosis, ...] = (
    Diagnosis(
        _log_matches(r"could not resize shared memory segment"),  # this error also says "No space left on device"
        "/dev/shm is too small for the settings",
        "raise pgvector:memoryMb, with which it grows;  what an index build needs:  pgstack plan-memory",
    ),
    Diagnosis(
        _log_matches(r"No space left on device|Disk quota exceeded"),
        "the disk is full",
        "see where:  docker system df -v;  free some space on the disk of volume {volume}, then `up` again",
    ),
    Diagnosis(
        _log_matches(r"address already in use|port is already allocated|Ports are not available"),
        "port {port} is taken on the Docker host",
        "see by whom:  ss -ltnp 'sport = :{port}'  or  docker ps --filter publish={port};  "
        "or choose another:  pgvector:port",
    ),
    Diagnosis(
        _log_matches(r"database files are incompatible with server|was initialized by PostgreSQL version"),
        "the data directory is of another major version than the image",
        "put the image of the data's own version back (pgvector:image)",
    ),
    Diagnosis(
        lambda state: state.exit_code == LOCK_HELD_CODE,
        "another server already serves the data directory in volume {volume}",
        "see which:  docker ps --all --filter volume={volume};  stop it, then `up` again",
    ),
    Diagnosis(
        _log_matches(
            r"unrecognized configuration parameter|invalid value for parameter|is outside the valid range"
            r"|requires a (Boolean|numeric) value|requires \"wal_level\" to be|must be less than \"?max_connections"
        ),
        "the server does not know or does not accept one of the settings",
        "correct it in the stack file (pgvector:settings)",
    ),
    Diagnosis(
        _log_matches(r"could not access file \"[^\"]+\": No such file"),
        "the image lacks a library that a setting names",
        "correct shared_preload_libraries in pgvector:settings, or use an image that has it (pgvector:image)",
    ),
    Diagnosis(
        _log_matches(
            r"could not load (server|private key)|could not access (certificate|private key)"
            r"|private key file .* has group or world access|key values mismatch"
        ),
        "the TLS certificate or its key can't be used",
        "check that pgvector:tlsCertificate and pgvector:tlsKey are PEM and belong together",
    ),
    Diagnosis(
        lambda state: state.oom_killed,
        "the kernel killed a process of the container: it needed more than {memory_mb} MiB",
        "raise pgvector:memoryMb; an index build needs room for maintenance_work_mem:  pgstack plan-memory",
    ),
    Diagnosis(
        _log_matches(r"could not map anonymous shared memory|Cannot allocate memory"),
        "not enough memory for the settings",
        "raise pgvector:memoryMb, or lower shared_buffers and maintenance_work_mem",
    ),
    Diagnosis(
        _log_matches(r"has wrong ownership|[Pp]ermission denied|Operation not permitted|has invalid permissions"),
        "the data directory belongs to another user than the image's postgres",
        "see whose it is:  docker run --rm -v {volume}:/v --entrypoint ls IMAGE -lan /v;  chown it to the image's "
        "postgres (999 in Debian's images)",
    ),
    Diagnosis(
        _log_matches(
            r"could not locate a valid checkpoint record|invalid checkpoint|PANIC:|could not find the database system"
            r"|is not a valid data directory|is missing or erroneous"
        ),
        "the data directory is damaged",
        "restore a backup; change nothing in the volume before you have copied it",
    ),
    Diagnosis(
        _log_matches(r"executable file not found|no such file or directory: unknown|exec format error"),
        "the image has no PostgreSQL for this machine, or isn't one of the official lineage",
        "use pgvector/pgvector or an image built on the official postgres (pgvector:image)",
    ),
    Diagnosis(
        lambda state: state.exit_code == 137,
        "the container was killed (SIGKILL)",
        "a user or a program ran docker kill, or the host was short of memory:  dmesg | grep -i oom;  "
        "`up` starts it again",
    ),
    Diagnosis(
        lambda state: state.status == "paused",
        "a user or a program paused it",
        "let it go on:  docker unpause {name}",
    ),
    Diagnosis(
        lambda state: state.status == "exited" and state.exit_code == 0,
        "it was stopped (docker stop, or the Docker host shut down)",
        "`up` starts it again",
    ),
    Diagnosis(
        lambda state: state.status == "running" and state.health == "unhealthy",
        "the server runs but doesn't answer",
        "look:  docker logs --tail 50 {name}",
    ),
)
# When a backend is killed, the server ends all other backends and recovers; the container keeps running.
KILLED_BACKEND = re.compile(r"\(PID \d+\) was terminated by signal 9\b")


def see_restarts(state: ContainerState) -> ContainerState:
    """Return the state with status "restarting" where Docker restarts the container again and again.

    Between two exits Docker calls such a container "running", for a moment.
    """
    between = state.status == "running" and state.health != "healthy" and state.restarts > MOST_RESTARTS
    return replace(state, status="restarting") if between else state


def describe_crash(log: str, memory_mb: int) -> str:
    """Describe the last crash by SIGKILL in the log of a running server; "" if there was none."""
    found = [line.strip() for line in log.splitlines() if KILLED_BACKEND.search(line)]
    if not found:
        return ""
    return (
        "a process of the server was killed and all connections were lost: most likely by the kernel, "
        f"because the container needed more than {memory_mb} MiB\n    {found[-1]}"
    )


def diagnose(state: ContainerState, subject: str = "") -> str:
    """Return the whole message: what happened, the cause, the last log lines, the remedy.

    `subject`: what ended, if the container is removed and the user can't inspect it any more.
    """
    happened = {
        "exited": f"exited with code {state.exit_code}",
        "dead": f"is dead (exit code {state.exit_code})",
        "missing": "is gone",
        "created": "was created but did not start",
        "restarting": f"keeps exiting (code {state.exit_code}, {state.restarts} restarts)",
        "running": "runs" + (f" and is {state.health}" if state.health else ""),
    }.get(state.status, f"is {state.status}")
    known = next((row for row in DIAGNOSES if row.matches(state)), None)
    fields = {name: getattr(state, name) for name in ("name", "volume", "memory_mb", "port")}
    cause = known.cause.format(**fields) if known else "see its log for the reason"
    look = "its last log lines are above" if subject else f"read the whole log:  docker logs {state.name}"
    remedy = known.remedy.format(**fields) if known else look
    lines = [line for line in state.log.strip().splitlines() if line.strip()][-LOG_LINES:]
    if state.error and state.error not in state.log:
        lines.append(state.error)
    return "\n".join(
        [
            f"{subject or f'the container {state.name}'} {happened}: {cause}",
            *(f"    {line}" for line in lines),
            f"  {remedy}",
        ]
    )

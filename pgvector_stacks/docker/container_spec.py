"""Defines a server in a container: command line, limits, files. Pure. The declaration and the trial both use it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pgvector_stacks.common.image_names import VOLUME, get_pgdata
from pgvector_stacks.sizing.settings import settings_hash

PORT = 5432
ANYWHERE = ("0.0.0.0", "::")
SOCKETS = "/var/run/postgresql"
OLD_MOUNT = f"{VOLUME}/data"  # images up to 17 declare an anonymous volume here
LOCK_HELD_CODE = 75  # exit code of `flock` if another server holds the directory
LOCK_FILE = "pgstack.lock"
HBA_FILE, CERTIFICATE_FILE, KEY_FILE = "pg_hba.conf", "server.crt", "server.key"
TMPFS = {
    "/tmp": "rw,noexec,nosuid,nodev,size=64m",
    # the root file system is read-only, and the server's user writes its socket and lock file here
    SOCKETS: "rw,noexec,nosuid,nodev,size=1m,mode=3777",
}


def published_host(bind_address: str) -> str:
    """Return the address at which clients on the Docker host reach a port published at `bind_address`."""
    return "127.0.0.1" if bind_address in ANYWHERE else bind_address


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A server to run in a container. `memory_mb` and `shm_mb` in MiB; `settings` by their postgresql.conf names."""

    name: str
    major: int
    settings: Mapping[str, str]
    memory_mb: int
    cpus: float
    shm_mb: int
    certificate: str = ""
    key: str = field(default="", repr=False)
    root_owns_files: bool = True  # root owns `files`, the server only reads them; False in old states

    @property
    def files(self) -> dict[str, str]:
        """The files, by name, that the server reads besides its data."""
        found = {HBA_FILE: build_hba(tls=bool(self.certificate))}
        return found | {CERTIFICATE_FILE: self.certificate, KEY_FILE: self.key} if self.certificate else found

    @property
    def files_folder(self) -> str:
        """The folder of `files` in the volume. Its name is a hash of their content: new content changes the command."""
        text = "\0".join(f"{name}\0{content}" for name, content in sorted(self.files.items()))
        text += "\0root" * self.root_owns_files
        return f"{VOLUME}/pgstack-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def arguments(self) -> list[str]:
        """The arguments after `postgres` in the server's command line."""
        own = {"listen_addresses": "*", "port": str(PORT), "unix_socket_directories": SOCKETS,
               "hba_file": f"{self.files_folder}/{HBA_FILE}"}  # fmt: skip
        if self.certificate:
            own |= {"ssl": "on", "ssl_cert_file": f"{self.files_folder}/{CERTIFICATE_FILE}",
                    "ssl_key_file": f"{self.files_folder}/{KEY_FILE}",
                    "ssl_min_protocol_version": "TLSv1.2"}  # fmt: skip
        return [word for name, value in (dict(self.settings) | own).items() for word in ("-c", f"{name}={value}")]

    @property
    def command(self) -> list[str]:
        """The container's command. It locks the data directory, since a server that is PID 1 in another container takes
        our postmaster.pid for its own.
        """
        lock = f"{VOLUME}/{self.major}/{LOCK_FILE}"
        return ["flock", "-n", "-F", "-E", str(LOCK_HELD_CODE), lock, "postgres", *self.arguments]

    @property
    def tmpfs(self) -> dict[str, str]:
        """Writable places on the read-only root. OLD_MOUNT keeps images up to 17 from adding an anonymous volume."""
        return TMPFS | ({OLD_MOUNT: "rw,noexec,nosuid,nodev,size=64k"} if self.major < 18 else {})

    @property
    def environment(self) -> dict[str, str]:
        """The container's environment. It holds no password, because `docker inspect` shows it."""
        return {"PGDATA": get_pgdata(self.major)}

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change with everything the server runs with, except image and password."""
        return settings_hash(
            {"command": " ".join(self.command), "memory": str(self.memory_mb), "cpus": f"{self.cpus:g}",
             "shm": str(self.shm_mb)}
        )  # fmt: skip

    def differs_from(self, other: ContainerSpec) -> bool:
        """True if the two servers run with different values. The order of settings doesn't count (the state sorts)."""
        return replace(self, settings=dict(sorted(self.settings.items()))).fingerprint != (
            replace(other, settings=dict(sorted(other.settings.items()))).fingerprint
        )

    def describe_changes(self, other: ContainerSpec) -> list[str]:
        """Return the changes that a reviewer should see, each as text such as `memory 1024 → 2048 MiB`."""
        found = [
            f"{what} {before} → {after}{unit}"
            for what, before, after, unit in (
                ("memory", self.memory_mb, other.memory_mb, " MiB"),
                ("cpus", f"{self.cpus:g}", f"{other.cpus:g}", ""),
                ("/dev/shm", self.shm_mb, other.shm_mb, " MiB"),
            )
            if before != after
        ]
        for name in sorted(self.settings.keys() | other.settings.keys()):
            before, after = self.settings.get(name, "default"), other.settings.get(name, "default")
            if before != after:
                found.append(f"{name} {before} → {after}")
        if (self.certificate, self.key) != (other.certificate, other.key):
            found.append("TLS certificate")
        if self.root_owns_files != other.root_owns_files:
            found.append("pg_hba.conf and the TLS files become root's, which the server can't write")
        return found

    @property
    def memory(self) -> dict[str, Any]:
        """The memory limit, without swap, as arguments for the Docker SDK."""
        return {"mem_limit": f"{self.memory_mb}m", "memswap_limit": f"{self.memory_mb}m"}

    def limits(self) -> dict[str, Any]:
        """Return all limits as arguments for the Docker SDK."""
        return {
            **self.memory,
            "nano_cpus": round(self.cpus * 1e9),
            "shm_size": f"{self.shm_mb}m",
        }


def build_hba(*, tls: bool) -> str:
    """Return pg_hba.conf: it requires passwords on all connections, and TLS over TCP if `tls`."""
    over_tcp = "hostssl" if tls else "host"
    return (
        "# written by pgstack\n"
        "local all all scram-sha-256\n"
        f"{over_tcp} all all 0.0.0.0/0 scram-sha-256\n"
        f"{over_tcp} all all ::/0 scram-sha-256\n"
    )

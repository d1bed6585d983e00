"""What a server in a container is: its command line, its limits, its files. Pure; declared and tried from one place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pgvector_stacks.common.image_names import VOLUME, data_directory
from pgvector_stacks.sizing.settings import settings_hash

PORT = 5432
SOCKETS = "/var/run/postgresql"
OLD_MOUNT = f"{VOLUME}/data"  # where images up to 17 declare an anonymous volume
LOCK_TAKEN = 75  # exit code of `flock` where another server holds the directory
LOCK = "pgstack.lock"
HBA, CERTIFICATE, KEY = "pg_hba.conf", "server.crt", "server.key"
TMPFS = {
    "/tmp": "rw,noexec,nosuid,nodev,size=64m",
    # the server's own user must be able to write its socket and lock file there on a read-only root
    SOCKETS: "rw,noexec,nosuid,nodev,size=1m,mode=3777",
}


@dataclass(frozen=True, slots=True)
class Spec:
    """A server to be run in a container. Memory and shm in MiB; `settings` as postgresql.conf names them."""

    name: str
    major: int
    settings: Mapping[str, str]
    memory_mb: int
    cpus: float
    shm_mb: int
    certificate: str = ""
    key: str = field(default="", repr=False)
    files_of_root: bool = True  # the server reads them and can't write them; not so in a state from before

    @property
    def files(self) -> dict[str, str]:
        """What the server reads besides its data, by file name."""
        found = {HBA: host_based_authentication(tls=bool(self.certificate))}
        return found | {CERTIFICATE: self.certificate, KEY: self.key} if self.certificate else found

    @property
    def folder(self) -> str:
        """Where they lie in the volume: named after their content, so that a change is a change of the command."""
        text = "\0".join(f"{name}\0{content}" for name, content in sorted(self.files.items()))
        text += "\0root" * self.files_of_root
        return f"{VOLUME}/pgstack-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def arguments(self) -> list[str]:
        """The server's command line behind `postgres`."""
        own = {"listen_addresses": "*", "port": str(PORT), "unix_socket_directories": SOCKETS,
               "hba_file": f"{self.folder}/{HBA}"}  # fmt: skip
        if self.certificate:
            own |= {"ssl": "on", "ssl_cert_file": f"{self.folder}/{CERTIFICATE}",
                    "ssl_key_file": f"{self.folder}/{KEY}", "ssl_min_protocol_version": "TLSv1.2"}  # fmt: skip
        return [word for name, value in (dict(self.settings) | own).items() for word in ("-c", f"{name}={value}")]

    @property
    def command(self) -> list[str]:
        """Under a lock on the directory: PID 1 in another container would take our postmaster.pid as its own."""
        lock = f"{VOLUME}/{self.major}/{LOCK}"
        return ["flock", "-n", "-F", "-E", str(LOCK_TAKEN), lock, "postgres", *self.arguments]

    @property
    def tmpfs(self) -> dict[str, str]:
        """Writable places on the read-only root; the one that keeps old images from adding a stray volume too."""
        return TMPFS | ({OLD_MOUNT: "rw,noexec,nosuid,nodev,size=64k"} if self.major < 18 else {})

    @property
    def environment(self) -> dict[str, str]:
        """No password is in it: `docker inspect` would show it."""
        return {"PGDATA": data_directory(self.major)}

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change with whatever the server runs with, its image and password apart."""
        return settings_hash(
            {"command": " ".join(self.command), "memory": str(self.memory_mb), "cpus": f"{self.cpus:g}",
             "shm": str(self.shm_mb)}
        )  # fmt: skip

    def differs_from(self, other: Spec) -> bool:
        """True where the server runs with something else. The state has the settings in another order."""
        return replace(self, settings=dict(sorted(self.settings.items()))).fingerprint != (
            replace(other, settings=dict(sorted(other.settings.items()))).fingerprint
        )

    def changes_to(self, other: Spec) -> list[str]:
        """What of it a reviewer should read about, in words: `memory 1024 → 2048 MiB`, settings by name."""
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
        if self.files_of_root != other.files_of_root:
            found.append("pg_hba.conf and the TLS files become root's, which the server can't write")
        return found

    @property
    def memory(self) -> dict[str, Any]:
        """The limit as the Docker SDK takes it: no swap."""
        return {"mem_limit": f"{self.memory_mb}m", "memswap_limit": f"{self.memory_mb}m"}

    def limits(self) -> dict[str, Any]:
        """As the Docker SDK takes them."""
        return {
            **self.memory,
            "nano_cpus": round(self.cpus * 1e9),
            "shm_size": f"{self.shm_mb}m",
        }


def host_based_authentication(*, tls: bool) -> str:
    """pg_hba.conf: passwords everywhere, and over TCP only with TLS where it is demanded."""
    over_tcp = "hostssl" if tls else "host"
    return (
        "# written by pgstack\n"
        "local all all scram-sha-256\n"
        f"{over_tcp} all all 0.0.0.0/0 scram-sha-256\n"
        f"{over_tcp} all all ::/0 scram-sha-256\n"
    )

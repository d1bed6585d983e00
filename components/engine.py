"""The one thing the rest knows about an engine: it declares a server, and says where it answers and who it is."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi


@dataclass(frozen=True)
class Server:
    """A declared server. `identity` changes when the data directory, the version or a setting does."""

    host: pulumi.Output[str]
    port: pulumi.Output[int]
    identity: pulumi.Output[str]
    version: pulumi.Output[str]
    settings: dict[str, str]
    admin: str
    admin_password: pulumi.Output[str]
    sslmode: str = ""  # as libpq names them; "" leaves it to libpq
    build_memory_mb: int = 0  # maintenance_work_mem an index build of the scripts may have, in MiB; 0: the server's own
    via: str = ""  # ssh://…: host and port are as seen from over there
    network: str | None = None  # where containers reach it as `internal_host`, port 5432
    internal_host: str | None = None
    certificate: pulumi.Output[str] | None = None  # PEM; what a client checks the server's against

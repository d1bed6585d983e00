"""The checks of `doctor` for the embedded engine: this machine, and the server on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.config.environment import ROOT, Environment
from pgvector_stacks.embedded import embedded_server

LEAST_FREE_MB = 1024


def examine(environment: Environment) -> Iterator[Finding]:
    """Run the checks of `doctor`, without a connection to the database."""
    try:
        embedded_server.check_cpu()
        yield Finding("processor", "has what the embedded PostgreSQL is built for")
    except PgstackError as error:
        yield Finding("processor", str(error), "use a stack with engine: docker")
    free_mb = shutil.disk_usage(ROOT).free // 2**20
    remedy = "" if free_mb >= LEAST_FREE_MB else f"free at least {LEAST_FREE_MB - free_mb} MB on the disk of {ROOT}"
    yield Finding("disk", f"{free_mb} MB free", remedy)
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    too_much = environment.memory_mb > memory_mb
    yield Finding(
        "memory",
        f"{memory_mb} MB here, pgvector:memoryMb is {environment.memory_mb}",
        "lower pgvector:memoryMb" if too_much else "",
    )
    directory = embedded_server.Directory(
        ROOT / ".data" / environment.stack / str(environment.major), environment.major
    )
    state = embedded_server.server_status(directory)
    place = directory.path.relative_to(ROOT)
    if state == "running":
        yield Finding("server", f"runs on port {embedded_server.read_last_port(directory)}, data in {place}/")
        return
    words = "was never created" if state == "missing" else "is down"
    last = directory.log.read_text(errors="replace").strip().splitlines()[-3:] if directory.log.exists() else []
    yield Finding("server", "\n".join([f"{words} ({place}/)", *last]), f"pgstack up {environment.stack}")

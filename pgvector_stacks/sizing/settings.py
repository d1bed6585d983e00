"""Derives the server's settings from the memory and cpus that the environment grants. One pure function.

The formulas are from pgtune 7caef27 (web/OLTP columns) unless a comment names another source. The settings never use
`io_uring` or `huge_pages=try`, which fail on some hosts, nor lz4, which the embedded engine's build lacks.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

MB_PER_GB = 1024
MAX_CONNECTIONS = 100
Durability = Literal["safe", "none"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server may use: memory in MiB, cpus as Docker counts them (0.5 is half a core)."""

    memory_mb: int
    cpus: float


def derive_settings(limits: Limits, *, durability: Durability = "safe") -> dict[str, str]:
    """Return the settings as `name: value`, with the value as in postgresql.conf.

    `durability="none"` turns off fsync, synchronous_commit and full_page_writes, for environments whose data may be
    lost in a crash of the machine.
    """
    memory, cores = limits.memory_mb, max(1, math.floor(limits.cpus))
    shared_buffers = memory // 4
    maintenance_work_mem = max(16, min(memory // 16, 8 * MB_PER_GB))
    workers = max(2, cores)
    # pgtune: (RAM - shared_buffers) / ((connections + worker processes) * 3), not below 4 MB
    work_mem = max(4, (memory - shared_buffers) // ((MAX_CONNECTIONS + workers) * 3))
    settings = {
        "shared_buffers": f"{shared_buffers}MB",
        "effective_cache_size": f"{memory * 3 // 4}MB",
        "maintenance_work_mem": f"{maintenance_work_mem}MB",
        # set explicitly: the default is maintenance_work_mem for each of the three autovacuum workers
        "autovacuum_work_mem": f"{max(16, maintenance_work_mem // 2)}MB",
        "work_mem": f"{work_mem}MB",
        "max_connections": str(MAX_CONNECTIONS),
        "max_worker_processes": str(max(8, cores)),
        "max_parallel_workers": str(workers),
        "max_parallel_workers_per_gather": str(min(4, math.ceil(cores / 2))),
        "max_parallel_maintenance_workers": str(min(4, math.ceil(cores / 2))),
        "min_wal_size": "256MB",
        "max_wal_size": f"{max(512, min(memory, 4 * MB_PER_GB))}MB",
        "wal_compression": "pglz",
        "random_page_cost": "1.1",
        "jit": "off",
        # All pending scripts commit together, and every relation that they touch stays locked until then.
        "max_locks_per_transaction": str(max(128, min(512, memory // 4))),
        # the query of a killed client ends within a second
        "client_connection_check_interval": "1s",
        "password_encryption": "scram-sha-256",
    }
    if durability == "none":
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    return settings


def settings_hash(settings: dict[str, str]) -> str:
    """Return 12 hex digits that change when any setting changes."""
    lines = "".join(f"{name}={settings[name]}\n" for name in sorted(settings))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]

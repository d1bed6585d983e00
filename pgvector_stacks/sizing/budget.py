"""Decides the settings of a server in a container, and whether they fit into the container's memory. Pure.

The kernel kills a backend when the container's memory is used up, and the server then restarts with every connection
lost. What counts against the limit is everything: shared memory, `/dev/shm`, each process's own memory, page tables,
and the page cache, which alone is given back under pressure.

Invariant: the sum of what the server may hold at once is at most 80 % of the limit; the rest is page cache. Where it
isn't, `Budget.table()` says what takes how much and which `memoryMb` would do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from pgvector_stacks.common.errors import SettingRefused
from pgvector_stacks.connections.setting_units import count, factor, size_kb
from pgvector_stacks.sizing.settings import MAX_CONNECTIONS, Durability, Limits, derive

LEAST_MB, MOST_MB = 256, 1 << 20  # what `memoryMb` may be
STEP_MB = 64  # the memory a message names is a multiple of this
SHARE_PERCENT = 80
KB = 1024
SHARED_BUFFERS, INDEX_BUILDS = "shared_buffers", "index builds"

# Measured on PostgreSQL 18.4 with pgvector 0.8.5 (anonymous memory in smaps_rollup): 1.6 MiB after connecting, 1.8 MiB
# after 200 HNSW searches, 8 to 10 MiB after reading all of information_schema or opening 300 tables. Most connections
# of an application are of the second kind.
CONNECTION_KB = 4 * KB
# A page table entry is 8 bytes for each 4 kB of shared_buffers, in every backend that has touched them: no huge pages.
PAGE_TABLE_SHARE = 512
# Postmaster, checkpointer, writers, launchers, io workers: nine processes of 0.6 to 0.9 MiB and their kernel stacks.
PROCESSES_MB = 16
# One connection in ten works at a time, each in one sort or hash (the share the embedded engine's tests use too).
ACTIVE_ONE_IN = 10
# Parallel queries and parallel VACUUM use /dev/shm too: one parallel query held 33 MB.
SHM_SLACK_MB = 128
SHM_LEAST_MB = 256
LOCKS_DEFAULT = 64  # max_locks_per_transaction
# What the server takes where a setting isn't set.
SERVER_DEFAULTS = {"autovacuum_max_workers": "3", "hash_mem_multiplier": "2", "wal_buffers": "-1"}
# What the budget reads: of these an override can be lowered.
COUNTED = frozenset(
    {
        "autovacuum_max_workers", "autovacuum_work_mem", "hash_mem_multiplier", "maintenance_work_mem",
        "max_connections", "max_locks_per_transaction", "max_parallel_workers", "max_parallel_workers_per_gather",
        "max_worker_processes", "shared_buffers", "wal_buffers", "work_mem",
    }
)  # fmt: skip

# Settings nobody may set here, and why.
_ENGINE = "the engine sets it"
_DURABILITY = "it follows from pgvector:durability"
OWNED: Mapping[str, str] = MappingProxyType(
    {
        "config_file": _ENGINE, "data_directory": _ENGINE, "dynamic_shared_memory_type": _ENGINE,
        "external_pid_file": _ENGINE, "hba_file": _ENGINE, "ident_file": _ENGINE, "listen_addresses": _ENGINE,
        "password_encryption": _ENGINE, "port": _ENGINE, "unix_socket_directories": _ENGINE,
        "fsync": _DURABILITY, "full_page_writes": _DURABILITY,
    }
)  # fmt: skip
FAILS: Mapping[tuple[str, str], str] = {
    ("io_method", "io_uring"): "Docker's seccomp profile forbids it; `worker` is the default",
    ("huge_pages", "try"): "initdb and the server die by SIGBUS where the host has huge pages and the container none",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One use of memory: what, how many MiB, and how that number comes about."""

    what: str
    mb: int
    formula: str


@dataclass(frozen=True, slots=True)
class Budget:
    """What the server may hold at once, against its limit. `fitting_mb`: the memoryMb that would do, None if none."""

    limit_mb: int
    rows: tuple[Row, ...]
    fitting_mb: int | None = None
    overridden: tuple[str, ...] = ()

    @property
    def total_mb(self) -> int:
        return sum(row.mb for row in self.rows)

    @property
    def allowed_mb(self) -> int:
        return self.limit_mb * SHARE_PERCENT // 100

    @property
    def fits(self) -> bool:
        return self.total_mb <= self.allowed_mb

    def mb(self, what: str) -> int:
        return next(row.mb for row in self.rows if row.what == what)

    def table(self) -> str:
        """For an error or a terminal: the rows, the sum, and where it doesn't fit the ways out."""
        verdict = "fits" if self.fits else "does not fit"
        lines = [f"pgvector:memoryMb = {self.limit_mb}: what the server may hold at once {verdict}"]
        lines += [f"  {row.mb:>8} MiB  {row.what}: {row.formula}" for row in self.rows]
        lines += [
            f"  {self.total_mb:>8} MiB  together; allowed are {self.allowed_mb} MiB"
            f" ({SHARE_PERCENT} %), the rest is page cache"
        ]
        if not self.fits:
            lower = f"lower in pgvector:settings: {', '.join(self.overridden)}" if self.overridden else ""
            larger = f"set pgvector:memoryMb to {self.fitting_mb} or more" if self.fitting_mb else ""
            ways = "\n  or ".join(way for way in (larger, lower) if way)
            nothing = f"no memoryMb up to {MOST_MB} is enough" + f"; {ways}" * bool(ways)
            lines += [f"  {ways if larger else nothing}"]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Tuned:
    """A container's server: its settings, the size of its /dev/shm, what it all takes, and what an index build may."""

    settings: dict[str, str]
    shm_mb: int
    budget: Budget
    build_mb: int
    """what an index build of the scripts, which run one after the other, may have as maintenance_work_mem"""

    @property
    def wal_mb(self) -> int:
        """What the WAL takes on the disk between checkpoints, in MiB."""
        return _mb(size_kb("max_wal_size", self.settings["max_wal_size"]))


def derive_for_container(
    limits: Limits,
    durability: Durability = "safe",
    overrides: Mapping[str, str] | None = None,
    *,
    concurrent_builds: int = 1,
) -> Tuned:
    """Settings, shm and budget of a server in a container with these limits; `overrides` win over what is derived.

    Raises SettingRefused for an override nobody may set or whose size can't be read; a budget that doesn't fit is
    for the caller to refuse.
    """
    own = checked(overrides or {})

    def at(memory_mb: int) -> Tuned:
        return derive_for(Limits(memory_mb, limits.cpus), own, durability, concurrent_builds=concurrent_builds)

    tuned = at(limits.memory_mb)
    if tuned.budget.fits:
        return tuned
    fitting = least_memory_mb(lambda memory_mb: limit_for(at(memory_mb).budget.total_mb), limits.memory_mb)
    return replace(
        tuned,
        budget=replace(tuned.budget, fitting_mb=fitting, overridden=tuple(name for name in own if name in COUNTED)),
    )


def derive_for(
    limits: Limits,
    own: Mapping[str, str] = MappingProxyType({}),
    durability: Durability = "safe",
    *,
    concurrent_builds: int = 1,
) -> Tuned:
    """The same without a word on what would fit; `own`: overrides that were checked."""
    settings = _settings(limits, durability, own) | dict(own)
    found = budget(limits, settings, concurrent_builds=concurrent_builds)
    build = largest_build_mb(found, concurrent_builds)
    return Tuned(settings, shm_mb(limits, build, concurrent_builds=concurrent_builds), found, build)


def largest_build_mb(found: Budget, concurrent_builds: int = 1) -> int:
    """The largest maintenance_work_mem with which that many builds fit beside the rest; at least the server's own.

    An HNSW graph that doesn't fit into it is built on disk, at a fraction of the speed (pgvector#570), while the
    server's own setting must be small enough for whoever builds one without asking.
    """
    own = found.mb(INDEX_BUILDS)
    return max(own, found.allowed_mb - found.total_mb + own) // concurrent_builds


def budget(limits: Limits, settings: Mapping[str, str], *, concurrent_builds: int = 1) -> Budget:
    """What a server with these settings may hold at once. Raises SettingRefused for a size that can't be read."""
    memory = {
        name: size_kb(name, settings[name])
        for name in ("shared_buffers", "maintenance_work_mem", "autovacuum_work_mem", "work_mem")
    }
    buffers, build, work = memory["shared_buffers"], memory["maintenance_work_mem"], memory["work_mem"]
    vacuum = build if memory["autovacuum_work_mem"] == -1 else memory["autovacuum_work_mem"]
    vacuums = count("autovacuum_max_workers", _value(settings, "autovacuum_max_workers"), least=1)
    connections = count("max_connections", settings["max_connections"], least=1)
    connection_kb = CONNECTION_KB + buffers // PAGE_TABLE_SHARE
    active = math.ceil(connections / ACTIVE_ONE_IN)
    gather = count("max_parallel_workers_per_gather", settings["max_parallel_workers_per_gather"])
    operations = active + min(active * gather, count("max_parallel_workers", settings["max_parallel_workers"]))
    multiplier = factor("hash_mem_multiplier", _value(settings, "hash_mem_multiplier"))
    rows = (
        Row(SHARED_BUFFERS, _mb(buffers), "in use once the tables have been read"),
        Row("rest of shared memory", _mb(_shared_kb(settings, buffers, connections)), "locks, WAL, buffer headers"),
        Row(
            INDEX_BUILDS,
            _mb(concurrent_builds * build),
            f"{concurrent_builds} × maintenance_work_mem {_mb(build)} MiB, in /dev/shm where parallel",
        ),
        Row("autovacuum", _mb(vacuums * vacuum), f"{vacuums} × autovacuum_work_mem {_mb(vacuum)} MiB"),
        Row("connections", _mb(connections * connection_kb), f"{connections} × {connection_kb / KB:.1f} MiB"),
        Row(
            "sorts and hashes",
            _mb(math.ceil(operations * work * multiplier)),
            f"{operations} at a time × work_mem {_mb(work)} MiB × hash_mem_multiplier {float(multiplier):g}",
        ),
        Row("the server's own processes", PROCESSES_MB, "checkpointer, writers, launchers"),
    )
    return Budget(limits.memory_mb, rows)


def shm_mb(limits: Limits, build_mb: int, *, concurrent_builds: int = 1) -> int:
    """The size of /dev/shm in MiB: a parallel HNSW build takes all of maintenance_work_mem there at once.

    It is a ceiling inside the memory limit, not beside it: pages count when they are touched.
    """
    return max(concurrent_builds * build_mb + SHM_SLACK_MB, min(SHM_LEAST_MB, limits.memory_mb // 4))


def checked(overrides: Mapping[str, str]) -> dict[str, str]:
    """The overrides with their names as PostgreSQL folds them. Raises SettingRefused with every mistake."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for given, value in overrides.items():
        name = given.lower()
        where = f"pgvector:settings: {given} = {value!r}"
        if re.fullmatch(r"[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)?", name, re.ASCII) is None:
            problems.append(f"{where}: this is no name of a setting")
        elif name in found:
            problems.append(f"{where}: given twice, upper and lower case are the same")
        elif name in OWNED:
            problems.append(f"{where}: not here, {OWNED[name]}")
        elif set(value) & {"\n", "\r", "\0"}:
            problems.append(f"{where}: a value is one line")
        elif reason := FAILS.get((name, value.strip().lower())):
            problems.append(f"{where}: refused, {reason}")
        else:
            found[name] = value
    if problems:
        raise SettingRefused("\n".join(problems))
    return found


def least_memory_mb(needed_mb: Callable[[int], int], start_mb: int) -> int | None:
    """The least multiple of 64 MiB from `start_mb` up that is at least what it needs itself; None above a tebibyte.

    `needed_mb` never falls when memory grows. So nothing below what the current candidate needs can do, and the first
    candidate that does is the least.
    """
    candidate = _step_up(start_mb)
    while candidate <= MOST_MB:
        needed = _step_up(needed_mb(candidate))
        if needed <= candidate:
            return candidate
        candidate = needed
    return None


def limit_for(total_mb: int) -> int:
    """The least limit whose share holds `total_mb`."""
    return math.ceil(total_mb * 100 / SHARE_PERCENT)


def max_connections(memory_mb: int) -> int:
    """10 for every 200 MiB, from 20 to 100: what the budget holds at every size that fits at all."""
    return max(20, min(MAX_CONNECTIONS, memory_mb // 200 * 10))


def _settings(limits: Limits, durability: Durability, own: Mapping[str, str]) -> dict[str, str]:
    """The embedded engine's settings, and what differs in a container."""
    settings = derive(limits, durability=durability)
    wanted = own.get("max_connections", str(max_connections(limits.memory_mb)))
    connections = count("max_connections", wanted, least=1)
    # The lock table keeps the room it has with 100 connections: all pending scripts commit together.
    locks = int(settings["max_locks_per_transaction"]) * MAX_CONNECTIONS // connections
    return settings | {
        "max_connections": str(connections),
        "max_locks_per_transaction": str(max(LOCKS_DEFAULT, locks)),
        "huge_pages": "off",
    }


def _shared_kb(settings: Mapping[str, str], buffers_kb: int, connections: int) -> int:
    """Shared memory besides the buffers: fitted to `shared_memory_size` of PostgreSQL 16 and 18 (see the test)."""
    wal = size_kb("wal_buffers", _value(settings, "wal_buffers"))
    wal_kb = min(16 * KB, buffers_kb // 32) if wal == -1 else wal
    workers = count("max_worker_processes", settings["max_worker_processes"])
    # besides connections and background workers, autovacuum's, walsenders and auxiliary processes have slots
    locks = count("max_locks_per_transaction", settings["max_locks_per_transaction"], least=1)
    slots = connections + workers + 30
    return 6 * KB + buffers_kb * 32 // 1000 + wal_kb + slots * (locks * 4 // 10 + 60)


def _value(settings: Mapping[str, str], name: str) -> str:
    return settings.get(name, SERVER_DEFAULTS[name])


def _step_up(mb: int) -> int:
    return math.ceil(mb / STEP_MB) * STEP_MB


def _mb(kb: int) -> int:
    return math.ceil(kb / KB)

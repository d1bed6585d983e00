"""Decides the settings of a server in a container, and whether they fit into the container's memory. Pure.

When the container's memory is used up, the kernel kills a backend. The server then restarts, and every connection is
lost. Everything counts against the limit: shared memory, `/dev/shm`, each process's own memory, page tables, and the
page cache. Under pressure the kernel frees only the page cache.

Invariant: the server can hold at most 80 % of the limit at once; the rest is page cache. If the settings break this,
`Budget.table()` lists how much each use takes, and which `memoryMb` would be enough.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from pgvector_stacks.common.errors import SettingRefused
from pgvector_stacks.connections.setting_units import count, parse_factor, parse_size_kb
from pgvector_stacks.sizing.settings import MAX_CONNECTIONS, Durability, Limits, derive_settings

LEAST_MB, MOST_MB = 256, 1 << 20  # the range of `memoryMb`
STEP_MB = 64  # messages propose multiples of this
SHARE_PERCENT = 80
KB = 1024
SHARED_BUFFERS, INDEX_BUILDS = "shared_buffers", "index builds"

# The memory of a connection, measured on PostgreSQL 18.4 with pgvector 0.8.5 (anonymous memory in smaps_rollup):
# 1.6 MiB after connecting, 1.8 MiB after 200 HNSW searches, 8 to 10 MiB after reading all of information_schema or
# opening 300 tables. Most connections of an application resemble the HNSW searches.
CONNECTION_KB = 4 * KB
# Without huge pages, every backend has an 8-byte page table entry for each 4 kB of shared_buffers that it has touched.
PAGE_TABLE_SHARE = 512
# Postmaster, checkpointer, writers, launchers, io workers: nine processes of 0.6 to 0.9 MiB, with their kernel stacks.
PROCESSES_MB = 16
# One connection in ten works at a time, in one sort or hash each (the embedded engine's tests use the same share).
ACTIVE_ONE_IN = 10
# Parallel queries and parallel VACUUM also use /dev/shm: one parallel query held 33 MB.
SHM_SLACK_MB = 128
SHM_LEAST_MB = 256
LOCKS_DEFAULT = 64  # max_locks_per_transaction
# PostgreSQL's defaults of settings that we do not set.
SERVER_DEFAULTS = {"autovacuum_max_workers": "3", "hash_mem_multiplier": "2", "wal_buffers": "-1"}
# The settings that the budget depends on: a message proposes to lower overrides of these.
BUDGET_SETTINGS = frozenset(
    {
        "autovacuum_max_workers", "autovacuum_work_mem", "hash_mem_multiplier", "maintenance_work_mem",
        "max_connections", "max_locks_per_transaction", "max_parallel_workers", "max_parallel_workers_per_gather",
        "max_worker_processes", "shared_buffers", "wal_buffers", "work_mem",
    }
)  # fmt: skip

# Settings that pgvector:settings may not contain, and why.
_ENGINE = "the engine sets it"
_DURABILITY = "it follows from pgvector:durability"
FORBIDDEN_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "config_file": _ENGINE, "data_directory": _ENGINE, "dynamic_shared_memory_type": _ENGINE,
        "external_pid_file": _ENGINE, "hba_file": _ENGINE, "ident_file": _ENGINE, "listen_addresses": _ENGINE,
        "password_encryption": _ENGINE, "port": _ENGINE, "unix_socket_directories": _ENGINE,
        "fsync": _DURABILITY, "full_page_writes": _DURABILITY,
    }
)  # fmt: skip
FAILING_SETTINGS: Mapping[tuple[str, str], str] = {
    ("io_method", "io_uring"): "Docker's seccomp profile forbids it; `worker` is the default",
    ("huge_pages", "try"): "initdb and the server die by SIGBUS where the host has huge pages and the container none",
}


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One use of memory: what uses it, how many MiB, and the formula as text."""

    what: str
    mb: int
    formula: str


@dataclass(frozen=True, slots=True)
class Budget:
    """The memory that the server can hold at once, and its limit.

    `fitting_mb`: the least memoryMb that would be enough, None if none is; `overridden`: overrides that could be lower.
    """

    limit_mb: int
    rows: tuple[BudgetRow, ...]
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
        """Return the rows, the sum, and the remedies if the sum does not fit, as text for an error or a terminal."""
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
class TunedServer:
    """A server tuned for a container: settings, size of /dev/shm, memory budget, and memory for an index build."""

    settings: dict[str, str]
    shm_mb: int
    budget: Budget
    build_mb: int
    """the largest maintenance_work_mem for an index build of the scripts, which run one after the other"""

    @property
    def wal_mb(self) -> int:
        """The disk space of the WAL between checkpoints, in MiB."""
        return _mb(parse_size_kb("max_wal_size", self.settings["max_wal_size"]))


def tune_for_container(
    limits: Limits,
    durability: Durability = "safe",
    overrides: Mapping[str, str] | None = None,
    *,
    concurrent_builds: int = 1,
) -> TunedServer:
    """Tune a server for a container with these limits. `overrides` replace derived settings.

    Raises SettingRefused for an override that is not allowed or whose size can't be read. If the budget does not fit,
    the caller decides whether to refuse it.
    """
    own = check_overrides(overrides or {})

    def at(memory_mb: int) -> TunedServer:
        return tune(Limits(memory_mb, limits.cpus), own, durability, concurrent_builds=concurrent_builds)

    tuned = at(limits.memory_mb)
    if tuned.budget.fits:
        return tuned
    fitting = find_least_memory_mb(lambda memory_mb: least_limit_mb(at(memory_mb).budget.total_mb), limits.memory_mb)
    return replace(
        tuned,
        budget=replace(
            tuned.budget, fitting_mb=fitting, overridden=tuple(name for name in own if name in BUDGET_SETTINGS)
        ),
    )


def tune(
    limits: Limits,
    own: Mapping[str, str] = MappingProxyType({}),
    durability: Durability = "safe",
    *,
    concurrent_builds: int = 1,
) -> TunedServer:
    """Do the same as `tune_for_container`, but compute no remedies. `own`: overrides that were checked."""
    settings = _container_settings(limits, durability, own) | dict(own)
    found = compute_budget(limits, settings, concurrent_builds=concurrent_builds)
    build = find_largest_build_mb(found, concurrent_builds)
    return TunedServer(settings, compute_shm_mb(limits, build, concurrent_builds=concurrent_builds), found, build)


def find_largest_build_mb(found: Budget, concurrent_builds: int = 1) -> int:
    """Return the largest maintenance_work_mem with which `concurrent_builds` index builds fit beside all other uses.

    An HNSW graph that does not fit into maintenance_work_mem is built on disk, at a fraction of the speed
    (pgvector#570). The server's own setting stays small, since any user may start an index build with it; the result is
    at least that setting.
    """
    own = found.mb(INDEX_BUILDS)
    return max(own, found.allowed_mb - found.total_mb + own) // concurrent_builds


def compute_budget(limits: Limits, settings: Mapping[str, str], *, concurrent_builds: int = 1) -> Budget:
    """Return the memory that a server with these settings can hold at once. Raises SettingRefused for a bad size."""
    memory = {
        name: parse_size_kb(name, settings[name])
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
    multiplier = parse_factor("hash_mem_multiplier", _value(settings, "hash_mem_multiplier"))
    rows = (
        BudgetRow(SHARED_BUFFERS, _mb(buffers), "in use once the tables have been read"),
        BudgetRow(
            "rest of shared memory", _mb(_shared_kb(settings, buffers, connections)), "locks, WAL, buffer headers"
        ),
        BudgetRow(
            INDEX_BUILDS,
            _mb(concurrent_builds * build),
            f"{concurrent_builds} × maintenance_work_mem {_mb(build)} MiB, in /dev/shm where parallel",
        ),
        BudgetRow("autovacuum", _mb(vacuums * vacuum), f"{vacuums} × autovacuum_work_mem {_mb(vacuum)} MiB"),
        BudgetRow("connections", _mb(connections * connection_kb), f"{connections} × {connection_kb / KB:.1f} MiB"),
        BudgetRow(
            "sorts and hashes",
            _mb(math.ceil(operations * work * multiplier)),
            f"{operations} at a time × work_mem {_mb(work)} MiB × hash_mem_multiplier {float(multiplier):g}",
        ),
        BudgetRow("the server's own processes", PROCESSES_MB, "checkpointer, writers, launchers"),
    )
    return Budget(limits.memory_mb, rows)


def compute_shm_mb(limits: Limits, build_mb: int, *, concurrent_builds: int = 1) -> int:
    """Return the size of /dev/shm in MiB. A parallel HNSW build allocates all of maintenance_work_mem there at once.

    /dev/shm adds nothing to the memory limit: its pages count towards the limit when they are touched.
    """
    return max(concurrent_builds * build_mb + SHM_SLACK_MB, min(SHM_LEAST_MB, limits.memory_mb // 4))


def check_overrides(overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the overrides with lower-case names, as in PostgreSQL. Raises SettingRefused with every mistake."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for given, value in overrides.items():
        name = given.lower()
        where = f"pgvector:settings: {given} = {value!r}"
        if re.fullmatch(r"[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)?", name, re.ASCII) is None:
            problems.append(f"{where}: this is not the name of a setting")
        elif name in found:
            problems.append(f"{where}: given twice, upper and lower case are the same")
        elif name in FORBIDDEN_SETTINGS:
            problems.append(f"{where}: not here, {FORBIDDEN_SETTINGS[name]}")
        elif set(value) & {"\n", "\r", "\0"}:
            problems.append(f"{where}: a value is one line")
        elif reason := FAILING_SETTINGS.get((name, value.strip().lower())):
            problems.append(f"{where}: refused, {reason}")
        else:
            found[name] = value
    if problems:
        raise SettingRefused("\n".join(problems))
    return found


def find_least_memory_mb(needed_mb: Callable[[int], int], start_mb: int) -> int | None:
    """Return the least memory M, a multiple of 64 MiB from `start_mb`, with `needed_mb(M) <= M`; None above 1 TiB.

    `needed_mb` never falls when memory grows. So no value below `needed_mb(candidate)` is enough, and the first
    candidate that is enough is the least one.
    """
    candidate = _step_up(start_mb)
    while candidate <= MOST_MB:
        needed = _step_up(needed_mb(candidate))
        if needed <= candidate:
            return candidate
        candidate = needed
    return None


def least_limit_mb(total_mb: int) -> int:
    """Return the least memory limit of which `total_mb` is at most SHARE_PERCENT."""
    return math.ceil(total_mb * 100 / SHARE_PERCENT)


def derive_max_connections(memory_mb: int) -> int:
    """Return 10 connections for every 200 MiB, at least 20 and at most 100.

    With this number the budget fits at every memory size at which it can fit at all.
    """
    return max(20, min(MAX_CONNECTIONS, memory_mb // 200 * 10))


def _container_settings(limits: Limits, durability: Durability, own: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that `derive` returns, with the changes for a container."""
    settings = derive_settings(limits, durability=durability)
    wanted = own.get("max_connections", str(derive_max_connections(limits.memory_mb)))
    connections = count("max_connections", wanted, least=1)
    # The lock table keeps the size that it has with 100 connections, since all pending scripts commit together.
    locks = int(settings["max_locks_per_transaction"]) * MAX_CONNECTIONS // connections
    return settings | {
        "max_connections": str(connections),
        "max_locks_per_transaction": str(max(LOCKS_DEFAULT, locks)),
        "huge_pages": "off",
    }


def _shared_kb(settings: Mapping[str, str], buffers_kb: int, connections: int) -> int:
    """Return the shared memory besides shared_buffers, fitted to `shared_memory_size` of PostgreSQL 16 and 18.

    tests/postgres/test_budget.py compares the two.
    """
    wal = parse_size_kb("wal_buffers", _value(settings, "wal_buffers"))
    wal_kb = min(16 * KB, buffers_kb // 32) if wal == -1 else wal
    workers = count("max_worker_processes", settings["max_worker_processes"])
    # 30: slots of autovacuum workers, walsenders and auxiliary processes
    locks = count("max_locks_per_transaction", settings["max_locks_per_transaction"], least=1)
    slots = connections + workers + 30
    return 6 * KB + buffers_kb * 32 // 1000 + wal_kb + slots * (locks * 4 // 10 + 60)


def _value(settings: Mapping[str, str], name: str) -> str:
    return settings.get(name, SERVER_DEFAULTS[name])


def _step_up(mb: int) -> int:
    return math.ceil(mb / STEP_MB) * STEP_MB


def _mb(kb: int) -> int:
    return math.ceil(kb / KB)

"""Computes what a table with an HNSW index needs: disk space, memory to build the index, memory to search it. Pure.

The graph of an HNSW build must fit into `maintenance_work_mem`. From the first row that does not fit, the build goes on
at a fraction of the speed (pgvector#570: 9 million rows, 92 % of 13,000 s). A parallel build allocates all of
`maintenance_work_mem` in `/dev/shm` at once, even for a small table. Searches are fast while the index and the hot rows
are in memory.

Sources: pgvector 0.8's hnswbuild.c and hnsw.h, PostgreSQL's heaptoast.h. The module simulates how CreateGraphPages
fills pages. A closed formula would be too low: upper layers and page ends cost up to a half more.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, get_args

from pgvector_stacks.common.errors import SizeRefused, suggest_nearest
from pgvector_stacks.connections.setting_units import parse_size_kb
from pgvector_stacks.sizing.budget import (  # fmt: skip
    INDEX_BUILDS,
    LEAST_MB,
    MOST_MB,
    SHARED_BUFFERS,
    SHM_LEAST_MB,
    SHM_SLACK_MB,
    Budget,
    TunedServer,
    find_largest_build_mb,
    find_least_memory_mb,
    least_limit_mb,
    tune,
)
from pgvector_stacks.sizing.settings import Limits

VectorType = Literal["vector", "halfvec", "bit"]
TYPES: tuple[str, ...] = get_args(VectorType)
MOST_DIMENSIONS: Mapping[str, int] = MappingProxyType({"vector": 2000, "halfvec": 4000, "bit": 64000})
MOST_IN_A_COLUMN: Mapping[str, int] = MappingProxyType({"vector": 16000, "halfvec": 16000, "bit": 64000})
MOST_VECTORS = 10**10
LEAST_M, MOST_M = 2, 100
MOST_BUILDS = 64
MOST_ROW_BYTES = 1 << 20

MIB = 1 << 20
PAGE = 8192
LINE_POINTER = 4
SIMULATED = 8192  # simulated elements; their layers are random, with pgvector's distribution

# hnsw.h: HnswElementTupleData without its vector. A neighbour is an ItemPointer of 6 bytes; layer 0 has 2m of them.
ELEMENT_HEADER = 72
NEIGHBOUR = 6
HNSW_PAGE = PAGE - 24 - 8  # page header, HnswPageOpaqueData
# hnswbuild.c: memory that a parallel build reserves. A serial build's allocator takes 2 to 8.5 % more (measured).
BUILD_RESERVE_MB = 3
BUILD_MARGIN = 1.09

HEAP_PAGE = PAGE - 24
TUPLE_HEADER = 24
KEY = 8  # a bigint primary key
TOAST_POINTER = 18
TOAST_THRESHOLD = 2032
TOAST_CHUNK = 1996
TOAST_CHUNK_HEADER = 36  # tuple header, chunk_id, chunk_seq, varlena header
SIMULATED_CHUNKS = 512
TOAST_INDEX_ROW = 22.2  # 16 bytes and a line pointer, pages 90 % full
# A search reads the rows of its hits. It reads vectors outside the row (TOAST) only if the query asks for them.
HOT_PERCENT = 10


@dataclass(frozen=True, slots=True)
class Table:
    """A table and its index, to plan memory for. `type`: the index's; `column`: the table's, if it is another type."""

    vectors: int
    dimensions: int
    type: VectorType = "vector"
    m: int = 16
    column: VectorType | None = None
    row_bytes: int = 0

    def __post_init__(self) -> None:
        """Raise SizeRefused with every mistake."""
        problems = []
        if not 1 <= self.vectors <= MOST_VECTORS:
            problems.append(f"vectors {self.vectors}: allowed are 1 to {MOST_VECTORS:,}")
        for what, kind in (("type", self.type), ("column", self.stored)):
            if kind not in TYPES and (what, kind) != ("column", self.type):
                problems.append(f"{what} {kind!r}: allowed are {', '.join(TYPES)}{suggest_nearest(str(kind), TYPES)}")
        if not LEAST_M <= self.m <= MOST_M:
            problems.append(f"m {self.m}: allowed are {LEAST_M} to {MOST_M}")
        if not 0 <= self.row_bytes <= MOST_ROW_BYTES:
            problems.append(f"row bytes {self.row_bytes}: allowed are 0 to {MOST_ROW_BYTES}")
        if not problems:
            problems += self._dimensions()
        if problems:
            raise SizeRefused("\n".join(problems))

    def _dimensions(self) -> list[str]:
        most = MOST_DIMENSIONS[self.type]
        if not 1 <= self.dimensions <= most:
            larger = [f"{kind} up to {limit}" for kind, limit in MOST_DIMENSIONS.items() if limit >= self.dimensions]
            instead = f"\n  types that take {self.dimensions}: {', '.join(larger)}" * bool(larger)
            return [
                f"dimensions {self.dimensions}: an HNSW index takes 1 to {most} of type {self.type}"
                + instead * (self.dimensions > most)
            ]
        if self.dimensions > MOST_IN_A_COLUMN[self.stored]:
            limit = MOST_IN_A_COLUMN[self.stored]
            return [f"dimensions {self.dimensions}: a column of type {self.stored} takes at most {limit}; store bit"]
        return []

    @property
    def stored(self) -> VectorType:
        """The type that the table stores. A bit index is built from binary_quantize(vector), and the table keeps the
        vectors to re-rank the hits.
        """
        if self.column is not None:
            return self.column
        return "vector" if self.type == "bit" and self.dimensions <= MOST_IN_A_COLUMN["vector"] else self.type


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The needs of a table, in MiB. `container_mb` is the larger of `build_limit_mb` and `serve_limit_mb`."""

    table: Table
    concurrent_builds: int
    index_bytes_per_vector: float
    build_bytes_per_vector: float
    table_mb: int
    index_mb: int
    hot_mb: int
    maintenance_work_mem_mb: int
    shm_mb: int
    build_limit_mb: int | None
    serve_limit_mb: int | None

    @property
    def container_mb(self) -> int | None:
        if self.build_limit_mb is None or self.serve_limit_mb is None:
            return None
        return max(self.build_limit_mb, self.serve_limit_mb)


@dataclass(frozen=True, slots=True)
class PlanFit:
    """How a plan fits the limits of an environment.

    `own_mb`: the environment's maintenance_work_mem; `most_mb`: the largest that its budget allows; `builds_at_mb`: the
    maintenance_work_mem with which the build stays in memory, None if the build spills to disk even with `most_mb`,
    after `spills_after` rows. `cache_mb`: the memory for index and rows. `shm_mb`: the size of /dev/shm, enough for
    `own_mb`; `shm_needed_mb`: what a parallel build takes in /dev/shm.
    """

    limit_mb: int
    own_mb: int
    most_mb: int
    builds_at_mb: int | None
    spills_after: int
    cache_mb: int
    cached: bool
    shm_mb: int
    shm_needed_mb: int

    @property
    def enough(self) -> bool:
        return self.builds_at_mb is not None and self.cached


def plan_table(
    table: Table,
    *,
    concurrent_builds: int = 1,
    cpus: float = 2,
    own: Mapping[str, str] = MappingProxyType({}),
) -> MemoryPlan:
    """Plan the memory and disk space that `table` needs. Raises SizeRefused.

    `concurrent_builds`: how many such indexes are built at once; `own`: overrides of settings that were checked.
    """
    if not 1 <= concurrent_builds <= MOST_BUILDS:
        raise SizeRefused(f"concurrent builds {concurrent_builds}: allowed are 1 to {MOST_BUILDS}")
    index = index_bytes_per_vector(table.dimensions, table.type, table.m)
    build = build_bytes_per_vector(table.dimensions, table.type, table.m)
    row, outside = table_bytes_per_row(table)
    build_mb = BUILD_RESERVE_MB + math.ceil(table.vectors * build * BUILD_MARGIN / MIB)
    index_mb = 1 + math.ceil(table.vectors * index / MIB)
    hot_mb = math.ceil(table.vectors * (row + outside * HOT_PERCENT / 100) / MIB)

    def tuned(memory_mb: int, more: Mapping[str, str]) -> TunedServer:
        return tune(Limits(memory_mb, cpus), {**own, **more}, concurrent_builds=concurrent_builds)

    def build_needs_mb(memory_mb: int) -> int:
        found = tuned(memory_mb, {})
        if build_mb > read_maintenance_work_mem_mb(found):
            found = tuned(memory_mb, {"maintenance_work_mem": f"{build_mb}MB"})
        return least_limit_mb(found.budget.total_mb)

    def serve_needs_mb(memory_mb: int) -> int:
        return memory_mb - cache_mb(tuned(memory_mb, {}).budget) + index_mb + hot_mb

    return MemoryPlan(
        table=table,
        concurrent_builds=concurrent_builds,
        index_bytes_per_vector=index,
        build_bytes_per_vector=build,
        table_mb=1 + math.ceil(table.vectors * (row + outside) / MIB),
        index_mb=index_mb,
        hot_mb=hot_mb,
        maintenance_work_mem_mb=build_mb,
        shm_mb=max(SHM_LEAST_MB, concurrent_builds * build_mb + SHM_SLACK_MB),
        build_limit_mb=find_least_memory_mb(build_needs_mb, LEAST_MB) if build_mb <= MOST_MB else None,
        serve_limit_mb=find_least_memory_mb(serve_needs_mb, LEAST_MB),
    )


def fit_plan(wanted: MemoryPlan, tuned: TunedServer) -> PlanFit:
    """Compare the plan with a server that is tuned for its environment's limits."""
    budget, builds = tuned.budget, wanted.concurrent_builds
    own_mb = read_maintenance_work_mem_mb(tuned)
    most_mb = max(own_mb, find_largest_build_mb(budget, builds))
    needed_mb = wanted.maintenance_work_mem_mb
    graph = max(0, most_mb - BUILD_RESERVE_MB) * MIB / (wanted.build_bytes_per_vector * BUILD_MARGIN)
    cache = cache_mb(budget)
    return PlanFit(
        limit_mb=budget.limit_mb,
        own_mb=own_mb,
        most_mb=most_mb,
        builds_at_mb=own_mb if needed_mb <= own_mb else needed_mb if needed_mb <= most_mb else None,
        spills_after=min(wanted.table.vectors, math.floor(graph)),
        cache_mb=cache,
        cached=wanted.index_mb + wanted.hot_mb <= cache,
        shm_mb=tuned.shm_mb,
        shm_needed_mb=builds * min(max(needed_mb, own_mb), most_mb) + SHM_SLACK_MB,
    )


def cache_mb(budget: Budget) -> int:
    """Return the memory for index and rows while no index is built: shared_buffers and the page cache."""
    return budget.limit_mb - budget.total_mb + budget.mb(SHARED_BUFFERS) + budget.mb(INDEX_BUILDS)


def read_maintenance_work_mem_mb(tuned: TunedServer) -> int:
    """Return the server's maintenance_work_mem, in whole MiB."""
    return parse_size_kb("maintenance_work_mem", tuned.settings["maintenance_work_mem"]) // 1024


def vector_bytes(dimensions: int, type: VectorType) -> int:
    """Return the bytes of one value with its header, uncompressed."""
    return 8 + {"vector": 4 * dimensions, "halfvec": 2 * dimensions, "bit": math.ceil(dimensions / 8)}[type]


def index_bytes_per_vector(dimensions: int, type: VectorType, m: int = 16) -> float:
    """Return the bytes on disk. A page holds whole elements: a vector of 949 to about 1960 dimensions takes a page."""
    return _index_pages(vector_bytes(dimensions, type), m) * PAGE / SIMULATED


def build_bytes_per_vector(dimensions: int, type: VectorType, m: int = 16) -> float:
    """Return the bytes of the graph in memory in a parallel build; a serial build takes up to 9 % more.

    The bytes are those of the element, its vector, and a list of neighbours per layer (1/m of the elements are in
    layer 1, and so on).
    """
    upper = 1 / (m - 1)
    lists = 8 * (1 + upper) + _aligned(8 + 32 * m) + _aligned(8 + 16 * m) * upper
    return 128 + lists + _aligned(vector_bytes(dimensions, type))


def table_bytes_per_row(table: Table) -> tuple[float, float]:
    """Return the bytes in the table itself, and in TOAST with its index. The primary key's index is not included."""
    value = vector_bytes(table.dimensions, table.stored)
    inside, outside = TUPLE_HEADER + KEY + table.row_bytes, 0.0
    if inside + value > TOAST_THRESHOLD:
        inside, outside = inside + TOAST_POINTER, _toast_bytes(value - 4)
        if inside > TOAST_THRESHOLD:
            inside = TUPLE_HEADER + KEY + 2 * TOAST_POINTER
            outside += _toast_bytes(table.row_bytes)
    else:
        inside += value
    return PAGE / (HEAP_PAGE // (_aligned(inside) + LINE_POINTER)), outside


@lru_cache(maxsize=256)
def _index_pages(value: int, m: int) -> int:
    """Count the pages that `SIMULATED` elements fill. Element and neighbours share a page if both fit on one."""
    element = _aligned(ELEMENT_HEADER + value)
    draw = random.Random(m)
    most_layers = (HNSW_PAGE - 2 * LINE_POINTER) // NEIGHBOUR // m - 2
    pages, free = 0, 0
    for _ in range(SIMULATED):
        layer = min(most_layers, int(-math.log(1 - draw.random()) / math.log(m)))
        neighbours = _aligned(4 + NEIGHBOUR * m * (layer + 2))
        together = element + neighbours + 2 * LINE_POINTER
        if free < (together if together <= HNSW_PAGE else element + LINE_POINTER):
            pages, free = pages + 1, HNSW_PAGE
        free -= element + LINE_POINTER
        if free < neighbours + LINE_POINTER:
            pages, free = pages + 1, HNSW_PAGE
        free -= neighbours + LINE_POINTER
    return pages


@lru_cache(maxsize=256)
def _toast_bytes(data: int) -> float:
    """Return the bytes of a value in TOAST. A chunk goes to the last page used, else one with room, else a new one."""
    whole, rest = divmod(data, TOAST_CHUNK)
    chunks = [TOAST_CHUNK] * whole + [rest] * (rest > 0)
    values = max(1, SIMULATED_CHUNKS // len(chunks))
    free: list[int] = []
    last = -1
    for chunk in chunks * values:
        size = _aligned(TOAST_CHUNK_HEADER + chunk) + LINE_POINTER
        if last < 0 or free[last] < size:
            last = next((page for page, room in enumerate(free) if room >= size), len(free))
            if last == len(free):
                free.append(HEAP_PAGE)
        free[last] -= size
    return len(free) * PAGE / values + len(chunks) * TOAST_INDEX_ROW


def _aligned(size: int) -> int:
    return (size + 7) // 8 * 8

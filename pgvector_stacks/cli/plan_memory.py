"""`pgstack plan-memory`: prints what a table of vectors needs, and whether a stack's limits are enough. Asks no server.

`sizing/hnsw_memory.py` computes the numbers; this module parses the options and formats the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, cast

from rich.table import Table as Grid

from pgvector_stacks.cli import printing
from pgvector_stacks.common.errors import SizeRefused
from pgvector_stacks.config.environment import format_settings, from_file
from pgvector_stacks.sizing.budget import MOST_MB, check_overrides, tune_for_container
from pgvector_stacks.sizing.hnsw_memory import (
    BUILD_MARGIN,
    HOT_PERCENT,
    TYPES,
    MemoryPlan,
    PlanFit,
    Table,
    VectorType,
    fit_plan,
    plan_table,
)

DEFAULT_CPUS = 2
MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
MOST_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Question:
    """The command's options, as the user typed them."""

    vectors: str
    dimensions: str
    type: str = "vector"
    m: str = "16"
    column: str | None = None
    row_bytes: str = "0"
    concurrent_builds: str = "1"
    stack: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The plan; how it fits the stack, if one is named; if it doesn't, plans with vector types that need less."""

    plan: MemoryPlan
    stack: str | None = None
    fit: PlanFit | None = None
    instead: tuple[MemoryPlan, ...] = ()


def compute_answer(question: Question) -> Answer:
    """Compute the answer. Raises SizeRefused for impossible sizes, ConfigError and SettingRefused for a bad stack."""
    table = Table(
        vectors=parse_count("--vectors", question.vectors),
        dimensions=parse_count("--dimensions", question.dimensions),
        type=cast(VectorType, question.type),
        m=parse_count("--m", question.m),
        column=cast(VectorType | None, question.column),
        row_bytes=parse_count("--row-bytes", question.row_bytes),
    )
    builds = parse_count("--concurrent-builds", question.concurrent_builds)
    if question.stack is None:
        return Answer(plan_table(table, concurrent_builds=builds, cpus=DEFAULT_CPUS))
    environment = from_file(question.stack)
    own = check_overrides(format_settings(environment.settings))
    wanted = plan_table(table, concurrent_builds=builds, cpus=environment.cpus, own=own)
    server = tune_for_container(environment.limits, environment.durability, own, concurrent_builds=builds)
    found = fit_plan(wanted, server)
    instead = () if found.enough else tuple(_smaller(wanted, environment.cpus, own))
    return Answer(wanted, question.stack, found, instead)


def parse_count(option: str, text: str) -> int:
    """Parse `1e6`, `1_000_000`, `1,000,000`, `1M` or `2.5k` as a whole number. Raises SizeRefused."""
    pattern = r"(\d+(?:_\d+)*|\d{1,3}(?:,\d{3})+)(\.\d+)?(?:e\+?(\d{1,2}))?\s*([kmgb]?)"
    match = re.fullmatch(pattern, text.strip().lower(), re.ASCII)
    if match is not None and len(text) <= 40:
        value = Decimal(match[1].replace(",", "").replace("_", "") + (match[2] or "")).scaleb(int(match[3] or 0))
        value *= MULTIPLES[match[4]]
        if value == value.to_integral_value() and value.adjusted() < MOST_DIGITS:
            return int(value)
    raise SizeRefused(f"{option} {text!r}: allowed is a whole number, like 1000000, 1_000_000, 1,000,000, 1e6 or 1M")


def _smaller(wanted: MemoryPlan, cpus: float, own: Mapping[str, str]) -> Iterator[MemoryPlan]:
    """Yield plans for the same table with an index of a smaller type, if that needs less memory."""
    table = wanted.table
    for kind in TYPES[TYPES.index(table.type) + 1 :]:
        other = Table(table.vectors, table.dimensions, cast(VectorType, kind), table.m, table.stored, table.row_bytes)
        found = plan_table(other, concurrent_builds=wanted.concurrent_builds, cpus=cpus, own=own)
        if (found.container_mb or MOST_MB) < (wanted.container_mb or MOST_MB):
            yield found


def build_plan_rows(wanted: MemoryPlan) -> list[tuple[str, str, str]]:
    """Return the rows of the answer: (what, how much, why)."""
    table, builds = wanted.table, wanted.concurrent_builds
    stored = "" if table.stored == table.type else f", stored as {table.stored}"
    build = wanted.build_bytes_per_vector
    margin = round((BUILD_MARGIN - 1) * 100)
    return [
        ("table", _size(wanted.table_mb), f"rows and vectors{stored}, no other index"),
        ("index", _size(wanted.index_mb), f"{wanted.index_bytes_per_vector:,.0f} bytes a vector on disk"),
        ("hot rows", _size(wanted.hot_mb), f"the rows, {HOT_PERCENT} % of what is in TOAST"),
        (
            "maintenance_work_mem",
            f"{wanted.maintenance_work_mem_mb}MB",
            f"to build: {build:,.0f} bytes a vector + {margin} %",
        ),
        ("/dev/shm", _size(wanted.shm_mb), f"{builds} × the build in parallel, and queries"),
        ("memoryMb to build", _limit(wanted.build_limit_mb), "the build stays in memory"),
        ("memoryMb to serve", _limit(wanted.serve_limit_mb), "index and hot rows stay in memory"),
        ("memoryMb", _limit(wanted.container_mb), "the larger of the two"),
    ]


def describe_fit(found: Answer) -> list[str]:
    """Return how the plan fits the stack, one statement per line."""
    wanted, how = found.plan, found.fit
    if how is None:
        return []
    lines = [f"{found.stack} (pgvector:memoryMb = {how.limit_mb}): {'enough' if how.enough else 'not enough'}"]
    if how.builds_at_mb == how.own_mb:
        lines.append(f"  build: stays in memory with the server's own maintenance_work_mem of {how.own_mb}MB")
    elif how.builds_at_mb is not None:
        lines.append(
            f"  build: stays in memory with maintenance_work_mem = {how.builds_at_mb}MB (the server's own is"
            f" {how.own_mb}MB; the scripts have {how.most_mb}MB, another session asks for it with SET)"
        )
    else:
        percent = how.spills_after * 100 // wanted.table.vectors
        lines.append(
            f"  build: its budget holds a maintenance_work_mem of {how.most_mb}MB; after {how.spills_after:,} vectors"
            f" ({percent} %) the graph no longer fits and the rest is inserted on disk, many times slower"
        )
    if how.shm_needed_mb > how.shm_mb:
        lines.append(
            f"  /dev/shm: {how.shm_mb} MiB in a container, parallel builds take {how.shm_needed_mb} MiB: let fewer"
            " run at a time"
        )
    needed = wanted.index_mb + wanted.hot_mb
    place = f"index and hot rows take {_size(needed)} of the {_size(how.cache_mb)} left for them"
    lines.append(f"  search: {place}" if how.cached else f"  search: {place}: searches read from disk")
    if not how.enough:
        if wanted.container_mb and wanted.container_mb > how.limit_mb:
            lines.append(f"  set pgvector:memoryMb to {wanted.container_mb} or more")
        lines += [_instead(other, how) for other in found.instead]
    return lines


def _instead(other: MemoryPlan, how: PlanFit) -> str:
    """Return the line that proposes a plan with another vector type."""
    kind, dimensions = other.table.type, other.table.dimensions
    enough = ", which this stack has" if (other.container_mb or MOST_MB) <= how.limit_mb else ""
    again = "; its hits are to be ranked again by the vectors" if kind == "bit" else ""
    return f"  or index as {kind}({dimensions}): memoryMb {other.container_mb}{enough}{again}"


def to_json(found: Answer) -> str:
    """Return the answer as JSON, sizes in MiB, names in camelCase as in the stack files."""
    wanted = found.plan
    content: dict[str, Any] = asdict(wanted) | {"container_mb": wanted.container_mb}
    content["table"] = asdict(wanted.table) | {"column": wanted.table.stored}
    if found.fit is not None:
        content["stack"] = {"name": found.stack, "enough": found.fit.enough} | asdict(found.fit)
        content["instead"] = {other.table.type: other.container_mb for other in found.instead}
    return printing.to_json(content)


def show(found: Answer) -> None:
    """Print the answer as a table, and the verdict; on a terminal in colour."""
    table = found.plan.table
    console = printing.make_console()
    console.print(f"{table.vectors:,} × {table.type}({table.dimensions}), HNSW with m = {table.m}", soft_wrap=True)
    grid = Grid(show_header=True, header_style="bold")
    grid.add_column("what", no_wrap=True)
    grid.add_column("needed", justify="right", no_wrap=True)
    grid.add_column("why", overflow="fold")
    for row in build_plan_rows(found.plan):
        grid.add_row(*row)
    console.print(grid)
    if table.m > 32:
        console.print(f"ef_construction must be at least {2 * table.m} with this m", soft_wrap=True)
    for line in describe_fit(found):
        console.print(line, soft_wrap=True)


def _size(mb: int) -> str:
    """Format a size: in MiB below 2 GiB, else in GiB with one decimal."""
    return f"{mb} MiB" if mb < 2048 else f"{mb / 1024:,.1f} GiB"


def _limit(mb: int | None) -> str:
    return f"above {MOST_MB}" if mb is None else str(mb)

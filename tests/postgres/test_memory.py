"""The sizes of tables and HNSW indexes: as published, as measured, and as a real server makes them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pgvector_stacks.common.errors import SizeRefused
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.sizing.budget import LEAST_MB, STEP_MB, tune, tune_for_container
from pgvector_stacks.sizing.hnsw_memory import (  # fmt: skip
    BUILD_MARGIN,
    BUILD_RESERVE_MB,
    MIB,
    MOST_DIMENSIONS,
    Table,
    VectorType,
    build_bytes_per_vector,
    cache_mb,
    fit_plan,
    index_bytes_per_vector,
    plan_table,
    table_bytes_per_row,
)
from pgvector_stacks.sizing.settings import Limits
from tests.conftest import FreshDatabase

TABLES = st.sampled_from(["vector", "halfvec", "bit"]).flatmap(
    lambda kind: st.builds(
        Table,
        vectors=st.integers(1, 20_000_000),
        dimensions=st.integers(1, MOST_DIMENSIONS[kind]),
        type=st.just(kind),
        m=st.integers(2, 100),
        row_bytes=st.integers(0, 10_000),
    )
)


@pytest.mark.parametrize(
    ("kind", "dimensions", "vectors", "published_mb", "source"),
    [
        ("vector", 1536, 990_000, 7734, "pgvector#326, dbpedia"),
        ("halfvec", 1536, 990_000, 3867, "pgvector#326, dbpedia"),
        ("bit", 1536, 990_000, 0.46 * 1024, "J. Katz 2024-04-30, dbpedia"),
        ("vector", 128, 1_000_000, 0.76 * 1024, "J. Katz 2024-04-30, sift"),
        ("halfvec", 128, 1_000_000, 0.52 * 1024, "J. Katz 2024-04-30, sift"),
        ("vector", 960, 1_000_000, 7.50 * 1024, "J. Katz 2024-04-30, gist (has duplicates)"),
        ("halfvec", 960, 1_000_000, 2.50 * 1024, "J. Katz 2024-04-30, gist (has duplicates)"),
        ("vector", 1280, 900_000, 7036, "pgvector#370"),
        ("vector", 768, 10_000_000, 38 * 1024, "pgvector#967"),
        ("vector", 1024, 60_020, 469, "deeplethe/utopia#512"),
    ],
)
def test_an_index_is_as_large_as_published(
    kind: VectorType, dimensions: int, vectors: int, published_mb: float, source: str
) -> None:
    predicted_mb = vectors * index_bytes_per_vector(dimensions, kind) / MIB
    assert predicted_mb == pytest.approx(published_mb, rel=0.025), source


@pytest.mark.parametrize(
    ("kind", "dimensions", "index", "build"),
    [
        ("vector", 128, 819, 1194), ("vector", 384, 2048, 2218), ("vector", 512, 2731, 2730),
        ("vector", 768, 4096, 3754), ("vector", 949, 8192, 4482), ("vector", 1024, 8192, 4778),
        ("vector", 1536, 8192, 6826), ("halfvec", 768, 2048, 2218), ("halfvec", 1024, 2731, 2730),
        ("halfvec", 1536, 4096, 3754), ("halfvec", 3072, 8192, 6826), ("bit", 1536, 482, 874),
        ("vector", 2000, 16384, 8682),
    ],
)  # fmt: skip
def test_bytes_a_vector_follow_from_the_formulas(kind: VectorType, dimensions: int, index: int, build: int) -> None:
    """`index`: whole elements a page, upper layers aside, which may take some more."""
    assert index <= index_bytes_per_vector(dimensions, kind) + 0.5 <= index * 1.05
    assert build_bytes_per_vector(dimensions, kind) == pytest.approx(build, abs=1)


@pytest.mark.parametrize(
    ("kind", "dimensions", "told"),
    [
        ("vector", 2001, "takes 1 to 2000 of type vector\n  types that take 2001: halfvec up to 4000, bit up to 64000"),
        ("halfvec", 4001, "takes 1 to 4000 of type halfvec\n  types that take 4001: bit up to 64000"),
        ("bit", 64001, "takes 1 to 64000 of type bit"),
        ("vector", 0, "takes 1 to 2000 of type vector"),
    ],
)
def test_more_dimensions_than_an_index_takes_are_refused(kind: VectorType, dimensions: int, told: str) -> None:
    with pytest.raises(SizeRefused) as error:
        Table(1, dimensions, kind)
    assert str(error.value) == f"dimensions {dimensions}: an HNSW index {told}"


def test_a_column_has_limits_of_its_own() -> None:
    assert Table(1, 16001, "bit").stored == "bit"
    with pytest.raises(SizeRefused, match="a column of type vector takes at most 16000; store bit"):
        Table(1, 16001, "bit", column="vector")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SizeRefused) as error:
        Table(0, 3, "halfvek", m=1, row_bytes=-1)  # type: ignore[arg-type]
    assert str(error.value).splitlines() == [
        "vectors 0: allowed are 1 to 10,000,000,000",
        "type 'halfvek': allowed are vector, halfvec, bit; did you mean \"halfvec\"?",
        "m 1: allowed are 2 to 100",
        "row bytes -1: allowed are 0 to 1048576",
    ]
    with pytest.raises(SizeRefused, match="concurrent builds 0"):
        plan_table(Table(1, 3), concurrent_builds=0)


# plans


@given(TABLES)
@hypothesis_settings(deadline=None, max_examples=50)
def test_a_plan_holds_in_the_container_it_names(table: Table) -> None:
    wanted = plan_table(table, cpus=2)
    graph_mb = wanted.maintenance_work_mem_mb - BUILD_RESERVE_MB
    assert graph_mb * MIB >= table.vectors * wanted.build_bytes_per_vector * BUILD_MARGIN
    assert wanted.shm_mb >= wanted.maintenance_work_mem_mb + 128
    if wanted.build_limit_mb is None or wanted.serve_limit_mb is None:
        return
    at = Limits(wanted.build_limit_mb, 2)
    own = {"maintenance_work_mem": f"{wanted.maintenance_work_mem_mb}MB"}
    assert tune(at, own).budget.fits
    assert wanted.shm_mb < wanted.build_limit_mb
    assert cache_mb(tune(Limits(wanted.serve_limit_mb, 2)).budget) >= wanted.index_mb + wanted.hot_mb
    if wanted.build_limit_mb > LEAST_MB + STEP_MB:
        less = Limits(wanted.build_limit_mb - STEP_MB, 2)
        assert not tune(less, own).budget.fits or not tune(less).budget.fits


@given(TABLES, st.integers(0, 1_000_000))
@hypothesis_settings(deadline=None, max_examples=50)
def test_more_vectors_never_need_less(table: Table, more: int) -> None:
    larger = Table(table.vectors + more, table.dimensions, table.type, table.m, table.column, table.row_bytes)
    for name in ("table_mb", "index_mb", "hot_mb", "maintenance_work_mem_mb", "shm_mb"):
        assert getattr(plan_table(table), name) <= getattr(plan_table(larger), name)
    assert (plan_table(table).container_mb or 1 << 40) <= (plan_table(larger).container_mb or 1 << 40)


@pytest.mark.parametrize("kind", ["vector", "halfvec", "bit"])
@pytest.mark.parametrize("m", [2, 16, 48])
def test_more_dimensions_never_need_less(kind: VectorType, m: int) -> None:
    most = MOST_DIMENSIONS[kind]
    sizes = [
        (index_bytes_per_vector(dimensions, kind, m), build_bytes_per_vector(dimensions, kind, m))
        for dimensions in range(1, most + 1, most // 40)
    ]
    assert all(one[0] <= other[0] and one[1] <= other[1] for one, other in pairwise(sizes))


def test_two_builds_at_once_need_twice_the_shm() -> None:
    one, two = plan_table(Table(100_000, 768)), plan_table(Table(100_000, 768), concurrent_builds=2)
    assert two.shm_mb - one.shm_mb == one.maintenance_work_mem_mb
    assert (two.build_limit_mb or 0) > (one.build_limit_mb or 0)


@pytest.mark.parametrize(
    ("vectors", "builds_at_mb", "spills_after", "cached"),
    [(10_000, 64, 10_000, True), (50_000, 119, 50_000, True), (1_000_000, None, 52_910, False)],
)
def test_a_small_environment_builds_what_fits_and_says_where_it_spills(
    vectors: int, builds_at_mb: int | None, spills_after: int, cached: bool
) -> None:
    wanted = plan_table(Table(vectors, 384), cpus=1)
    found = fit_plan(wanted, tune_for_container(Limits(1024, 1)))
    assert (found.builds_at_mb, found.cached, found.own_mb) == (builds_at_mb, cached, 64)
    assert found.spills_after == spills_after
    assert found.enough == ((wanted.container_mb or 1 << 40) <= 1024)


@given(TABLES, st.integers(8, 512).map(lambda steps: steps * STEP_MB))
@hypothesis_settings(deadline=None, max_examples=50)
def test_a_limit_is_enough_exactly_from_the_one_a_plan_names(table: Table, memory_mb: int) -> None:
    wanted = plan_table(table, cpus=2)
    found = fit_plan(wanted, tune(Limits(memory_mb, 2)))
    assert found.enough == ((wanted.container_mb or 1 << 40) <= memory_mb)


# against a real server


def fill(database: FreshDatabase, table: Table) -> tuple[int, int]:
    """The table with random values and its index, built in one process: bytes of the index and of the table."""
    column = f"{table.stored}({table.dimensions})"
    series = f"generate_series(1, {table.dimensions}) WHERE i > 0"
    value = f"(SELECT array_agg(random() - 0.5) FROM {series})::vector::{column}"
    if table.stored == "bit":
        value = f"(SELECT string_agg((random() > 0.5)::int::text, '') FROM {series})::{column}"
    indexed = "v" if table.stored == table.type else f"(v::{table.type}({table.dimensions}))"
    if table.type == "bit" != table.stored:
        indexed = f"(binary_quantize(v)::bit({table.dimensions}))"
    operators = {"vector": "vector_l2_ops", "halfvec": "halfvec_l2_ops", "bit": "bit_hamming_ops"}[table.type]
    with connect(database.admin, own_path=True) as connection:
        for statement in (
            "SELECT setseed(0.5)",
            f"CREATE TABLE app.sized (id bigint, v {column})",
            f"INSERT INTO app.sized SELECT i, {value} FROM generate_series(1, {table.vectors}) i",
            "SET max_parallel_maintenance_workers = 0",
            "SET maintenance_work_mem = '64MB'",
            f"CREATE INDEX sized_hnsw ON app.sized USING hnsw ({indexed} {operators})"
            f" WITH (m = {table.m}, ef_construction = {2 * table.m})",
        ):
            connection.execute(statement.encode())
    ((index, whole),) = database.ask("SELECT pg_relation_size('app.sized_hnsw'), pg_table_size('app.sized')")
    return index, whole


@pytest.mark.promise("An HNSW index is as large as predicted")
@pytest.mark.parametrize(
    "table",
    [
        Table(5000, 384),
        Table(2000, 768, m=8),
        Table(1500, 948),  # two to a page, unless one reaches an upper layer
        Table(1500, 1536),
        Table(1000, 2000),  # element and neighbours on a page each
        Table(1500, 1536, "halfvec", column="vector"),
        Table(5000, 1536, "bit"),
    ],
    ids=lambda table: f"{table.type}({table.dimensions})",
)
def test_a_real_index_and_table_are_as_large_as_predicted(fresh_database: FreshDatabase, table: Table) -> None:
    index, whole = fill(fresh_database, table)
    assert table.vectors * index_bytes_per_vector(table.dimensions, table.type, table.m) == pytest.approx(
        index, rel=0.025
    )
    assert table.vectors * sum(table_bytes_per_row(table)) == pytest.approx(whole, rel=0.025)


@pytest.mark.parametrize("kind", ["vector", "bit"])
def test_a_real_build_spills_where_predicted(fresh_database: FreshDatabase, kind: VectorType) -> None:
    """pgvector says after how many rows the graph no longer fits: at most 9 % before the formula without margin."""
    dimensions = {"vector": 384, "bit": 1536}[kind]
    said: list[str] = []
    value = {
        "vector": f"(SELECT array_agg(random()) FROM generate_series(1, {dimensions}) WHERE i > 0)::vector",
        "bit": f"(SELECT string_agg((random() > 0.5)::int::text, '') FROM generate_series(1, {dimensions}) WHERE i > 0)"
        f"::bit({dimensions})",
    }[kind]
    operators = {"vector": "vector_l2_ops", "bit": "bit_hamming_ops"}[kind]
    with connect(fresh_database.admin, own_path=True) as connection:
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        for statement in (
            f"CREATE TABLE app.spilling AS SELECT {value} AS v FROM generate_series(1, 5500) i",
            f"ALTER TABLE app.spilling ALTER v TYPE {kind}({dimensions})",
            "SET max_parallel_maintenance_workers = 0",
            "SET maintenance_work_mem = '4MB'",
            f"CREATE INDEX ON app.spilling USING hnsw (v {operators}) WITH (ef_construction = 32)",
        ):
            connection.execute(statement.encode())
    (words,) = [text.split() for text in said if "no longer fits" in text]
    held = int(words[words.index("after") + 1])
    exact = 4 * MIB / build_bytes_per_vector(dimensions, kind)
    assert exact / BUILD_MARGIN <= held <= exact

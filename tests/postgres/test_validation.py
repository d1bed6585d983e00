"""What fails the `up` although every script is committed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.connections.connection import connect
from pgvector_stacks.inspection import recall, validation
from pgvector_stacks.inspection.validation import ServerRequirements, ValidationReport, validate, version_tuple
from tests.conftest import FreshDatabase


def report(database: FreshDatabase, demands: ServerRequirements | None = None) -> ValidationReport:
    with connect(database.admin) as connection:
        return validate(connection, demands or ServerRequirements(settings=database.server.settings))


def fill(database: FreshDatabase, rows: int) -> None:
    database.do("INSERT INTO app.tenant (tenant_id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'a')")
    database.do("INSERT INTO app.document (document_id, tenant_id, title) OVERRIDING SYSTEM VALUE VALUES (1, 1, 'd')")
    database.do(
        f"INSERT INTO app.chunk (document_id, position, content) SELECT 1, i, 'c' FROM generate_series(1, {rows}) i"
    )
    database.do("SELECT setseed(0.5)")
    database.do(
        "INSERT INTO app.embedding SELECT chunk_id, 'm', (SELECT array_agg(random()) FROM generate_series(1, 384)"
        " WHERE chunk_id > 0)::vector FROM app.chunk"
    )


def test_a_good_server_passes_every_check_and_nothing_stays(fresh_database: FreshDatabase) -> None:
    found = report(fresh_database)
    assert found.failures == {}
    assert set(found.results) == set(validation.CHECKS)
    assert report(fresh_database) == found  # no times, no random values
    assert fresh_database.ask("SELECT count(*) FROM pg_class WHERE relname LIKE '%probe%'") == [(0,)]


def test_a_pgvector_below_the_floor_fails(fresh_database: FreshDatabase) -> None:
    found = report(fresh_database, ServerRequirements(pgvector_minimum="99.0"))
    assert "this environment demands 99.0 (pgvector:pgvectorMinimum)" in found.failures["version"]


def test_a_setting_that_is_not_what_was_derived_fails(fresh_database: FreshDatabase) -> None:
    found = report(fresh_database, ServerRequirements(settings=fresh_database.server.settings | {"work_mem": "123MB"}))
    assert "work_mem is" in found.failures["settings"]
    assert "derived 123MB" in found.failures["settings"]


def test_an_intact_index_agrees_with_the_exact_scan(fresh_database: FreshDatabase) -> None:
    fill(fresh_database, 300)
    assert report(fresh_database).results["existing vector indexes"] == "ok: 1 agree with the exact scan"


@pytest.mark.promise("Validation fails where a vector index finds nothing")
def test_an_index_that_finds_nothing_fails_although_it_is_valid(fresh_database: FreshDatabase) -> None:
    """Rows the index never saw: indisvalid says true, and every search misses them."""
    fill(fresh_database, 200)
    fresh_database.do("UPDATE pg_index SET indisready = false WHERE indexrelid = 'app.embedding_hnsw'::regclass")
    fresh_database.do("DELETE FROM app.embedding")
    fresh_database.do(
        "INSERT INTO app.embedding SELECT chunk_id, 'n', (SELECT array_agg(random()) FROM generate_series(1, 384)"
        " WHERE chunk_id > 0)::vector FROM app.chunk"
    )
    fresh_database.do("UPDATE pg_index SET indisready = true WHERE indexrelid = 'app.embedding_hnsw'::regclass")
    found = report(fresh_database)
    assert "app.embedding_hnsw finds" in found.failures["existing vector indexes"]
    assert "REINDEX INDEX CONCURRENTLY app.embedding_hnsw" in found.failures["existing vector indexes"]


def test_vectors_that_no_index_tells_apart_are_told_and_fail_nothing(fresh_database: FreshDatabase) -> None:
    """Random ones, as everybody tries first: the index is sound, and a REINDEX would find no more."""
    fresh_database.do("DROP INDEX app.embedding_hnsw")
    fill(fresh_database, 3000)
    fresh_database.do(
        "CREATE INDEX hard ON app.embedding USING hnsw (embedding vector_cosine_ops) WITH (m = 2, ef_construction = 4)"
    )
    found = report(fresh_database)
    assert found.failures == {}
    assert found.results["existing vector indexes"] == (
        "ok: find others nearly as near, since the vectors hardly differ in distance: app.hard"
    )


@given(
    st.lists(st.tuples(*[st.lists(st.floats(-1, 1), min_size=1, max_size=10).map(sorted)] * 3), min_size=1, max_size=5)
)
def test_what_counts_as_near_is_at_least_what_counts_as_found(
    pairs: list[tuple[list[float], list[float], list[float]]],
) -> None:
    got = recall.compute_recall(pairs)
    assert got is not None
    assert 0 <= got.exact <= got.near <= 1
    itself = recall.compute_recall([(exact, exact, others) for exact, _, others in pairs])
    assert itself == recall.Recall(1.0, 1.0)
    nothing = recall.compute_recall([(exact, [], others) for exact, _, others in pairs])
    assert nothing == recall.Recall(0.0, 0.0)


def test_a_row_at_random_is_not_nearly_as_near() -> None:
    exact, others = [0.1, 0.2], [0.9, 1.0, 1.1]
    assert recall.compute_recall([(exact, [0.2, 0.5], others)]) == recall.Recall(0.5, 0.5)
    assert recall.compute_recall([(exact, [0.2, 0.35], others)]) == recall.Recall(0.5, 1.0)


@pytest.mark.parametrize(
    "index",
    [
        "USING ivfflat (v vector_l2_ops) WITH (lists = 5)",
        "USING hnsw (v vector_ip_ops)", "USING hnsw (v vector_l1_ops)",
        "USING hnsw ((v::halfvec(8)) halfvec_cosine_ops)", "USING hnsw (v vector_l2_ops) WHERE id % 2 = 0",
        "USING hnsw ((binary_quantize(v)::bit(8)) bit_hamming_ops)", "USING hnsw ((v::sparsevec) sparsevec_l2_ops)",
    ],
)  # fmt: skip
def test_every_kind_of_vector_index_can_be_asked(fresh_database: FreshDatabase, index: str) -> None:
    fresh_database.do('CREATE TABLE app."Odd name" (id int, v vector(8))')
    fresh_database.do(
        'INSERT INTO app."Odd name"'
        " SELECT i, (SELECT array_agg(random() - 0.5) FROM generate_series(1, 8) WHERE i > 0)::vector"
        " FROM generate_series(1, 400) i"
    )
    if "sparsevec" in index:
        index = index.replace("v::sparsevec", "v::sparsevec(8)")
    fresh_database.do(f'CREATE INDEX odd ON app."Odd name" {index}')
    result = report(fresh_database).results["existing vector indexes"]
    assert result == "ok: 2 agree with the exact scan" or result == "ok: 1 agree with the exact scan; 1 of them empty"


@given(st.lists(st.integers(0, 99), min_size=1, max_size=3), st.lists(st.integers(0, 99), min_size=1, max_size=3))
def test_versions_compare_by_number(one: list[int], other: list[int]) -> None:
    pad = [[*numbers, 0, 0][:3] for numbers in (one, other)]
    first, second = (version_tuple(".".join(map(str, numbers))) for numbers in (one, other))
    assert (first < second) == (pad[0] < pad[1])


def test_the_extension_may_lie_in_a_schema_that_no_path_names(fresh_database: FreshDatabase) -> None:
    fill(fresh_database, 200)
    fresh_database.do('CREATE SCHEMA "Ext ension"')
    fresh_database.do('ALTER EXTENSION vector SET SCHEMA "Ext ension"')
    found = report(fresh_database)
    assert found.failures == {}
    assert found.results["existing vector indexes"] == "ok: 1 agree with the exact scan"

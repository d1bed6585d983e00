"""Which text indexes are rebuilt, and what a preview says of them: decided without a server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgvector_stacks.upgrade.checks.collations import describe_rebuilds, find_misordered
from pgvector_stacks.upgrade.facts import (
    CollatedIndex,
    Collation,
    DatabaseFacts,
    SourceServer,
    TargetVersion,
    parse_collated_indexes,
)
from tests.upgrade.test_decision import SOURCE

MB = 10**6
OLD = Collation("default", "c", "2.36", "2.36")
MOVED = replace(OLD, actual="2.41")
ICU = Collation('pg_catalog."de-x-icu"', "i", "153.120", "153.120")
TARGET = TargetVersion(17, 6, {}, "2.41")


def source(*indexes: CollatedIndex) -> SourceServer:
    return replace(SOURCE, databases={"app": DatabaseFacts(text_indexes=indexes), "postgres": DatabaseFacts()})


def index(name: str, size: int, *collations: Collation, unique: bool = False) -> CollatedIndex:
    return CollatedIndex(f"public.{name}", size, unique, False, collations)


def test_an_index_is_sorted_anew_where_its_library_is_another_one_than_it_was_sorted_by() -> None:
    before = [index("a", 1, OLD), index("b", 1, ICU), index("c", 1, replace(OLD, recorded=None))]
    now = [
        index("a", 1, MOVED),
        index("b", 1, replace(ICU, recorded="153.121", actual="153.121")),  # predefined: made again by initdb
        index("c", 1, replace(OLD, recorded=None, actual="2.41")),  # nobody knows by what it was sorted
    ]
    assert [each.name for each in find_misordered(before, now)] == ["public.a", "public.b"]
    assert [each.name for each in now if each.stale] == ["public.a"]  # what may wait: PostgreSQL knows it
    assert find_misordered(before, before) == []
    assert find_misordered([], now[1:]) == []  # a restored dump


def test_the_preview_names_the_largest_and_their_sum() -> None:
    found = source(*(index(f"i{number}", number * MB, OLD, unique=number == 7) for number in range(1, 8)))
    said = describe_rebuilds(found, TARGET, "before")
    assert said == (
        "rebuilds 7 text indexes (28 MB) while the database is closed (C library 2.36 → 2.41): app: public.i7 7 MB, "
        "app: public.i6 6 MB, app: public.i5 5 MB, app: public.i4 4 MB, app: public.i3 3 MB (+2 more)"
    )
    said = describe_rebuilds(found, TARGET, "after")
    assert "MB) once the server serves (" in said
    assert "\n  until then queries by them may miss rows, and unique ones (1) may let duplicates in" in said


@pytest.mark.parametrize(
    ("target", "each", "said"),
    [
        (TARGET, OLD, "rebuilds 1 text index (2 MB) while"),
        (replace(TARGET, libc="2.36"), OLD, ""),
        (replace(TARGET, libc=None), OLD, "rebuilds 1 text index (2 MB) if PostgreSQL 17.6 has another"),
        (TARGET, ICU, "rebuilds 1 text index (2 MB) if PostgreSQL 17.6 has another"),
        (TARGET, replace(OLD, recorded=None), ""),
    ],
)
def test_what_is_not_known_is_not_promised(target: TargetVersion, each: Collation, said: str) -> None:
    found = describe_rebuilds(source(index("a", 2 * MB, each)), target, "before")
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_rows_of_the_query_are_taken_over() -> None:
    row = {"index": "public.a", "bytes": 7, "is_unique": True, "is_exclusion": False,
           "collations": [{"name": "default", "provider": "c", "recorded": "2.36", "actual": "2.41"}]}  # fmt: skip
    assert parse_collated_indexes([row]) == (index("a", 7, MOVED, unique=True),)

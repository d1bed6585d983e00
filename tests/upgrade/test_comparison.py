"""What counts as a difference between kept and running data, decided without a server."""

from __future__ import annotations

import pytest

from pgvector_stacks.upgrade.checks.comparison import (
    DatabaseSums,
    DifferingRows,
    SequenceState,
    TableSum,
    describe_differences,
    find_differing_tables,
)


def tables(**rows: tuple[int, int]) -> DatabaseSums:
    return DatabaseSums({name: TableSum(*each) for name, each in rows.items()}, {})


def test_only_tables_of_both_sides_whose_rows_differ_are_counted() -> None:
    kept, now = tables(a=(1, 5), b=(1, 5), c=(2, 5), gone=(1, 1)), tables(a=(1, 5), b=(1, 6), c=(1, 5), new=(1, 1))
    assert find_differing_tables(kept, now) == ["b", "c"]
    assert describe_differences(kept, kept, {}) == []
    assert describe_differences(kept, now, {"b": DifferingRows(1, 1), "c": DifferingRows(1, 0)}) == [
        "table b: 1 rows kept, 1 now; 1 of the kept ones are not there as they were, 1 are new or changed",
        "table c: 2 rows kept, 1 now; 1 of the kept ones are not there as they were, 0 are new or changed",
        "table gone: gone, with its 1 rows",
        "table new: new, 1 rows",
    ]


def test_a_change_that_was_undone_while_it_was_counted_is_no_difference() -> None:
    assert describe_differences(tables(a=(1, 5)), tables(a=(1, 6)), {"a": DifferingRows(0, 0)}) == []


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ((None, 1), (None, 1), ""),
        ((7, 1), (7, 1), ""),
        ((7, 1), (39, 1), ""),  # as a standby has it
        ((7, 1), (40, 1), "7 when it was kept, 40 now"),
        ((7, 1), (6, 1), "it would give the same numbers again"),
        ((7, 1), (None, 1), "it would give the same numbers again"),
        ((None, 1), (3, 1), "unused when it was kept, 3 now"),
        ((-7, -2), (-71, -2), ""),
        ((-7, -2), (-72, -2), "-7 when it was kept, -72 now"),
        ((-7, -2), (-5, -2), "it would give the same numbers again"),
    ],
)
def test_a_sequence_may_be_ahead_by_what_is_logged_beforehand(
    was: tuple[int | None, int], now: tuple[int | None, int], said: str
) -> None:
    found = describe_differences(
        DatabaseSums({}, {"s": SequenceState(*was)}), DatabaseSums({}, {"s": SequenceState(*now)}), {}
    )
    assert bool(found) == bool(said)
    assert all(said in line and line.startswith("sequence s: ") for line in found)

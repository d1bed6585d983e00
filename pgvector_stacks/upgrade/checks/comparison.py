"""Compares the running server with the data that an upgrade kept: every row, every sequence. Pure.

Rows written since the upgrade are differences like any other: the comparison can't know who wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# A standby's sequences are ahead by the values that the server logged in advance. Source: SEQ_LOG_VALS in sequence.c
LOGGED_AHEAD = 32


@dataclass(frozen=True, slots=True)
class TableSum:
    """The rows of one table. `hash`: the sum of the rows' hashes, in any order."""

    count: int
    hash: int


@dataclass(frozen=True, slots=True)
class SequenceState:
    """The state of one sequence. `last`: its last number, None if it was never used; `step`: its increment."""

    last: int | None
    step: int


@dataclass(frozen=True, slots=True)
class DatabaseSums:
    """The contents of one database."""

    tables: Mapping[str, TableSum]
    sequences: Mapping[str, SequenceState]

    @property
    def row_count(self) -> int:
        return sum(rows.count for rows in self.tables.values())


@dataclass(frozen=True, slots=True)
class DifferingRows:
    """The counts of a table that differs. `lost`: kept rows that the server lacks; `new`: rows that weren't kept."""

    lost: int
    new: int


def find_differing_tables(kept: DatabaseSums, now: DatabaseSums) -> list[str]:
    """Return the tables on both sides whose sums differ. Their differing rows must then be counted."""
    return [name for name, rows in sorted(kept.tables.items()) if name in now.tables and now.tables[name] != rows]


def describe_differences(kept: DatabaseSums, now: DatabaseSums, counted: Mapping[str, DifferingRows]) -> list[str]:
    """Return the differences as lines of text; empty without any. `counted`: those of `find_differing_tables`."""
    found = []
    for name in sorted(kept.tables.keys() | now.tables.keys()):
        was, there, each = kept.tables.get(name), now.tables.get(name), counted.get(name, DifferingRows(0, 0))
        if there is None and was is not None:
            found.append(f"table {name}: gone, with its {was.count} rows")
        elif was is None and there is not None:
            found.append(f"table {name}: new, {there.count} rows")
        elif each != DifferingRows(0, 0) and was is not None and there is not None:
            found.append(
                f"table {name}: {was.count} rows kept, {there.count} now;"
                f" {each.lost} of the kept ones are not there as they were, {each.new} are new or changed"
            )
    for name in sorted(kept.sequences.keys() | now.sequences.keys()):
        if difference := _sequence_difference(kept.sequences.get(name), now.sequences.get(name)):
            found.append(f"sequence {name}: {difference}")
    return found


def _sequence_difference(was: SequenceState | None, now: SequenceState | None) -> str:
    if was is None or now is None:
        return "new" if was is None else "gone"
    if was.last == now.last:
        return ""
    if was.last is None:
        return f"unused when it was kept, {now.last} now"
    if now.last is None:
        return f"{was.last} when it was kept, unused now: it would give the same numbers again"
    ahead = (now.last - was.last) * (1 if was.step > 0 else -1)
    if ahead < 0:
        return f"{was.last} when it was kept, {now.last} now: it would give the same numbers again"
    return "" if ahead <= LOGGED_AHEAD * abs(was.step) else f"{was.last} when it was kept, {now.last} now"

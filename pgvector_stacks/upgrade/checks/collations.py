"""Decides which indexes to rebuild because of another C library or ICU, and when, and describes them. Pure.

An index in the order of another library version misses rows, and a unique one accepts duplicates. So an upgrade
rebuilds it before the server accepts clients. On request (`upgradeReindex: after`) it is rebuilt afterwards, but only
if PostgreSQL itself knows that it is stale: after a kill, the recorded version shows which indexes remain.
"""

from __future__ import annotations

from collections.abc import Sequence

from pgvector_stacks.common.errors import shorten_list
from pgvector_stacks.upgrade import decision
from pgvector_stacks.upgrade.decision import Reindex, format_size
from pgvector_stacks.upgrade.facts import CollatedIndex, Collation, SourceServer, TargetVersion

LIBRARY = "c"
KEY = "pgvector:upgradeReindex"
SHOWN = 5


def find_misordered(before: Sequence[CollatedIndex], now: Sequence[CollatedIndex]) -> list[CollatedIndex]:
    """Return the new server's indexes that aren't in the order of its libraries. `before`: those of the old server.

    The new server records the new version for predefined collations, whatever version their indexes were sorted by. So
    each index is compared with the version that the old server had recorded. `before` is empty for a restored dump,
    because the restore rebuilt every index.
    """
    sorted_by = {(index.name, each.name): each.recorded for index in before for each in index.collations}
    return [
        index
        for index in now
        if index.stale
        or any(
            (recorded := sorted_by.get((index.name, each.name))) is not None
            and each.actual is not None
            and recorded != each.actual
            for each in index.collations
        )
    ]


def describe_upgrade(source: SourceServer, target: TargetVersion, choice: decision.Choice, reindex: Reindex) -> str:
    """Describe what an `up` would do, with the indexes that it would rebuild, for a preview."""
    return "\n  ".join(
        filter(None, (decision.describe_choice(source, target, choice), describe_rebuilds(source, target, reindex)))
    )


def describe_rebuilds(source: SourceServer, target: TargetVersion, reindex: Reindex) -> str:
    """Describe the indexes that an `up` would rebuild, for a preview; "" without any."""
    every = [(name, index) for name, each in source.databases.items() for index in each.text_indexes]
    surely = [(name, index) for name, index in every if any(_differs(each, target) for each in index.collations)]
    others = [pair for pair in every if pair not in surely]
    perhaps = [(name, index) for name, index in others if any(_may_differ(each, target) for each in index.collations)]
    found = []
    if surely:
        used = [each for _, index in surely for each in index.collations]
        versions = sorted({f"{each.recorded} → {target.libc}" for each in used if _differs(each, target)})
        when = "once the server serves" if reindex == "after" else "while the database is closed"
        found.append(
            f"rebuilds {_count_and_size(surely)} {when} (C library {', '.join(versions)}): {_list_largest(surely)}"
        )
    if perhaps:
        found.append(
            f"rebuilds {_count_and_size(perhaps)} if PostgreSQL {target.version} has another version of the C"
            f" library or ICU: {_list_largest(perhaps)}"
        )
    if found and reindex == "after":
        found.append(describe_risk([index for _, index in surely + perhaps]))
    return "\n  ".join(found)


def describe_risk(indexes: Sequence[CollatedIndex]) -> str:
    """Describe what can go wrong with indexes until they are rebuilt."""
    unique = sum(index.unique or index.exclusion for index in indexes)
    duplicates = f", and unique ones ({unique}) may let duplicates in" if unique else ""
    return f"until then queries by them may miss rows{duplicates} ({KEY})"


def _differs(collation: Collation, target: TargetVersion) -> bool:
    return (
        collation.provider == LIBRARY and None not in (collation.recorded, target.libc)
        and collation.recorded != target.libc
    )  # fmt: skip


def _may_differ(collation: Collation, target: TargetVersion) -> bool:
    return collation.provider != LIBRARY or target.libc is None


def _count_and_size(pairs: Sequence[tuple[str, CollatedIndex]]) -> str:
    count = len(pairs)
    return f"{count} text index{'es' if count != 1 else ''} ({format_size(sum(index.bytes for _, index in pairs))})"


def _list_largest(pairs: Sequence[tuple[str, CollatedIndex]]) -> str:
    largest = sorted(pairs, key=lambda pair: -pair[1].bytes)
    return shorten_list([f"{name}: {index.name} {format_size(index.bytes)}" for name, index in largest], most=SHOWN)

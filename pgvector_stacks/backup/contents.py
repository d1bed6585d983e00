"""What a database holds: the SQL query for it, and the comparison of two results. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from pgvector_stacks.common import queries

Count = Annotated[int, Field(ge=0, lt=2**63)]
FROZEN = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class VectorIndex(BaseModel):
    """An HNSW or IVFFlat index. The dump's table of contents identifies the index by `oid`."""

    model_config = FROZEN

    oid: int
    schema_name: str = Field(alias="schema")
    name: str


def contents_query() -> str:
    """Return the SQL for one transaction of a superuser. It counts rows with the rights of each table's owner."""
    return "".join(map(queries.get, ("as_owner", "backup_contents", "as_owner_end")))


class Contents(BaseModel):
    """The result of `backup_contents.sql`. `sequences`: the next number of each; `ledger`: (script, hash)."""

    model_config = FROZEN

    rows: Mapping[str, Count]
    sequences: Mapping[str, int]
    ledger: tuple[tuple[str, str], ...] = ()
    objects: Mapping[str, str]
    vector_indexes: tuple[VectorIndex, ...] = ()
    extensions: Mapping[str, str]
    large_objects: int = 0

    @property
    def row_count(self) -> int:
        return sum(self.rows.values())


def describe_differences(
    written: Contents, sequences_after: Mapping[str, int], found: Contents, *, vector_indexes: bool
) -> list[str]:
    """Describe how a restored database differs from the contents recorded with its backup; empty if it doesn't.

    Sequences ignore snapshots. A restored sequence's next number may be anything from its value before the dump to its
    value after the dump. `describe_older_extensions` compares the versions of extensions.
    """
    problems = list(_describe_unequal("rows of", written.rows, found.rows))
    for name in sorted(written.sequences.keys() | found.sequences.keys()):
        if name not in found.sequences or name not in written.sequences:
            problems.append(f"sequence {name}: {'missing' if name in written.sequences else 'not in the backup'}")
            continue
        low, high = sorted((written.sequences[name], sequences_after.get(name, written.sequences[name])))
        if not low <= found.sequences[name] <= high:
            problems.append(f"sequence {name}: next is {found.sequences[name]}, was {_format_range(low, high)}")
    problems += _describe_unequal("", written.objects, found.objects)
    problems += [f"extension {name}: missing" for name in sorted(written.extensions.keys() - found.extensions.keys())]
    if written.large_objects != found.large_objects:
        problems.append(f"large objects: {found.large_objects}, were {written.large_objects}")
    if written.ledger != found.ledger:
        problems.append(f"the ledger has {len(found.ledger)} scripts, had {len(written.ledger)}, or other ones")
    if vector_indexes:
        missing = {(each.schema_name, each.name) for each in written.vector_indexes} - {
            (each.schema_name, each.name) for each in found.vector_indexes
        }
        problems += [f"vector index {schema}.{name}: missing" for schema, name in sorted(missing)]
    return problems


def describe_older_extensions(written: Contents, found: Contents) -> list[str]:
    """Describe the extensions restored in an older version. A newer version is fine: CREATE EXTENSION picks it."""
    return [
        f"extension {name}: {found.extensions[name]}, was {version}"
        for name, version in sorted(written.extensions.items())
        if name in found.extensions and _is_older(found.extensions[name], version)
    ]


def _describe_unequal(what: str, written: Mapping[str, object], found: Mapping[str, object]) -> Iterator[str]:
    for name in sorted(written.keys() | found.keys()):
        label = f"{what} {name}".strip()
        if name not in found:
            yield f"{label}: missing"
        elif name not in written:
            yield f"{label}: not in the backup"
        elif written[name] != found[name]:
            yield f"{label}: {found[name]}, was {written[name]}"


def _format_range(low: int, high: int) -> str:
    return str(low) if low == high else f"between {low} and {high}"


def _is_older(here: str, there: str) -> bool:
    """Return True if version `here` is before `there`. If one isn't numeric, return True if they differ."""
    if not all(re.fullmatch(r"\d+(\.\d+)*", version) for version in (here, there)):
        return here != there
    one, other = ([int(part) for part in version.split(".")] for version in (here, there))
    longest = max(len(one), len(other))
    return one + [0] * (longest - len(one)) < other + [0] * (longest - len(other))

"""What a database holds: the question, and in what two answers to it differ. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from pgvector_stacks.common import queries

FROZEN = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class VectorIndex(BaseModel):
    """An HNSW or IVFFlat index. `oid` is the one that the dump's table of contents names it by."""

    model_config = FROZEN

    oid: int
    schema_name: str = Field(alias="schema")
    name: str


def question() -> str:
    """As a superuser asks it: rows are counted with the rights of their tables' owners. One transaction's."""
    return "".join(map(queries.get, ("as_owner", "backup_contents", "as_owner_end")))


class Contents(BaseModel):
    """The answer of `backup_contents.sql`. `sequences`: the number that comes next; `ledger`: (script, hash)."""

    model_config = FROZEN

    rows: Mapping[str, int]
    sequences: Mapping[str, int]
    ledger: tuple[tuple[str, str], ...] = ()
    objects: Mapping[str, str]
    vector_indexes: tuple[VectorIndex, ...] = ()
    extensions: Mapping[str, str]
    large_objects: int = 0

    @property
    def row_count(self) -> int:
        return sum(self.rows.values())


def differences(
    written: Contents, sequences_after: Mapping[str, int], found: Contents, *, vector_indexes: bool
) -> list[str]:
    """How a restored database differs from what was written down with its backup, in words; empty where it doesn't.

    A sequence keeps to no snapshot: its next number lies between that before the dump and that after it. The versions
    of extensions are told by `older_extensions`.
    """
    told = list(_unequal("rows of", written.rows, found.rows))
    for name in sorted(written.sequences.keys() | found.sequences.keys()):
        if name not in found.sequences or name not in written.sequences:
            told.append(f"sequence {name}: {'lacking' if name in written.sequences else 'not in the backup'}")
            continue
        low, high = sorted((written.sequences[name], sequences_after.get(name, written.sequences[name])))
        if not low <= found.sequences[name] <= high:
            told.append(f"sequence {name}: next is {found.sequences[name]}, was {_span(low, high)}")
    told += _unequal("", written.objects, found.objects)
    told += [f"extension {name}: lacking" for name in sorted(written.extensions.keys() - found.extensions.keys())]
    if written.large_objects != found.large_objects:
        told.append(f"large objects: {found.large_objects}, were {written.large_objects}")
    if written.ledger != found.ledger:
        told.append(f"the ledger has {len(found.ledger)} scripts, had {len(written.ledger)}, or other ones")
    if vector_indexes:
        lacking = {(each.schema_name, each.name) for each in written.vector_indexes} - {
            (each.schema_name, each.name) for each in found.vector_indexes
        }
        told += [f"vector index {schema}.{name}: lacking" for schema, name in sorted(lacking)]
    return told


def older_extensions(written: Contents, found: Contents) -> list[str]:
    """Extensions that were restored in an older version. A newer one is fine: CREATE EXTENSION takes what there is."""
    return [
        f"extension {name}: {found.extensions[name]}, was {version}"
        for name, version in sorted(written.extensions.items())
        if name in found.extensions and _older(found.extensions[name], version)
    ]


def _unequal(what: str, written: Mapping[str, object], found: Mapping[str, object]) -> Iterator[str]:
    for name in sorted(written.keys() | found.keys()):
        label = f"{what} {name}".strip()
        if name not in found:
            yield f"{label}: lacking"
        elif name not in written:
            yield f"{label}: not in the backup"
        elif written[name] != found[name]:
            yield f"{label}: {found[name]}, was {written[name]}"


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"between {low} and {high}"


def _older(here: str, there: str) -> bool:
    """True where version `here` is before `there`; where one is no number, where they differ."""
    if not all(re.fullmatch(r"\d+(\.\d+)*", version) for version in (here, there)):
        return here != there
    one, other = ([int(part) for part in version.split(".")] for version in (here, there))
    longest = max(len(one), len(other))
    return one + [0] * (longest - len(one)) < other + [0] * (longest - len(other))

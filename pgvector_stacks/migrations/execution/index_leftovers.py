"""Finds what a statement outside of a transaction created or left behind: which indexes are its own after any failure.

Before such a statement begins, a note of what exists is written to `pgstack.statement.note`, where it survives a kill.
An INVALID index that existed before is never touched. A change that a person made by hand meanwhile stays drift.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from psycopg import Connection

from pgvector_stacks.common import queries
from pgvector_stacks.common.difference import Difference
from pgvector_stacks.common.errors import SqlFailed
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.connections.connection import format_server_message
from pgvector_stacks.migrations.lexing.lexing import Token
from pgvector_stacks.migrations.scripts import interrupted
from pgvector_stacks.migrations.scripts.script_files import Script

IDENTIFIER = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')
Kind = Literal["create index", "drop index", "reindex", "detach", "other"]


@dataclass(frozen=True, slots=True)
class NamedObjects:
    """The objects that a statement names: an index and a table (or a partition and its parent), each as written."""

    kind: Kind
    index: str | None = None
    table: str | None = None


@dataclass(frozen=True, slots=True)
class StatementState:
    """The state of a statement that began: its indexes (OID, name to drop it by, valid), and whether it is finished."""

    indexes: Sequence[tuple[int, str, bool]] = field(default=())
    finished: bool = False
    to_finalize: bool = False  # DETACH PARTITION CONCURRENTLY stopped between its two halves


def find_named_objects(script: Script, number: int) -> NamedObjects:
    """Return what the statement's words name; `other` if the statement can't leave anything half-done."""
    tokens = script.statements[number].tokens
    upper = [script.text[token.start : token.end].upper() for token in tokens]
    if upper[0] == "REINDEX" and "CONCURRENTLY" in upper:
        return NamedObjects("reindex")
    if upper[0] == "ALTER" and "DETACH" in upper and upper[-1] == "CONCURRENTLY":
        table = upper.index("TABLE") + 1
        table += 2 * (upper[table : table + 2] == ["IF", "EXISTS"])
        partition = upper.index("DETACH") + 2
        return NamedObjects("detach", _name(script, tokens, partition), _name(script, tokens, table))
    if "CONCURRENTLY" not in upper[:4] or "INDEX" not in upper[:3]:
        return NamedObjects("other")
    place = upper.index("CONCURRENTLY") + 1
    if upper[0] == "DROP":
        return NamedObjects(
            "drop index", _name(script, tokens, place + 2 * (upper[place : place + 2] == ["IF", "EXISTS"]))
        )
    if upper[0] != "CREATE" or "ON" not in upper:
        return NamedObjects("other")
    place += 3 * (upper[place : place + 3] == ["IF", "NOT", "EXISTS"])
    on = upper.index("ON", place)
    index = _name(script, tokens, place) if on > place else None
    return NamedObjects("create index", index, _name(script, tokens, on + 1 + (upper[on + 1 : on + 2] == ["ONLY"])))


def _name(script: Script, tokens: Sequence[Token], place: int) -> str:
    """Return the name at `place` with its schema, as written."""
    end = place
    while end + 2 < len(tokens) and tokens[end + 1].name == "ASCII_46":  # a dot
        end += 2
    return script.text[tokens[place].start : tokens[end].end]


def build_note(owner: Connection[Any], script: Script, number: int) -> dict[str, Any]:
    """Return a note of what exists before the statement begins. `owner`: the script's session, for its search_path."""
    goal = find_named_objects(script, number)
    if goal.kind == "other":
        return {}
    values = {"kind": goal.kind, "index": goal.index, "table": goal.table}
    try:
        row = owner.execute(queries.get(f"leftovers_note_{goal.kind.replace(' ', '_')}"), values).fetchone()
    except psycopg.DatabaseError:
        if owner.closed:
            raise
        return {}  # a missing schema or right: the statement itself will fail with a clear error
    return {"kind": goal.kind, **row[0]} if row and row[0] else {}


def build_note_by_name(owner: Connection[Any], script: Script, number: int) -> dict[str, Any]:
    """Return a note for a statement that an older pgstack began: every index with the name it gives is its own."""
    found = build_note(owner, script, number) if find_named_objects(script, number).kind == "create index" else {}
    return found | {"had": []} if found.get("name") else {}


def read_statement_state(connection: Connection[Any], noted: dict[str, Any] | None) -> StatementState:
    """Return the state of the statement that this note is about."""
    if not noted or "kind" not in noted:
        return StatementState()
    kind = noted["kind"]
    if kind in ("create index", "reindex"):
        rows = connection.execute(queries.get("leftovers_own"), _values(noted)).fetchall()
        indexes = [(oid, name, valid) for oid, name, _, valid in rows]
        return StatementState(indexes, finished=kind == "create index" and any(valid for _, _, valid in indexes))
    if kind == "drop index":
        there = connection.execute("SELECT FROM pg_catalog.pg_class WHERE oid = %s::oid", (noted["oid"],)).fetchone()
        return StatementState(finished=there is None)
    pending = connection.execute(
        "SELECT inhdetachpending FROM pg_catalog.pg_inherits WHERE inhrelid = %s::oid AND inhparent = %s::oid",
        (noted["oid"], noted["parent"]),
    ).fetchone()
    return StatementState(finished=pending is None, to_finalize=bool(pending and pending[0]))


def is_there(owner: Connection[Any], script: Script, number: int, noted: dict[str, Any]) -> bool:
    """Return True if what DROP INDEX or DETACH PARTITION removes exists with another OID, as in a restored backup."""
    identity = noted.get("identity")
    return identity is not None and build_note(owner, script, number).get("identity") == identity


def add_failed_indexes(connection: Connection[Any], noted: dict[str, Any]) -> dict[str, Any]:
    """Return the note of a statement that failed, with the indexes that it left: no later index counts as its own."""
    if noted.get("kind") not in ("create index", "reindex"):
        return noted
    return noted | {"left": [oid for oid, _, valid in read_statement_state(connection, noted).indexes if not valid]}


def exclude_own_leftovers(
    connection: Connection[Any], differences: tuple[Difference, ...], named_too: str = ""
) -> tuple[Difference, ...]:
    """Return the differences that no half-done statement of a script explains.

    `named_too`: a script whose objects are being recorded now, so that the names in its statements explain nothing.
    """
    if not differences:
        return differences
    own: set[str] = set()
    vanishing: set[str] = set()
    names: set[str] = set()
    for noted in interrupted.read_notes(connection, named_too):
        if noted.get("kind") in ("create index", "reindex"):
            rows = connection.execute(queries.get("leftovers_own"), _values(noted)).fetchall()
            own |= {identity for _, _, identity, _ in rows}
        elif noted.get("identity"):
            vanishing.add(noted["identity"])
        names.update(noted.get("names", ()))
    if names and any(difference.kind == "sequence" for difference in differences):
        tables = (sorted(names),)
        names.update(name for (name,) in connection.execute(queries.get("sequences_of_columns"), tables).fetchall())
    return tuple(
        difference
        for difference in differences
        if not _explained(difference, own, vanishing) and not (names and _is_named(difference, names))
    )


def _is_named(difference: Difference, names: set[str]) -> bool:
    """Return True if `names`, from statements whose objects are not recorded, contain the object or its table."""
    parts = [
        part or quoted.replace('""', '"') for quoted, part in IDENTIFIER.findall(difference.identity.split("(")[0])
    ]
    return not names.isdisjoint(parts[1:] or parts)


def _explained(difference: Difference, own: set[str], vanishing: set[str]) -> bool:
    if difference.kind == "index" and difference.recorded is None and difference.identity in own:
        return True
    if difference.kind == "index":
        going = difference.live is None or difference.live.endswith("INVALID")
        return going and difference.identity in vanishing
    if difference.kind not in ("table", "constraint"):
        return False
    return any(f"{difference.identity}.".startswith(f"{identity}.") for identity in vanishing)


def _values(noted: dict[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(("table", "name", "left")) | {"had": []} | noted


def drop(
    records: Connection[Any], own: StatementState, script: Script, line: int, *, lock_timeout_s: float, valid_too: bool
) -> None:
    """Drop the indexes that an earlier attempt of the statement in `line` left; valid ones only if `valid_too`.

    Raises SqlFailed.
    """
    for _, name, valid in own.indexes:
        if valid and not valid_too:
            continue
        try:
            records.execute(f"SET lock_timeout = {round(lock_timeout_s * 1000)}".encode())
            records.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}".encode())
        except psycopg.DatabaseError as error:
            if records.closed:
                raise
            raise SqlFailed(
                f"{script.path}:{line}: {one_line(name)}, INVALID since an earlier try, can't be dropped: "
                f"{format_server_message(error)}",
                sqlstate=error.sqlstate or "", script=script.name, line=line,
            ) from None  # fmt: skip
        finally:
            if not records.closed:
                records.execute("RESET lock_timeout")

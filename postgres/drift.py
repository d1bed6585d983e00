"""What differs between the schema the scripts left and the schema that is there, in words.

The scripts' schema is recorded in `pgstack.object` in the transaction that makes it. A difference that was there
before a script ran and that the script did not touch stays a difference: applying a script accepts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection, errors

from postgres import leftovers, queries

PARENTS = ("table", "view", "materialized view", "foreign table")
NOT_KNOWN = ("not known: another transaction holds a lock on the catalog's objects",)


@dataclass(frozen=True, slots=True)
class Difference:
    """One object that is not as the scripts left it; `None` where it was or is not there."""

    kind: str
    identity: str
    recorded: str | None
    live: str | None

    def __str__(self) -> str:
        if self.recorded is None:
            detail = f" ({self.live})" if self.kind == "column" else ""
            return f"{self.kind} {self.identity} was added{detail}"
        if self.live is None:
            return f"{self.kind} {self.identity} was dropped"
        if self.kind in ("column", "index", "constraint", "enum"):
            return f"{self.kind} {self.identity} was changed: {self.recorded} → {self.live}"
        return f"{self.kind} {self.identity} was changed"


def in_words(differences: Sequence[Difference]) -> tuple[str, ...]:
    """One line a difference, sorted; what belongs to a table that was added or dropped as a whole goes without."""
    whole = {d.identity for d in differences if d.kind in PARENTS and None in (d.recorded, d.live)}
    lines = []
    for difference in differences:
        belongs_to_whole = any(difference.identity.startswith(f"{identity}.") for identity in whole)
        constraint_index = difference.kind == "constraint" and any(
            other.kind == "index" and other.identity == difference.identity for other in differences
        )
        if not belongs_to_whole and not constraint_index:
            lines.append(str(difference))
    return tuple(sorted(lines))


def message(stack: str, differences: Sequence[str]) -> str:
    """Why an environment that refuses drift goes no further, and the way out. `differences`: in words."""
    return (
        f"the schema of {stack} was changed by other hands than its scripts:\n  "
        + "\n  ".join(differences)
        + f"\n  repair it, or accept it by name:  pgstack accept {stack} KIND IDENTITY"
    )


def carried_over(before: Sequence[Difference], after: Sequence[Difference]) -> tuple[Difference, ...]:
    """Which differences remain once scripts ran: those from before whose live side the scripts did not touch.

    `after` compares the same recorded rows with the schema the scripts made.
    """
    still = {(d.kind, d.identity): d.live for d in after}
    return tuple(
        difference
        for difference in before
        if (key := (difference.kind, difference.identity)) in still and still[key] == difference.live
    )


def comparison() -> LiteralString:
    """The query behind `find`: kind, identity, recorded, live; one row a difference."""
    return (
        "WITH live AS MATERIALIZED (" + queries.get("inventory") + ")\n"
        "SELECT coalesce(o.kind, l.kind) AS kind, coalesce(o.identity, l.identity) AS identity,\n"
        "       o.definition AS recorded, l.definition AS live\n"
        "  FROM pgstack.object o FULL JOIN live l USING (kind, identity)\n"
        " WHERE o.definition IS DISTINCT FROM l.definition ORDER BY 1, 2"
    )


def find(connection: Connection[Any]) -> tuple[Difference, ...]:
    """Compare the live schema with the recorded one. Empty where nothing is recorded yet."""
    recorded = connection.execute("SELECT to_regclass('pgstack.object') IS NOT NULL").fetchone()
    if not recorded or not recorded[0]:
        return ()
    if connection.execute("SELECT FROM pgstack.object LIMIT 1").fetchone() is None:
        return ()
    with connection.transaction(force_rollback=True):  # in an open transaction the path would stay empty for scripts
        _qualify_names(connection)
        found = tuple(Difference(*row) for row in connection.execute(comparison()).fetchall())
        return leftovers.without_own(connection, found)


def look(connection: Connection[Any]) -> tuple[str, ...]:
    """`find` in words. A table someone is just changing can't be looked at: better to say so than to wait
    (`connection.LOOK`).
    """
    try:
        return in_words(find(connection))
    except errors.LockNotAvailable:
        return NOT_KNOWN


def record(connection: Connection[Any], before: Sequence[Difference]) -> None:
    """Record the live schema, except for what was already different `before` and still is as it was then."""
    kept = carried_over(before, find(connection)) if before else ()
    _qualify_names(connection)
    connection.execute("DELETE FROM pgstack.object")
    connection.execute("INSERT INTO pgstack.object (kind, identity, definition)\n" + queries.get("inventory"))
    for difference in kept:
        put(connection, difference.kind, difference.identity, difference.recorded)


def record_changes(connection: Connection[Any], before: Sequence[Difference]) -> None:
    """The same for a part of a script, in the open transaction: only what changed is written."""
    if connection.execute("SELECT FROM pgstack.object LIMIT 1").fetchone() is None:
        return record(connection, before)
    for difference in find(connection):
        if difference not in before:
            put(connection, difference.kind, difference.identity, difference.live)
    return None


def renewal() -> LiteralString:
    """Records the live schema anew, except for the objects in the temporary table `drifted` (kind, identity).

    For another major version: it writes the same definitions in other words.
    """
    return (
        "DELETE FROM pgstack.object o WHERE NOT EXISTS (\n"
        "    SELECT FROM drifted d WHERE (d.kind, d.identity) = (o.kind, o.identity));\n"
        "INSERT INTO pgstack.object (kind, identity, definition)\n"
        "SELECT i.kind, i.identity, i.definition FROM (" + queries.get("inventory") + ") AS i\n"
        " WHERE NOT EXISTS (SELECT FROM drifted d WHERE (d.kind, d.identity) = (i.kind, i.identity))"
    )


def _qualify_names(connection: Connection[Any]) -> None:
    """Until the transaction ends: catalog functions write a name with its schema where the path doesn't lead there."""
    connection.execute("SET LOCAL search_path = ''")


def put(connection: Connection[Any], kind: str, identity: str, definition: str | None) -> None:
    """Record one object's definition; None: as one that should not be there."""
    connection.execute("DELETE FROM pgstack.object WHERE kind = %s AND identity = %s", (kind, identity))
    if definition is not None:
        connection.execute(
            "INSERT INTO pgstack.object (kind, identity, definition) VALUES (%s, %s, %s)", (kind, identity, definition)
        )

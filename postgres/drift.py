"""What differs between the schema the scripts left and the schema that is there, in words.

The scripts' schema is recorded in `pgstack.object` in the transaction that makes it. A difference that was there
before a script ran and that the script did not touch stays a difference: applying a script accepts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection

from postgres import queries

PARENTS = ("table", "view", "materialized view", "foreign table")


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


# 17 added MAINTAIN to what GRANT ALL gives: to an upgrade that is no change of the schema
SAME_IN_17: LiteralString = r"regexp_replace({}, '(a\*?r\*?w\*?d\*?D\*?x\*?t\*?)m\*?', '\1', 'g')"


def _compare() -> LiteralString:
    return (
        "WITH live AS MATERIALIZED (" + queries.get("inventory") + ")\n"
        "SELECT coalesce(o.kind, l.kind), coalesce(o.identity, l.identity), o.definition, l.definition\n"
        "  FROM pgstack.object o FULL JOIN live l USING (kind, identity)\n"
        " WHERE "
        + SAME_IN_17.replace("{}", "o.definition")
        + " IS DISTINCT FROM "
        + SAME_IN_17.replace("{}", "l.definition")
        + " ORDER BY 1, 2"
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
        return tuple(Difference(*row) for row in connection.execute(_compare()).fetchall())


def record(connection: Connection[Any], before: Sequence[Difference]) -> None:
    """Record the live schema, except for what was already different `before` and still is as it was then."""
    kept = carried_over(before, find(connection)) if before else ()
    _qualify_names(connection)
    connection.execute("DELETE FROM pgstack.object")
    connection.execute("INSERT INTO pgstack.object (kind, identity, definition)\n" + queries.get("inventory"))
    for difference in kept:
        put(connection, difference.kind, difference.identity, difference.recorded)


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

"""An object that differs between the schema that the scripts created and the live schema, and its description. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pgvector_stacks.common import definitions
from pgvector_stacks.common.plain_text import one_line

PARENTS = ("table", "view", "materialized view", "foreign table")
PARTS = ("column", "index", "constraint", "trigger", "rule", "policy")
ORDER = "column order"
NAME = r'(?:"(?:[^"]|"")*"|[^."]+)'
IN_SCHEMA = re.compile(rf"({NAME})\.")
OF_RELATION = re.compile(rf"({NAME}\.{NAME})(?:\.{NAME})?")


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that differs from what the scripts created. `recorded`, `live`: its definitions; None: does not exist.

    `grown`: the object is part of a partition that was added after the scripts, and has only what the partitioned table
    gives it; that is no drift. `oid`: of the relation that the object is or is a part of, else of its schema and then
    negative, if that exists. `version`: of the catalog row that holds its expression. While it is unchanged, nobody
    wrote the expression, even if its text differs. `own_oid`: of an added relation, function or type itself.
    """

    kind: str
    identity: str
    recorded: str | None
    live: str | None
    grown: bool = False
    oid: int | None = field(default=None, compare=False)
    version: str | None = field(default=None, compare=False)
    own_oid: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return one_line(self._words())

    def _words(self) -> str:
        if self.kind == "rights" and None in (self.recorded, self.live):  # the side that is None has the initial rights
            return f"{self.kind} {self.identity} were changed"
        if self.recorded is None:
            kind = definitions.first_value(self.live, "type") if self.kind == "column" else None
            return f"{self.kind} {self.identity} was added" + (f" ({kind})" if kind else "")
        if self.live is None:
            return f"{self.kind} {self.identity} was dropped"
        if self.kind == ORDER:
            return f"{self.kind} of {self.identity} was changed"
        changes = "; ".join(definitions.describe_changes(self.recorded, self.live))
        return f"{self.kind} {self.identity} was changed" + (f": {changes}" if changes else "")

    @property
    def relation(self) -> str | None:
        """The name of the table or view that the object is a part of."""
        if self.kind == ORDER:
            return self.identity
        if self.kind in PARTS:
            found = OF_RELATION.fullmatch(self.identity)
            return found[1] if found else None
        owner = self.owner_column
        found = OF_RELATION.fullmatch(owner) if owner else None
        return found[1] if found else None

    @property
    def follows_from_query(self) -> bool:
        """True for a view's column that was added or dropped and has no properties: the view's query explains it."""
        return self.kind == "column" and not self.recorded and not self.live

    @property
    def place(self) -> str | None:
        """The name of the relation that the object is or is a part of."""
        return self.identity if self.kind in PARENTS else self.relation

    @property
    def schema(self) -> str | None:
        """The schema that the object is or lies in, if it belongs to no relation."""
        if self.kind == "schema":
            return self.identity
        found = IN_SCHEMA.match(self.identity) if self.place is None else None
        return found[1] if found else None

    def renamed(self, names: Mapping[int, str]) -> Difference:
        """Return it with the current name of its relation or schema, also in the definition of an index or trigger.

        `names`: the current names by OID.
        """
        was, now = self.place or self.schema, names.get(self.oid or 0)
        if now is None or was is None or not self.identity.startswith(was):
            return self
        recorded, live = self.recorded, self.live
        if self.kind in ("index", "trigger"):
            on = re.compile(rf"(?<= ON ){re.escape(was)}(?= )|(?<= ON ONLY ){re.escape(was)}(?= )")
            recorded, live = (text and on.sub(lambda _: now, text, count=1) for text in (recorded, live))
        return replace(self, identity=now + self.identity.removeprefix(was), recorded=recorded, live=live)

    @property
    def owner_column(self) -> str | None:
        """The column that owns the sequence; None if there is none."""
        text = self.live if self.recorded is None else self.recorded
        return definitions.first_value(text, "owned by") if self.kind == "sequence" else None

    @property
    def may_be_rewritten(self) -> bool:
        """True if the definitions differ only where dump and restore may write an expression differently."""
        if self.recorded is None or self.live is None:
            return False
        if self.kind in definitions.WITHOUT_EXPRESSIONS:
            return False
        return definitions.differ_only_in_expressions(self.recorded, self.live)

    def differs_in_what_is_given(self, now: Difference) -> bool:
        """True if `now` is the same object that was added, and only its rights and comment differ."""
        if self.live is None or now.live is None or self.own_oid is None or self.own_oid != now.own_oid:
            return False
        was, here = (definitions.remove_words(text, ("right", "comment")) for text in (self.live, now.live))
        return was == here

    def belongs_to(self, other: Difference) -> bool:
        """True if accepting `other` also accepts this: a table's column, a column's sequence, a schema's table."""
        if other.kind in PARENTS:
            return self.relation == other.identity
        if other.kind == "column":
            return self.owner_column == other.identity
        if other.kind in ("index", "constraint"):
            return self.kind in ("index", "constraint") and self.identity == other.identity
        whole = other.kind == "schema" and None in (other.recorded, other.live)
        return whole and self.identity.startswith(f"{other.identity}.")

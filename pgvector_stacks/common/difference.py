"""One object that differs between the schema the scripts left and the schema that is there, and its words. Pure."""

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
    """One object that is not as the scripts left it; `None` where it was or is not there.

    `grown`: part of a partition that came after the scripts and is no more than its parent makes of it. No drift.
    `oid`: of the relation that it is, or is a part of, else of its schema, negative; where that is there.
    `version`: of the catalog's row that holds its expression; the same one says that nobody wrote that, whatever its
    text is now.
    """

    kind: str
    identity: str
    recorded: str | None
    live: str | None
    grown: bool = False
    oid: int | None = field(default=None, compare=False)
    version: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return one_line(self._words())

    def _words(self) -> str:
        if self.kind == "rights" and None in (self.recorded, self.live):  # one side has those from the beginning
            return f"{self.kind} {self.identity} were changed"
        if self.recorded is None:
            kind = definitions.first(self.live, "type") if self.kind == "column" else None
            return f"{self.kind} {self.identity} was added" + (f" ({kind})" if kind else "")
        if self.live is None:
            return f"{self.kind} {self.identity} was dropped"
        if self.kind == ORDER:
            return f"{self.kind} of {self.identity} was changed"
        told = "; ".join(definitions.changes(self.recorded, self.live))
        return f"{self.kind} {self.identity} was changed" + (f": {told}" if told else "")

    @property
    def relation(self) -> str | None:
        """The table or view it is a part of."""
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
        """True for a view's column that came or went and has nothing of its own: the view's query tells it."""
        return self.kind == "column" and not self.recorded and not self.live

    @property
    def place(self) -> str | None:
        """The relation that it is, or is a part of."""
        return self.identity if self.kind in PARENTS else self.relation

    @property
    def schema(self) -> str | None:
        """The schema that it is or lies in, of what is no relation's."""
        if self.kind == "schema":
            return self.identity
        found = IN_SCHEMA.match(self.identity) if self.place is None else None
        return found[1] if found else None

    def renamed(self, names: Mapping[int, str]) -> Difference:
        """With the name that its relation or schema has now, also where an index's and a trigger's definition says it.

        `names`: by OID.
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
        """The column that a sequence goes with."""
        text = self.live if self.recorded is None else self.recorded
        return definitions.first(text, "owned by") if self.kind == "sequence" else None

    @property
    def may_be_rewritten(self) -> bool:
        """True where no more differs than what a dump and its restore write in other words."""
        if self.recorded is None or self.live is None:
            return False
        if self.kind in definitions.WITHOUT_EXPRESSIONS:
            return False
        return definitions.expressions_alone(self.recorded, self.live)

    def belongs_to(self, other: Difference) -> bool:
        """True where accepting `other` accepts this too: a table's column, a column's sequence, a schema's table."""
        if other.kind in PARENTS:
            return self.relation == other.identity
        if other.kind == "column":
            return self.owner_column == other.identity
        if other.kind in ("index", "constraint"):
            return self.kind in ("index", "constraint") and self.identity == other.identity
        whole = other.kind == "schema" and None in (other.recorded, other.live)
        return whole and self.identity.startswith(f"{other.identity}.")

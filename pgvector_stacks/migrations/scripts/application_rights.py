"""The rights of `app` and `readonly` follow each script. Decisions alone; script_session.py carries them out.

Invariant: on what a script made, a role has just what the script says about it there (a GRANT to it, a REVOKE from it),
and its ordinary rights where the script says nothing about it. A word about PUBLIC or another role is none about it.
On what was there before, a script's words have the meaning that SQL gives them, and nothing else is done. So the rights
are the same however the scripts are cut into ups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from pgvector_stacks.migrations.scripts.acting_code import Code, acting
from pgvector_stacks.migrations.scripts.script_files import Script

ROLES = ("app", "readonly")
ORDINARY = {
    ("SCHEMA", "app"): ("USAGE",),
    ("SCHEMA", "readonly"): ("USAGE",),
    ("TABLE", "app"): ("SELECT", "INSERT", "UPDATE", "DELETE"),
    ("TABLE", "readonly"): ("SELECT",),
    ("SEQUENCE", "app"): ("USAGE", "SELECT"),
    ("SEQUENCE", "readonly"): ("SELECT",),
}
OF_COLUMNS = ("SELECT", "INSERT", "UPDATE", "REFERENCES")
UNKNOWN = "%"  # a name that format() fills in


@dataclass(frozen=True, slots=True)
class Created:
    """An object that a script made. `name` is empty for a schema, `identity` is as SQL names it.

    `says`: the roles that its rights have a word about.
    `parent`: of a partition, the OID of its table, and what each role may do there (0 and nothing where it is none).
    `belongs`: the table (quoted, with its schema) of which a sequence counts a column. `owned`: by the scripts' owner;
    what a script made as another role is none of ours, also where a later one gives it to the owner.
    """

    oid: int
    kind: str
    schema: str
    name: str
    identity: str
    says: frozenset[str] = frozenset()
    parent: int = 0
    on_parent: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    belongs: str = ""
    owned: bool = True


@dataclass(frozen=True, slots=True)
class Word:
    """What a REVOKE takes from one role, or a GRANT gives it. "ALL" is a privilege.

    `columns`: of the privilege, empty for the whole object. `schema` is None where the name stands alone, `name` None
    for all of a kind in a schema.
    """

    role: str
    kind: str
    schema: str | None
    name: str | None
    privilege: str
    columns: frozenset[str] = frozenset()

    def meets(self, created: Created) -> bool:
        if self.kind != created.kind and not (self.kind == "TABLE" and created.kind == "SEQUENCE" and self.name):
            return False
        schema_fits = self.schema is None or self.schema == created.schema or UNKNOWN in self.schema
        name = created.schema if created.kind == "SCHEMA" else created.name
        return schema_fits and (self.name is None or self.name == name or UNKNOWN in self.name)


@dataclass(frozen=True, slots=True)
class Grant:
    """Privileges for a role on one object; `but`: columns without them."""

    role: str
    created: Created
    privileges: tuple[str, ...]
    but: frozenset[str] = frozenset()


@cache
def privileges(*names: str) -> frozenset[str]:
    """The same object for the same names, since thousands of tables have them."""
    return frozenset(names) - {""}


@cache
def roles(app: bool, readonly: bool) -> frozenset[str]:
    """Those of the two that are so; the same object each time."""
    return frozenset(role for role, so in zip(ROLES, (app, readonly), strict=True) if so)


def due(created: Sequence[Created], revoked: Sequence[Word]) -> list[Grant]:
    """What is to be granted on what one script created, given the words it has against it."""
    here = {one.oid: one for one in created}
    whole: dict[tuple[int, str], frozenset[str]] = {}  # what a role may do on the table as a whole, once it's granted
    grants = []
    for one in sorted(created, key=lambda one: _depth(one, here)):
        for place, role in enumerate(ROLES):
            if role in one.says:
                continue
            words = [word for word in revoked if word.role == role and word.meets(one)]
            taken = {word.privilege for word in words if not word.columns}
            left = [p for p in ORDINARY[one.kind, role] if p not in taken and "ALL" not in taken]
            if one.parent:  # a way past what its table hides would be none of the script's words
                above = whole.get((one.parent, role), frozenset()) if one.parent in here else one.on_parent[place]
                left = [p for p in left if p in above]
            by_columns = {p: _columns(p, words) for p in left}
            whole[one.oid, role] = privileges(*(p for p in left if not by_columns[p]))
            for but in sorted(set(by_columns.values()), key=sorted):
                grants.append(Grant(role, one, tuple(p for p in left if by_columns[p] == but), but))
    return grants


def _depth(one: Created, here: dict[int, Created]) -> int:
    depth = 0
    while one.parent in here:
        one, depth = here[one.parent], depth + 1
    return depth


def _columns(privilege: str, words: Sequence[Word]) -> frozenset[str]:
    if privilege not in OF_COLUMNS:
        return frozenset()
    return frozenset(column for word in words if word.privilege in (privilege, "ALL") for column in word.columns)


def statements(grants: Sequence[Grant]) -> Iterator[str]:
    """One GRANT for all objects that get the same; without those that have columns left out."""
    together: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for grant in grants:
        if grant.privileges and not grant.but:
            together.setdefault((grant.created.kind, grant.role, grant.privileges), []).append(grant.created.identity)
    for (kind, role, privileges), names in together.items():
        yield f"GRANT {', '.join(privileges)} ON {kind} {', '.join(names)} TO {role}"


def revoked_by(script: Script) -> list[Word]:
    """What the script takes from the two roles, by its own text: also where they have nothing to lose yet.

    Under the names too that its own ALTER … RENAME and SET SCHEMA give to what it names.
    """
    words = _words(script, "REVOKE")
    for statement in script.statements if words else ():
        code = Code(script.text, 0, statement.tokens)
        if code.word(0) == "ALTER":
            words += _renamed(code, words)
    return words


def _renamed(code: Code, words: Sequence[Word]) -> list[Word]:
    """The words about what this ALTER gives another name or schema, with that one; none where it doesn't."""
    last = len(code.tokens) - 1
    new, verb = code.name(last), (code.word(last - 2), code.word(last - 1))
    column = code.name(last - 2) if verb[1] == "TO" and "RENAME" in (code.word(last - 3), code.word(last - 4)) else None
    if verb not in (("RENAME", "TO"), ("SET", "SCHEMA")) and column is None:
        return []
    place = 2 + (code.word(1) in ("MATERIALIZED", "FOREIGN"))
    place += 2 if code.word(place) == "IF" else 0
    place += code.word(place) == "ONLY"
    ((schema, name), *_), _ = _names(code, place)
    if code.word(1) == "SCHEMA":
        spaces = [replace(word, name=new) for word in words if word.kind == "SCHEMA" and word.name == name]
        return spaces + [replace(word, schema=new) for word in words if word.schema == name]
    named = [word for word in words if word.name == name and (None in (schema, word.schema) or schema == word.schema)]
    if verb == ("SET", "SCHEMA"):
        return [replace(word, schema=new) for word in named]
    if verb == ("RENAME", "TO"):
        return [replace(word, name=new) for word in named]
    return [replace(word, columns=frozenset({new})) for word in named if column in word.columns]


def granted_by(script: Script, behind: int) -> list[Word]:
    """What the script gives the two roles in statements behind this offset."""
    return _words(script, "GRANT", behind)


def _words(script: Script, verb: Literal["GRANT", "REVOKE"], behind: int = 0) -> list[Word]:
    text = script.text.lower()
    last = text.rfind(verb.lower(), behind)
    if last < 0 or not any(role in text for role in ROLES):
        return []
    found = []
    for code in acting(script, last):
        for place, token in enumerate(code.tokens):
            if token.name == verb and code.offset + token.start >= behind:
                found += _one(code, place + 1, "TO" if verb == "GRANT" else "FROM")
    return found


def _one(code: Code, place: int, direction: str) -> list[Word]:
    """REVOKE privileges [(columns)] ON [kind] names FROM roles, or GRANT … TO roles. Nothing for another kind, or
    membership of a role."""
    if code.word(place) == "GRANT":  # GRANT OPTION FOR
        return []
    privileges: list[tuple[str, frozenset[str]]] = []
    while (word := code.word(place)) not in ("ON", "FROM", "TO", ";", ""):
        if word == "(":
            columns, place = _names(code, place + 1)
            privileges[-1] = (privileges[-1][0], frozenset(name for _, name in columns))
        elif word not in (",", "PRIVILEGES"):
            privileges.append((word, frozenset()))
        place += 1
    if code.word(place) != "ON":
        return []
    kind, every, place = _kind(code, place + 1)
    if not kind:
        return []
    names, place = _names(code, place)
    if code.word(place) != direction:
        return []
    roles, _ = _names(code, place + 1)
    return [
        Word(role, kind, name if every else schema, None if every else name, privilege, columns)
        for _, role in roles if role in ROLES
        for schema, name in names
        for privilege, columns in privileges
    ]  # fmt: skip


def _kind(code: Code, place: int) -> tuple[str, bool, int]:
    """The kind of object ("" where it's none of ours), whether all of a schema are meant, where the names begin."""
    words = [code.word(place + step) for step in range(4)]
    if words[0] == "ALL" and words[1] in ("TABLES", "SEQUENCES"):
        return words[1].removesuffix("S"), True, place + 4  # IN SCHEMA
    if words[0] in ("TABLE", "SEQUENCE", "SCHEMA"):
        return words[0], False, place + 1
    if words[0] in ("ALL", "FUNCTION", "PROCEDURE", "ROUTINE", "DATABASE", "DOMAIN", "FOREIGN", "LANGUAGE", "LARGE",
                    "PARAMETER", "TABLESPACE", "TYPE") and words[1] not in (".", ",", "FROM"):  # fmt: skip
        return "", False, place
    return "TABLE", False, place


def _names(code: Code, place: int) -> tuple[list[tuple[str | None, str]], int]:
    """Names with their schemas, divided by commas, and the place behind the last. `%I` and `%s` are unknown names."""
    names: list[tuple[str | None, str]] = []
    parts: list[str] = []
    while True:
        if code.word(place) == "GROUP":
            place += 1
        if code.word(place) == "%":
            place += 3 if code.word(place + 2) == "$" else 1  # %I and %1$I
            parts.append(UNKNOWN)
        else:
            parts.append(code.name(place))
        place += 1
        if code.word(place) == ".":
            place += 1
            continue
        names.append((parts[-2] if len(parts) > 1 else None, parts[-1]))
        parts = []
        if code.word(place) != ",":
            return names, place
        place += 1


def quoted(name: str) -> str:
    """The identifier in quotes."""
    return '"' + name.replace('"', '""') + '"'

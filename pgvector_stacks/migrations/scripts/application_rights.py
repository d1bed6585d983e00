"""Decides the rights of the roles `app` and `readonly` after each script. script_session.py grants them.

Invariant: on an object that a script creates, each of the two roles has exactly the rights that the script grants it
there; if the script neither grants to the role nor revokes from it, the role has its ordinary rights. A GRANT or REVOKE
for PUBLIC or another role does not count. On objects that existed before, the script's GRANT and REVOKE mean what SQL
says, and nothing is added. So the rights are the same however the scripts are split into ups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from pgvector_stacks.migrations.scripts.acting_code import Code, find_acting_code
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
UNKNOWN = "%"  # stands for a name that format() fills in


@dataclass(frozen=True, slots=True)
class CreatedObject:
    """An object that a script created. `name` is empty for a schema; `identity` is the name for SQL statements.

    `says`: the roles that have an entry in the object's or its columns' rights. `parent`: the OID of a partition's
    table, 0 if the object is not a partition. `on_parent`: what each role may do on that table. `belongs`: for a
    sequence of a column, the table (quoted, with its schema). `owned`: the scripts' owner owns the object. An object
    that a script created as another role is left alone, also after a later script gives it to the scripts' owner.
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
class PrivilegeChange:
    """One privilege that a GRANT gives to a role or a REVOKE takes from it. "ALL" is a privilege.

    `columns`: the columns that the statement names, empty for the whole object. `schema` is None for a name without a
    schema; `name` is None for all objects of a kind in a schema.
    """

    role: str
    kind: str
    schema: str | None
    name: str | None
    privilege: str
    columns: frozenset[str] = frozenset()

    def meets(self, created: CreatedObject) -> bool:
        if self.kind != created.kind and not (self.kind == "TABLE" and created.kind == "SEQUENCE" and self.name):
            return False
        schema_fits = self.schema is None or self.schema == created.schema or UNKNOWN in self.schema
        name = created.schema if created.kind == "SCHEMA" else created.name
        return schema_fits and (self.name is None or self.name == name or UNKNOWN in self.name)


@dataclass(frozen=True, slots=True)
class Grant:
    """Privileges to grant to a role on one object; `but`: columns that are left out."""

    role: str
    created: CreatedObject
    privileges: tuple[str, ...]
    but: frozenset[str] = frozenset()


@cache
def intern_privileges(*names: str) -> frozenset[str]:
    """Return the names as a set, the same object each time, since thousands of tables have equal sets."""
    return frozenset(names) - {""}


@cache
def intern_roles(app: bool, readonly: bool) -> frozenset[str]:
    """Return the set of the two roles whose flag is true, the same object each time."""
    return frozenset(role for role, so in zip(ROLES, (app, readonly), strict=True) if so)


def find_due_grants(created: Sequence[CreatedObject], revoked: Sequence[PrivilegeChange]) -> list[Grant]:
    """Return the grants that are due on the objects that a script created, given what the script revokes."""
    here = {one.oid: one for one in created}
    whole: dict[tuple[int, str], frozenset[str]] = {}  # what a role may do on a whole table once the grants are made
    grants = []
    for one in sorted(created, key=lambda one: _count_nesting(one, here)):
        for place, role in enumerate(ROLES):
            if role in one.says:
                continue
            words = [word for word in revoked if word.role == role and word.meets(one)]
            taken = {word.privilege for word in words if not word.columns}
            left = [p for p in ORDINARY[one.kind, role] if p not in taken and "ALL" not in taken]
            if one.parent:  # a partition must not show what the role can't read through its table
                above = whole.get((one.parent, role), frozenset()) if one.parent in here else one.on_parent[place]
                left = [p for p in left if p in above]
            by_columns = {p: _columns(p, words) for p in left}
            whole[one.oid, role] = intern_privileges(*(p for p in left if not by_columns[p]))
            for but in sorted(set(by_columns.values()), key=sorted):
                grants.append(Grant(role, one, tuple(p for p in left if by_columns[p] == but), but))
    return grants


def _count_nesting(one: CreatedObject, here: dict[int, CreatedObject]) -> int:
    depth = 0
    while one.parent in here:
        one, depth = here[one.parent], depth + 1
    return depth


def _columns(privilege: str, words: Sequence[PrivilegeChange]) -> frozenset[str]:
    if privilege not in OF_COLUMNS:
        return frozenset()
    return frozenset(column for word in words if word.privilege in (privilege, "ALL") for column in word.columns)


def build_grants(grants: Sequence[Grant]) -> Iterator[str]:
    """Yield one GRANT for all objects that get the same privileges. Grants with columns left out are skipped."""
    together: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for grant in grants:
        if grant.privileges and not grant.but:
            together.setdefault((grant.created.kind, grant.role, grant.privileges), []).append(grant.created.identity)
    for (kind, role, privileges), names in together.items():
        yield f"GRANT {', '.join(privileges)} ON {kind} {', '.join(names)} TO {role}"


def parse_revokes(script: Script) -> list[PrivilegeChange]:
    """Return what the script's text revokes from the two roles, even if they do not have these rights yet.

    An object that the script renames or moves by ALTER … RENAME or SET SCHEMA counts under its new name, too.
    """
    words = _words(script, "REVOKE")
    for statement in script.statements if words else ():
        code = Code(script.text, 0, statement.tokens)
        if code.word(0) == "ALTER":
            words += _renamed(code, words)
    return words


def _renamed(code: Code, words: Sequence[PrivilegeChange]) -> list[PrivilegeChange]:
    """Return copies of the `words` about the object that this ALTER renames or moves, with its new name or schema."""
    last = len(code.tokens) - 1
    new, verb = code.name(last), (code.word(last - 2), code.word(last - 1))
    column = code.name(last - 2) if verb[1] == "TO" and "RENAME" in (code.word(last - 3), code.word(last - 4)) else None
    if verb not in (("RENAME", "TO"), ("SET", "SCHEMA")) and column is None:
        return []
    place = 2 + (code.word(1) in ("MATERIALIZED", "FOREIGN"))
    place += 2 if code.word(place) == "IF" else 0
    place += code.word(place) == "ONLY"
    ((schema, name), *_), _ = parse_names(code, place)
    if code.word(1) == "SCHEMA":
        spaces = [replace(word, name=new) for word in words if word.kind == "SCHEMA" and word.name == name]
        return spaces + [replace(word, schema=new) for word in words if word.schema == name]
    named = [word for word in words if word.name == name and (None in (schema, word.schema) or schema == word.schema)]
    if verb == ("SET", "SCHEMA"):
        return [replace(word, schema=new) for word in named]
    if verb == ("RENAME", "TO"):
        return [replace(word, name=new) for word in named]
    return [replace(word, columns=frozenset({new})) for word in named if column in word.columns]


def parse_grants(script: Script, begin: int) -> list[PrivilegeChange]:
    """Return what the script grants to the two roles in statements after the offset `begin`."""
    return _words(script, "GRANT", begin)


def _words(script: Script, verb: Literal["GRANT", "REVOKE"], begin: int = 0) -> list[PrivilegeChange]:
    text = script.text.lower()
    last = text.rfind(verb.lower(), begin)
    if last < 0 or not any(role in text for role in ROLES):
        return []
    found = []
    for code in find_acting_code(script, last):
        for place, token in enumerate(code.tokens):
            if token.name == verb and code.offset + token.start >= begin:
                found += _one(code, place + 1, "TO" if verb == "GRANT" else "FROM")
    return found


def _one(code: Code, place: int, direction: str) -> list[PrivilegeChange]:
    """Parse `REVOKE privileges [(columns)] ON [kind] names FROM roles`, or `GRANT … TO roles`, from token `place` on.

    Return nothing for a kind of object without ordinary rights, or for membership in a role.
    """
    if code.word(place) == "GRANT":  # GRANT OPTION FOR
        return []
    privileges: list[tuple[str, frozenset[str]]] = []
    while (word := code.word(place)) not in ("ON", "FROM", "TO", ";", ""):
        if word == "(":
            columns, place = parse_names(code, place + 1)
            privileges[-1] = (privileges[-1][0], frozenset(name for _, name in columns))
        elif word not in (",", "PRIVILEGES"):
            privileges.append((word, frozenset()))
        place += 1
    if code.word(place) != "ON":
        return []
    kind, every, place = _kind(code, place + 1)
    if not kind:
        return []
    names, place = parse_names(code, place)
    if code.word(place) != direction:
        return []
    roles, _ = parse_names(code, place + 1)
    return [
        PrivilegeChange(role, kind, name if every else schema, None if every else name, privilege, columns)
        for _, role in roles if role in ROLES
        for schema, name in names
        for privilege, columns in privileges
    ]  # fmt: skip


def _kind(code: Code, place: int) -> tuple[str, bool, int]:
    """Return the kind of object ("" if it has no ordinary rights), whether the statement means all objects of a schema,
    and the place of the first name.
    """
    words = [code.word(place + step) for step in range(4)]
    if words[0] == "ALL" and words[1] in ("TABLES", "SEQUENCES"):
        return words[1].removesuffix("S"), True, place + 4  # IN SCHEMA
    if words[0] in ("TABLE", "SEQUENCE", "SCHEMA"):
        return words[0], False, place + 1
    if words[0] in ("ALL", "FUNCTION", "PROCEDURE", "ROUTINE", "DATABASE", "DOMAIN", "FOREIGN", "LANGUAGE", "LARGE",
                    "PARAMETER", "TABLESPACE", "TYPE") and words[1] not in (".", ",", "FROM"):  # fmt: skip
        return "", False, place
    return "TABLE", False, place


def parse_names(code: Code, place: int) -> tuple[list[tuple[str | None, str]], int]:
    """Return a list of names with their schemas, and the place after the last. `%I` and `%s` are unknown names."""
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


def quote_identifier(name: str) -> str:
    """Return the identifier in quotes."""
    return '"' + name.replace('"', '""') + '"'

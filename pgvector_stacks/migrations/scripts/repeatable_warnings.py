"""Warns of repeatable scripts whose effect depends on when they ran, and of other scripts that use what they create.

A repeatable script runs when it is new or changed, after all other scripts, and not because other scripts ran. So a
statement about all objects that exist, or about future ones, has another effect in a database that grew over time than
in a fresh one. So does `SELECT *` in a view: PostgreSQL stores the list of columns when the view is created. And in a
fresh database the other scripts run before the repeatable script has created its objects: they can't use them, and a
statement of theirs about all objects doesn't mean them. CREATE OR REPLACE FUNCTION with other parameters creates
another function, beside the former one, which a fresh database doesn't have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.migrations.lexing.lexing import Statement
from pgvector_stacks.migrations.lexing.positions import line_and_column
from pgvector_stacks.migrations.scripts import acting_code
from pgvector_stacks.migrations.scripts.acting_code import Code
from pgvector_stacks.migrations.scripts.application_rights import ORDINARY, UNKNOWN, parse_names
from pgvector_stacks.migrations.scripts.effects import remove_constants
from pgvector_stacks.migrations.scripts.script_files import Script

EVERY = re.compile(
    r"\bon\s+all\s+(?:tables|sequences|functions|procedures|routines)\s+in\s+schema\b|\balter\s+default\s+privileges\b",
    re.IGNORECASE,
)
ALL_COLUMNS = re.compile(r"\bview\b[^;]*?\b(select\s+(?:distinct\s+)?(?:\w+\s*\.\s*)*\*|table\s+\w)", re.IGNORECASE)
CATALOG = re.compile(
    r"\b(?:information_schema|pg_(?:class|tables|views|matviews|namespace|proc|attribute))\b", re.IGNORECASE
)
CALLED = frozenset({"AGGREGATE", "FUNCTION", "PROCEDURE"})
MADE = CALLED | {"DOMAIN", "SEQUENCE", "TABLE", "TYPE", "VIEW"}
ALL_OF = dict.fromkeys(("FUNCTIONS", "PROCEDURES", "ROUTINES"), CALLED) | {
    "TABLES": frozenset({"TABLE", "VIEW"}), "SEQUENCES": frozenset({"SEQUENCE"}),
}  # fmt: skip
BEFORE_KIND = frozenset({"CREATE", "OR", "REPLACE", "MATERIALIZED", "RECURSIVE", "UNLOGGED"})
BEFORE_A_RELATION = frozenset({"FROM", "INTO", "JOIN", "ONLY", "TABLE", "UPDATE", "VIEW"})
EXECUTES = re.compile(r"\bexecute\b", re.IGNORECASE)


def warn_of_order_dependence(scripts: Iterable[Script]) -> list[str]:
    """Return a warning for each repeatable script about all objects, all columns or future objects. Pure."""
    lines = []
    for script in scripts:
        found = _found(script) if script.repeatable else None
        if found is not None:
            what, remedy = found
            lines.append(
                f"{script.path}: {what}: a repeatable script doesn't run again when others ran,\n"
                f"  so in a fresh database, where it runs last, this would be another thing. {remedy}"
            )
    return lines


def _found(script: Script) -> tuple[str, str] | None:
    """Return the words whose effect depends on when the script ran, and what to write instead; None if it has none."""
    text = remove_constants(script.text)
    if match := EVERY.search(text):
        return " ".join(match[0].split()).upper(), (
            "Say it in a script without the\n"
            "  header; ALTER DEFAULT PRIVILEGES there holds for all that its later scripts make"
        )
    if match := ALL_COLUMNS.search(text):
        return f"{' '.join(match[1].split())} in a view", "Name the columns"
    for statement in script.statements:
        body = script.text[statement.start : statement.end]
        if statement.tokens[0].name == "DO" and EXECUTES.search(body) and (match := CATALOG.search(body)):
            return f"a loop over {match[0]}", "Say it in a script without\n  the header, for each object that is made"
    return None


def warn_of_uses(scripts: Iterable[Script], listed: Iterable[Script]) -> list[str]:
    """Return a warning for each ordinary script of `scripts` that uses what a repeatable one of `listed` creates. Pure.

    A DROP is not a use. The same name may mean another object, so this is only a warning.
    """
    makers = {made: each for each in listed if each.repeatable for made in _made(each)}
    lines = []
    for script in scripts if makers else ():
        text = script.text.lower()
        if script.repeatable or not any(name.lower() in text for _, _, name in makers):
            continue
        own = {(kind in CALLED, name) for kind, _, name in _made(script)}
        open_to_it = {made: each for made, each in makers.items() if (made[0] in CALLED, made[2]) not in own}
        by_name: dict[str, list[CreatedName]] = {}
        for made in open_to_it:
            by_name.setdefault(made[2], []).append(made)
        found = next((use for statement in script.statements for use in _used(script, statement, by_name)), None)
        if found is not None:
            (_, schema, name), place = found
            line, column = line_and_column(script.text, place)
            lines.append(
                f"{script.path}:{line}:{column}: {one_line(f'{schema}.{name}' if schema else name)} is made by"
                f" {open_to_it[found[0]].path}, a repeatable script, which runs after this one:\n"
                "  in a fresh database it isn't there yet. Make it in a script without the header, listed before"
            )
    return lines


# By schema and name, the functions that belong to no extension
OVERLOADS = """
SELECT n.nspname, p.proname, pg_catalog.count(*),
       pg_catalog.string_agg(pg_catalog.format('(%%s)', pg_catalog.pg_get_function_identity_arguments(p.oid)), ', '
                             ORDER BY p.oid)
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE p.proname = ANY(%s) AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgstack')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'
                      AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
 GROUP BY 1, 2 ORDER BY 1, 2
"""


def warn_of_former_parameters(
    connection: Connection[Any], changed: Iterable[Script], listed: Sequence[Script]
) -> list[str]:
    """Return a warning for each of the `changed` repeatable scripts, which have run, with a function that now exists
    more often than the `listed` scripts create it.
    """
    names = [(script, {name for kind, _, name in _made(script) if kind in CALLED}) for script in changed]
    asked = sorted(set().union(*(own for _, own in names)))
    if not asked:
        return []
    created = [made for each in listed for made in _made(each) if made[0] in CALLED]
    more_often = [
        (schema, name, count, parameters)
        for schema, name, count, parameters in connection.execute(OVERLOADS, (asked,)).fetchall()
        if count > sum(made[2] == name and made[1] in (None, schema) for made in created)
    ]
    return [
        f"{script.path}: {one_line(f'{schema}.{name}')} exists {count} times, with {one_line(parameters)},"
        " more often than the scripts create it:\n"
        "  the one with former parameters isn't replaced, and a fresh database doesn't have it. Write\n"
        "  DROP FUNCTION IF EXISTS, with those parameters, before its CREATE"
        for script, own in names
        for schema, name, count, parameters in more_often
        if name in own
    ]


CreatedName = tuple[str, str | None, str]  # kind, schema (None: found through search_path), name


def _made(script: Script) -> Iterator[CreatedName]:
    for statement in script.statements:
        code = Code(script.text, 0, statement.tokens)
        place = 0
        while code.word(place) in BEFORE_KIND:
            place += 1
        if code.word(0) == "CREATE" and code.word(place) in MADE:
            kind, place = code.word(place), place + 1
            place += 3 * (code.word(place) == "IF")
            qualified = code.word(place + 1) == "."
            yield kind, code.name(place) if qualified else None, code.name(place + 2 * qualified)


def _used(
    script: Script, statement: Statement, makers: Mapping[str, Sequence[CreatedName]]
) -> Iterator[tuple[CreatedName, int]]:
    """Yield the objects of `makers`, by name, that a statement uses, also in a DO block, with the name's offset."""
    first = Code(script.text, 0, statement.tokens)
    if first.word(0) == "DROP":
        return
    for code in (
        first,
        *(inner for inner in acting_code.find_in_statement(script, statement) if inner.text is not script.text),
    ):
        for place, token in enumerate(code.tokens):
            if token.name == "SCONST":
                continue
            for kind, schema, name in makers.get(code.name(place), ()):
                qualified = code.word(place - 1) == "."
                before = code.word(place - 3 if qualified else place - 1)
                if qualified and schema is not None and code.name(place - 2) != schema:
                    continue
                grants = before == "ON" and code.word(0) in ("GRANT", "REVOKE")
                called = code.word(place + 1) == "(" and before not in ("INTO", "TABLE", "REFERENCES", "ON")
                if called if kind in CALLED else before in BEFORE_A_RELATION or grants:
                    yield (kind, schema, name), code.offset + code.tokens[place - 2 * qualified].start


@dataclass(frozen=True, slots=True)
class RightsOnAll:
    """GRANT or REVOKE ON ALL … IN SCHEMA, or ALTER DEFAULT PRIVILEGES (`future`). No `schemas` means all of them."""

    verb: str
    privileges: frozenset[str]
    kind: str
    schemas: frozenset[str]
    roles: frozenset[str]
    future: bool
    place: int

    def meets(self, made: CreatedName) -> bool:
        kind, schema, _ = made
        unknown = schema is None or not self.schemas or UNKNOWN in self.schemas
        return kind in ALL_OF[self.kind] and (unknown or schema in self.schemas)

    def is_ordinary(self) -> bool:
        """Return whether the roles have these rights on each object that a script creates."""
        own = [frozenset(ORDINARY.get((self.kind.removesuffix("S"), role), ())) for role in self.roles]
        return self.verb == "GRANT" and all(
            self.privileges == rights if self.future else self.privileges <= rights for rights in own
        )

    def completes(self, other: RightsOnAll) -> bool:
        """Return whether the two say the same, one of the objects that exist and one of the future ones."""
        past, future = (other, self) if self.future else (self, other)
        within = past.schemas <= future.schemas and self.verb == "GRANT"
        return (
            (past.future, future.future) == (False, True) and (not future.schemas or within)
            and (past.verb, past.privileges, past.kind, past.roles)
            == (future.verb, future.privileges, future.kind, future.roles)
        )  # fmt: skip


def warn_of_rights_on_all(scripts: Iterable[Script], ran: Iterable[Script]) -> list[str]:
    """Return a warning for each ordinary script of `scripts` that says who may do what with all objects, if one of them
    was created by a repeatable script of `ran`: a fresh database doesn't have it yet. Pure.

    The object's own script may say what these roles may do with it: then both databases have the same rights.
    """
    saying = [script for script in scripts if not script.repeatable and EVERY.search(script.text)]
    makers = [(made, each) for each in ran if each.repeatable for made in _made(each)] if saying else []
    lines = []
    for script in saying if makers else ():
        said = [one for statement in script.statements for one in _rights_on_all(script, statement)]
        differ = [one for one in said if not one.is_ordinary() and not any(one.completes(other) for other in said)]
        found = next(
            ((one, made, each) for one in differ for made, each in makers
             if one.meets(made) and not one.roles <= _roles_with_rights(each)), None,
        )  # fmt: skip
        if found is not None:
            one, (_, schema, name), maker = found
            line, column = line_and_column(script.text, one.place)
            what = one_line(f"{schema}.{name}" if schema else name)
            lines.append(
                f"{script.path}:{line}:{column}: {'future' if one.future else 'all'} {one.kind.lower()}: {what} is made"
                f" by {maker.path}, a repeatable script, which runs after\n"
                f"  this one in a fresh database: the rights of {one_line(', '.join(sorted(one.roles)))} on it would"
                f" differ. Write them into {maker.path}"
            )
    return lines


def _rights_on_all(script: Script, statement: Statement) -> Iterator[RightsOnAll]:
    first = Code(script.text, 0, statement.tokens)
    inner = [code for code in acting_code.find_in_statement(script, statement) if code.text is not script.text]
    for code in (first, *inner):
        words = [code.word(place) for place in range(len(code.tokens))]
        for place, verb in enumerate(words):
            if verb not in ("GRANT", "REVOKE") or "ON" not in words[place:]:
                continue
            on = words.index("ON", place)
            future = words[:2] == ["ALTER", "DEFAULT"]
            kind = on + (1 if future else 2)
            direction = next((at for at in range(kind, len(words)) if words[at] in ("TO", "FROM")), None)
            if code.word(kind) not in ALL_OF or direction is None or (not future and words[on + 1] != "ALL"):
                continue
            schema = next((at for at in range(len(words)) if words[at] == "SCHEMA" and (future or at > on)), None)
            yield RightsOnAll(
                verb, frozenset(words[place + 1 : on]) - {",", "PRIVILEGES"}, words[kind],
                _list(code, schema + 1) if schema is not None else frozenset(), _list(code, direction + 1), future,
                code.offset + code.tokens[place].start,
            )  # fmt: skip


def _list(code: Code, place: int) -> frozenset[str]:
    return frozenset(name for _, name in parse_names(code, place)[0])


def _roles_with_rights(maker: Script) -> set[str]:
    """Return the names in the GRANTs and REVOKEs of a script, the roles among them."""
    codes = [Code(maker.text, 0, statement.tokens) for statement in maker.statements]
    return {
        code.name(place) for code in codes if code.word(0) in ("GRANT", "REVOKE") for place in range(len(code.tokens))
    }

"""Decides which role creates each entry of a dump, and in which order. Pure.

Invariant: an object whose owner isn't a superuser is created by a login that has no more rights than such owners have.
PostgreSQL evaluates expressions while it creates an object: a default of a type with a CHECK, the bound of a partition,
a constraint that is added. The owner wrote the functions that run then.

Four kinds of entries run no such functions, so the administrator creates them: schemas, objects that only a superuser
may create, privileges, and comments. Schemas come first, because the administrator holds them while code of the owners
runs (`owner_login.holding_schemas`). Privileges come last, because a REVOKE may take a right that an owner still needs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

DATABASE = re.compile(r"(?:DATABASE|DATABASE PROPERTIES|(?:ACL|COMMENT|SECURITY LABEL) - DATABASE) ")
SCHEMA = re.compile(r"SCHEMA - ")
ONLY_A_SUPERUSER = re.compile(
    r"(?:ACCESS METHOD|CAST|EVENT TRIGGER|EXTENSION|FOREIGN DATA WRAPPER|OPERATOR CLASS|OPERATOR FAMILY|"
    r"PROCEDURAL LANGUAGE|PUBLICATION(?! TABLE )|SERVER|SHELL TYPE|SUBSCRIPTION|TRANSFORM|USER MAPPING|BLOB|"
    r"BLOB METADATA) "
)
ANNOTATIONS = re.compile(r"(?:ACL|DEFAULT ACL|COMMENT|SECURITY LABEL|STATISTICS DATA) ")
ROWS = re.compile(r"(?:TABLE DATA|SEQUENCE SET|BLOBS) ")
AFTER_PRIVILEGES = re.compile(r"(?:MATERIALIZED VIEW DATA|EVENT TRIGGER) ")


@dataclass(frozen=True)
class EntryGroup:
    """Lines of pg_restore's list that run together. `as_owner`: by the login with the owners' rights."""

    as_owner: bool
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RestoreOrder:
    """The order of a restore: `spaces`, `schema` (partly before the rows, partly after), `annotations`, `last`.

    `spaces`: the database's schemas; `annotations`: privileges, comments and statistics.
    """

    spaces: list[str]
    schema: list[EntryGroup]
    annotations: list[str]
    last: list[EntryGroup]
    owners: frozenset[str]  # of the objects that the login creates


def split_database(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split pg_restore's list into the lines about the database itself, and the others.

    >>> split_database(["1; 1262 9 DATABASE - app schema_owner", "2; 2615 9 SCHEMA - app schema_owner"])
    (['1; 1262 9 DATABASE - app schema_owner'], ['2; 2615 9 SCHEMA - app schema_owner'])
    """
    database: list[str] = []
    others: list[str] = []
    for line in lines:
        (database if DATABASE.match(line.split(" ", 3)[-1]) else others).append(line)
    return database, others


def plan_restore(lines: Iterable[str], powerless: Collection[str]) -> RestoreOrder:
    """Put the lines of pg_restore's list in order. `powerless`: the server's roles that aren't superusers.

    >>> lines = ["1; 2615 9 SCHEMA - app schema_owner", "2; 3079 9 EXTENSION - vector ",
    ...          "3; 1247 9 DOMAIN app word schema_owner", "4; 0 0 ACL - SCHEMA app schema_owner"]
    >>> made = plan_restore(lines, {"schema_owner"})
    >>> len(made.spaces), [(group.as_owner, len(group.lines)) for group in made.schema], len(made.annotations)
    (1, [(False, 1), (True, 1)], 1)
    """
    spaces: list[str] = []
    annotations: list[str] = []
    schema: list[EntryGroup] = []
    last: list[EntryGroup] = []
    owners: set[str] = set()
    for line in lines:
        entry = line.split(" ", 3)[-1]  # after `DUMP; TABLE OID `
        if ANNOTATIONS.match(entry):
            annotations.append(line)
        elif SCHEMA.match(entry):
            spaces.append(line)
        elif not ROWS.match(entry):
            owner = parse_owner(line, powerless) if not ONLY_A_SUPERUSER.match(entry) else ""
            owners |= {owner} - {""}
            _append_line(last if AFTER_PRIVILEGES.match(entry) else schema, bool(owner), line)
    return RestoreOrder(spaces, schema, annotations, last, frozenset(owners))


def parse_owner(line: str, powerless: Collection[str]) -> str:
    """Return the role at the end of a line if `powerless` has it; "" if a superuser, or nobody, owns the entry."""
    return max((role for role in powerless if line.endswith(f" {role}")), key=len, default="")


def _append_line(groups: list[EntryGroup], as_owner: bool, line: str) -> None:
    if not groups or groups[-1].as_owner != as_owner:
        groups.append(EntryGroup(as_owner))
    groups[-1].lines.append(line)

"""Who makes what of a dump, and in which order. Pure.

Invariant: what a role without a superuser's powers owns is made over a login that has such roles' rights and no others.
PostgreSQL computes while it makes an object: a default of a type with a CHECK, a partition's bound, a constraint that
is added. The owner wrote the functions that run then.

Three kinds of entries compute nothing and stay the administrator's: those that only a superuser may make, rights, and
comments. Rights come last, since they may take from an owner what it takes to make the rest.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

DATABASE = re.compile(r"(?:DATABASE|DATABASE PROPERTIES|(?:ACL|COMMENT|SECURITY LABEL) - DATABASE) ")
ONLY_A_SUPERUSER = re.compile(
    r"(?:ACCESS METHOD|CAST|EVENT TRIGGER|EXTENSION|FOREIGN DATA WRAPPER|OPERATOR CLASS|OPERATOR FAMILY|"
    r"PROCEDURAL LANGUAGE|PUBLICATION(?! TABLE )|SERVER|SHELL TYPE|SUBSCRIPTION|TRANSFORM|USER MAPPING|BLOB|"
    r"BLOB METADATA) "
)
SAID = re.compile(r"(?:ACL|DEFAULT ACL|COMMENT|SECURITY LABEL|STATISTICS DATA) ")
ROWS = re.compile(r"(?:TABLE DATA|SEQUENCE SET|BLOBS) ")
BEHIND_RIGHTS = re.compile(r"(?:MATERIALIZED VIEW DATA|EVENT TRIGGER) ")


@dataclass(frozen=True)
class Group:
    """Lines of pg_restore's list that are made together; `as_owner`: over the login with the owners' rights."""

    as_owner: bool
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Order:
    """`database` first; then `schema`, before the rows and behind them; then what is `said` of it, and the `last`."""

    database: list[str]
    schema: list[Group]
    said: list[str]
    last: list[Group]
    owners: frozenset[str]  # of what the login makes


def order(lines: Iterable[str], powerless: Collection[str]) -> Order:
    """Of pg_restore's list. `powerless`: the roles of the server that are no superusers.

    >>> lines = ["1; 2615 9 SCHEMA - app schema_owner", "2; 3079 9 EXTENSION - vector ",
    ...          "3; 1247 9 DOMAIN app word schema_owner", "4; 0 0 ACL - SCHEMA app schema_owner"]
    >>> made = order(lines, {"schema_owner"})
    >>> [(group.as_owner, len(group.lines)) for group in made.schema], len(made.said)
    ([(True, 1), (False, 1), (True, 1)], 1)
    """
    database: list[str] = []
    said: list[str] = []
    schema: list[Group] = []
    last: list[Group] = []
    owners: set[str] = set()
    for line in lines:
        told = line.split(" ", 3)[-1]  # behind `DUMP; TABLE OID `
        if DATABASE.match(told):
            database.append(line)
        elif SAID.match(told):
            said.append(line)
        elif not ROWS.match(told):
            owner = owner_of(line, powerless) if not ONLY_A_SUPERUSER.match(told) else ""
            owners |= {owner} - {""}
            _add(last if BEHIND_RIGHTS.match(told) else schema, bool(owner), line)
    return Order(database, schema, said, last, frozenset(owners))


def owner_of(line: str, powerless: Collection[str]) -> str:
    """The role at a line's end, where it is one of those; "" where a superuser, or nobody, owns it."""
    return max((role for role in powerless if line.endswith(f" {role}")), key=len, default="")


def _add(groups: list[Group], as_owner: bool, line: str) -> None:
    if not groups or groups[-1].as_owner != as_owner:
        groups.append(Group(as_owner))
    groups[-1].lines.append(line)

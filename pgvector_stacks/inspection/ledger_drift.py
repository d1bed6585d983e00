"""Finds and repairs changes by hand to the ledger's own tables and functions, which schema drift leaves out.

Invariant: the tables of the schema pgstack have the triggers, constraints, NOT NULLs and defaults of
`ledger_create.sql` and no others, no rule, policy or child table, and its functions are the ones written there. A
superuser may change all of this; then events can be deleted, or the ledger takes or shows other rows. An `up` restores
it, or is refused where the rows no longer fit a constraint.

Rights on the schema are `raised_rights.py`'s. If the schema belongs to another role, `roles.ensure_database` refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection, sql

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import format_server_message

LOCK_WAIT = "10s"  # a pg_dump, or a session that somebody forgot, reads these tables


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One row of `ledger_shape.sql`. `table`: "" for a function; `definition`: as the server writes it."""

    kind: str
    table: str
    name: str = ""
    definition: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.table, self.name

    def __str__(self) -> str:
        named = f"{self.kind} {self.name}".strip()
        return named if self.kind == "function" else f"{named} of pgstack.{self.table}"


NOT_NULL = {
    "event": ("at", "by_whom", "id", "kind", "message"),
    "landing": ("id", "pid", "statements"),
    "ledger": ("applied_at", "applied_by", "baseline", "duration_ms", "name", "normalised", "position",
               "server_version", "sha256", "statements"),
    "object": ("definition", "identity", "kind"),
    "statement": ("at", "normalised", "number", "script", "state"),
}  # fmt: skip
PATH = '{"search_path=pg_catalog, pg_temp"}'
HEADS = {  # by name: the arguments, and what there is besides the body
    "land": ("(jsonb)", f"void plpgsql definer {PATH} NULL::jsonb"),
    "refuse_change": ("()", f"trigger plpgsql {PATH}"),
}
BODY = re.compile(r"CREATE OR REPLACE FUNCTION pgstack\.(\w+).*?AS \$\$(.*?)\$\$", re.DOTALL)
BODIES = dict(BODY.findall(queries.get("ledger_create")))  # by name
MADE = frozenset((
    Part("constraint", "event", "event_pkey", "PRIMARY KEY (id)"),
    Part("constraint", "landing", "landing_pkey", "PRIMARY KEY (id)"),
    Part("constraint", "ledger", "ledger_pkey", "PRIMARY KEY (name)"),
    Part("constraint", "object", "object_pkey", "PRIMARY KEY (kind, identity)"),
    Part("constraint", "statement", "statement_pkey", "PRIMARY KEY (script, number)"),
    Part("constraint", "statement", "statement_state_check",
         "CHECK ((state = ANY (ARRAY['started'::text, 'done'::text])))"),
    Part("default", "event", "at", "clock_timestamp()"),
    Part("default", "ledger", "applied_at", "clock_timestamp()"),
    Part("default", "ledger", "baseline", "false"),
    Part("default", "ledger", "server_version", "current_setting('server_version'::text)"),
    Part("default", "statement", "at", "clock_timestamp()"),
    Part("trigger", "event", "append_only",
         "CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON pgstack.event FOR EACH STATEMENT"
         " EXECUTE FUNCTION pgstack.refuse_change()"),
    *(Part("table", table) for table in NOT_NULL),
    *(Part("not null", table, column) for table, columns in NOT_NULL.items() for column in columns),
    *(Part("function", "", f"pgstack.{name}{arguments}", f"{head} {BODIES[name]}")
      for name, (arguments, head) in HEADS.items()),
))  # fmt: skip
# How each kind is removed, and made; `ledger_create.sql` makes triggers and functions.
REMOVE = {
    "trigger": "DROP TRIGGER {name} ON {table}",
    "rule": "DROP RULE {name} ON {table}",
    "policy": "DROP POLICY {name} ON {table}",
    "row security": "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    "unlogged": "ALTER TABLE {table} SET LOGGED",
    "child": "ALTER TABLE {name} NO INHERIT {table}",
    "constraint": "ALTER TABLE {table} DROP CONSTRAINT {name}",
    "not null": "ALTER TABLE {table} ALTER {name} DROP NOT NULL",
    "default": "ALTER TABLE {table} ALTER {name} DROP DEFAULT",
    "function": "DROP FUNCTION {name}",
}
MAKE = {
    "constraint": "ALTER TABLE {table} ADD CONSTRAINT {name} {definition}",
    "not null": "ALTER TABLE {table} ALTER {name} SET NOT NULL",
    "default": "ALTER TABLE {table} ALTER {name} SET DEFAULT {definition}",
}
REPLACED = tuple(part.name for part in MADE if part.kind == "function")  # in place: a trigger may need them
QUOTED = ("child", "function")  # the server quoted their names
SHOWN = ("trigger", "constraint", "default", "rule")  # their definition is one line
REFUSALS = (
    psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.InternalError, psycopg.NotSupportedError,
    psycopg.errors.LockNotAvailable,
)  # fmt: skip
REMEDY = "look at the schema pgstack: a superuser changed it by hand; put that right, then `up` again"


def read_parts(connection: Connection[Any]) -> frozenset[Part]:
    """Return what is there; empty if there is no ledger. Asks only the catalog, which every role may read."""
    asked = {"tables": list(NOT_NULL), "functions": list(HEADS)}
    return frozenset(Part(*row) for row in connection.execute(queries.get("ledger_shape"), asked).fetchall())


def describe_faults(found: Iterable[Part]) -> tuple[str, ...]:
    """Return what isn't as `up` makes it, one sentence each. Pure. A table that is missing is told as one sentence."""
    there = frozenset(found)
    if not there:
        return ()
    wrong, lost = sorted(there - MADE), sorted(_find_lost(there))
    told = []
    for part in wrong:
        verb = "was changed" if part.key in {other.key for other in lost} else "isn't pgstack's"
        told.append(f"{part} {verb}" + (f": {part.definition}" if part.kind in SHOWN else ""))
    told += [f"{part} is gone" for part in lost if part.key not in {other.key for other in wrong}]
    return tuple(map(one_line, told))


def ensure_ledger(connection: Connection[Any]) -> None:
    """Create the ledger if it is missing, and repair what `describe_faults` reports.

    `connection`: as for `roles.ensure_database`.

    Raises PgstackError, and then nothing is changed.
    """
    try:
        with connection.transaction():
            if wrong := [part for part in read_parts(connection) - MADE if part.name not in REPLACED]:
                connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'".encode())
            for part in sorted(wrong, reverse=True):  # triggers before the functions that they call
                connection.execute(_fill(REMOVE[part.kind], part))
            roles.ensure_database(connection)
            if lost := sorted(MADE - read_parts(connection)):
                connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'".encode())
            for part in lost:
                connection.execute(_fill(MAKE[part.kind], part))
    except REFUSALS as error:
        raise PgstackError(f"the ledger can't be put right: {format_server_message(error)}\n  {REMEDY}") from None


def _find_lost(there: frozenset[Part]) -> list[Part]:
    """Return what `up` makes and isn't there; of a missing table only the table."""
    tables = {part.table for part in there if part.kind == "table"}
    return [part for part in MADE - there if part.kind in ("table", "function") or part.table in tables]


def _fill(text: str, part: Part) -> bytes:
    """Return the statement for one part. Definitions are only our own."""
    name = part.name if part.kind in QUOTED else sql.Identifier(part.name).as_string(None)
    table = sql.Identifier("pgstack", part.table).as_string(None)
    return text.format(name=name, table=table, definition=part.definition).encode()

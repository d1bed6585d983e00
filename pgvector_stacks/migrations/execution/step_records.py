"""The SQL that records how far a no-transaction script has come, in `pgstack.statement`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Connection

from pgvector_stacks.migrations.execution import ledger_writer
from pgvector_stacks.migrations.execution.ledger_writer import Write
from pgvector_stacks.migrations.scripts import steps
from pgvector_stacks.migrations.scripts.interrupted import statement_hash
from pgvector_stacks.migrations.scripts.script_files import Script

CHANGES_OPENING = re.compile(r"\b(database|role|user)\b", re.IGNORECASE)  # ALTER DATABASE … SET, in a body, too
BEGUN = (
    "INSERT INTO pgstack.statement (script, number, normalised, state, note) VALUES (%s, %s, %s, 'started', %s)"
    " ON CONFLICT (script, number) DO UPDATE SET state = excluded.state, normalised = excluded.normalised,"
    " note = excluded.note, at = clock_timestamp()"
)
OVER_BEGUN = (
    " ON CONFLICT (script, number) DO UPDATE SET state = excluded.state, at = clock_timestamp(),"
    " note = coalesce(was.note, '{}') || coalesce(excluded.note, '{}')"
)
MOVED = "UPDATE pgstack.statement SET number = %s WHERE script = %s AND number = %s"
FORGOTTEN = "DELETE FROM pgstack.statement WHERE script = %s AND number = %s"
NAMES_NOTED = "UPDATE pgstack.statement SET note = note - 'names' WHERE script = %s AND note ? 'names'"
HELD_BACK = (
    "UPDATE pgstack.statement SET note = coalesce(note, '{}') || %s::jsonb WHERE script = %s AND number ="
    " (SELECT max(number) FROM pgstack.statement WHERE script = %s AND state = 'done')"
)


def begun(script: Script, number: int, noted: Mapping[str, Any]) -> Write:
    """Statement `number` begins outside of a transaction; `noted`: what there was before."""
    return BEGUN, (script.name, number, statement_hash(script, number), json.dumps(noted))


def moved(script: Script, number: int, place: int) -> Write:
    """A statement that began has another number since an edit."""
    return MOVED, (place, script.name, number)


def forgotten(script: Script, number: int) -> Write:
    """A statement that began is another one since an edit."""
    return FORGOTTEN, (script.name, number)


def names_noted(script: Script) -> Write:
    """The objects of all steps are recorded: the names in their statements needn't tell them any more."""
    return NAMES_NOTED, (script.name,)


def held_back(script: Script, held: Mapping[str, Sequence[int]]) -> Write:
    """By role, the objects that the script's rest gives it."""
    return HELD_BACK, (json.dumps({"held": held}), script.name, script.name)


def done(
    script: Script, numbers: Sequence[int], *, last: int, noted: bool, held: Mapping[str, Sequence[int]], over: bool,
    opening: Mapping[str, str], left: Mapping[str, Any],
) -> Write:  # fmt: skip
    """The statements `numbers` are done.

    `noted`: the objects they made are recorded too. Where not, the names in a statement tell which may be its own.
    `opening`: what database and role had set when the script began; the first statement's record keeps it where the
    script may change that. `over`: they are recorded as begun, on the administrator's own connection, the `last` with
    what it `left` in the session. Otherwise this lands, and what `land` is given goes with the `last`.
    """
    rows: list[str] = []
    values: list[Any] = []
    for number in numbers:
        changes = not noted and steps.changes_schema(script, [number])
        known: dict[str, Any] = {"names": steps.names(script, number)} if changes else {}
        if number == last and noted and held:
            known["held"] = held
        if number == 0 and CHANGES_OPENING.search(script.text):
            known["opening"] = dict(opening)
        if number == last:
            known |= left
        lands = not over and number == last
        rows.append(f"(%s, %s, %s, 'done', {'coalesce(%s::jsonb || $1, %s::jsonb, $1)' if lands else '%s::jsonb'})")
        note = json.dumps(known) if known else None
        values += [script.name, number, statement_hash(script, number), *([note] * (1 + lands))]
    into = f"pgstack.statement{' AS was' if over else ''} (script, number, normalised, state, note)"
    return f"INSERT INTO {into} VALUES {', '.join(rows)}{OVER_BEGUN if over else ''}", values


def land(settings: Sequence[str]) -> str:
    """Writes what was left, with the values that `settings` have now, for a rerun; in SQL that any session reads alike.

    >>> land(["work_mem"])[:70]
    "SELECT pgstack.land(pg_catalog.jsonb_build_object('settings',pg_catalo"
    """
    return f"SELECT pgstack.land({_values_now(settings)})" if settings else ledger_writer.LAND


def left_in(owner: Connection[Any], settings: Sequence[str]) -> dict[str, Any]:
    """The same of a step that has run outside of a transaction of ours, to be recorded with its `last` statement."""
    row = owner.execute(f"SELECT {_values_now(settings)}".encode()).fetchone() if settings else None
    return dict(row[0]) if row else {}


def _values_now(settings: Sequence[str]) -> str:
    names = (_quoted(name) for name in settings)
    values = ",".join(f"{name},pg_catalog.current_setting({name},true)" for name in names)
    return f"pg_catalog.jsonb_build_object('settings',pg_catalog.jsonb_build_object({values}))"


def _quoted(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

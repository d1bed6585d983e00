"""Builds the SQL that records in `pgstack.statement` how far a no-transaction script has come."""

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

CHANGES_OPENING = re.compile(r"\b(database|role|user)\b", re.IGNORECASE)  # ALTER DATABASE … SET, also in a body
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


def record_start(script: Script, number: int, noted: Mapping[str, Any]) -> Write:
    """Return the Write that records that statement `number` begins outside of a transaction.

    `noted`: the note of what existed before it.
    """
    return BEGUN, (script.name, number, statement_hash(script, number), json.dumps(noted))


def record_settings_before(script: Script, numbers: Sequence[int], opening: Mapping[str, str]) -> Write:
    """Return the Write that records the statements `numbers`, which only set the session, as done."""
    return record_done(script, numbers, last=-1, noted=True, held={}, over=True, opening=opening, left={})


def record_renumbering(script: Script, number: int, place: int) -> Write:
    """Return the Write that gives a begun statement the number `place`, which it has since an edit of the script."""
    return MOVED, (place, script.name, number)


def build_record_deletion(script: Script, number: int) -> Write:
    """Return the Write that deletes the record of a begun statement that an edit of the script has changed."""
    return FORGOTTEN, (script.name, number)


def delete_noted_names(script: Script) -> Write:
    """Return the Write that deletes the noted names: now the objects of all steps are recorded."""
    return NAMES_NOTED, (script.name,)


def record_held_back(script: Script, held: Mapping[str, Sequence[int]]) -> Write:
    """Return the Write that records `held`: by role, the OIDs of objects on which the script's rest grants rights."""
    return HELD_BACK, (json.dumps({"held": held}), script.name, script.name)


def record_done(
    script: Script, numbers: Sequence[int], *, last: int, noted: bool, held: Mapping[str, Sequence[int]], over: bool,
    opening: Mapping[str, str], left: Mapping[str, Any],
) -> Write:  # fmt: skip
    """Return the Write that records the statements `numbers` as done.

    `noted`: the objects that they created are recorded too; if not, the names in each statement are noted, to find its
    objects. `opening`: the settings of database and role when the script began; statement 0 notes them if the script
    may change them. `over`: the administrator's connection writes this over records of begun statements, and notes with
    statement `last` the settings that it `left`. Otherwise `pgstack.land()` runs this, and statement `last` gets the
    settings that `build_landing_call` passes.
    """
    rows: list[str] = []
    values: list[Any] = []
    for number in numbers:
        changes = not noted and steps.changes_schema(script, [number])
        known: dict[str, Any] = {"names": steps.list_identifiers(script, number)} if changes else {}
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


def build_landing_call(settings: Sequence[str]) -> str:
    """Return the call of `pgstack.land()`, which passes the values that `settings` have then, for a rerun to set again.

    The SQL means the same whatever the session has set.

    >>> build_landing_call(["work_mem"])[:70]
    "SELECT pgstack.land(pg_catalog.jsonb_build_object('settings',pg_catalo"
    """
    return f"SELECT pgstack.land({_values_now(settings)})" if settings else ledger_writer.LAND


def read_settings_left(owner: Connection[Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return the values that `settings` have now, as a note, after a step that ran outside of a transaction of ours."""
    row = owner.execute(f"SELECT {_values_now(settings)}".encode()).fetchone() if settings else None
    return dict(row[0]) if row else {}


def _values_now(settings: Sequence[str]) -> str:
    names = (_quoted(name) for name in settings)
    values = ",".join(f"{name},pg_catalog.current_setting({name},true)" for name in names)
    return f"pg_catalog.jsonb_build_object('settings',pg_catalog.jsonb_build_object({values}))"


def _quoted(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

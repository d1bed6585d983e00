"""Reads what is recorded of no-transaction scripts that stopped half-way, and says which ones can't go on. Mostly pure.

Invariant: the statements that ran are a prefix of the script's statements now. The script keeps its name, its header
`no-transaction` and its place among the other scripts. A DO or CALL that may have committed never begins again
unless a person says so.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import PlanRefused
from pgvector_stacks.migrations.lexing.lexing import excerpt, line_and_column
from pgvector_stacks.migrations.scripts import steps
from pgvector_stacks.migrations.scripts.script_files import Script, normalise

ORPHANS_WAIT_S = 10.0
MAY_HAVE_COMMITTED = "commits"  # a key of a note: once the statement began, only a person knows how far it came
MAKES_NAMES = re.compile(r"\b(create|rename|schema|into|call)\b", re.IGNORECASE)  # INTO: SELECT … INTO; SET SCHEMA
IN_PSQL = "in `pgstack psql STACK --as admin`:\n"  # precedes the statements that a person runs


@dataclass(frozen=True, slots=True)
class StartedStatement:
    """A statement (0-based number) that began outside of a transaction, with the note of what existed before it.

    `index_leftovers.py` writes and reads the note.
    """

    number: int
    normalised: str
    note: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a no-transaction script came: the hashes of its finished statements in order, and those that began."""

    done: tuple[str, ...] = ()
    started: tuple[StartedStatement, ...] = ()


def read_finished(connection: Connection[Any]) -> dict[str, Progress]:
    """Return the progress of each no-transaction script that began and has not landed."""
    found: dict[str, Progress] = {}
    columns = "SELECT script, number, normalised, state, to_jsonb(s) -> 'note'"  # older databases have no such column
    for script, number, normalised, state, note in _rows(connection, columns):
        was = found.get(script, Progress())
        found[script] = (
            Progress((*was.done, normalised), was.started) if state == "done"
            else Progress(was.done, (*was.started, StartedStatement(number, normalised, note)))
        )  # fmt: skip
    return found


def read_held_back(connection: Connection[Any], script: str) -> dict[str, list[int]]:
    """Return, by role, the OIDs of objects that finished steps created and on which the rest of `script` grants rights.

    `script_session.py` explains why these objects are held back.
    """
    found: dict[str, set[int]] = {}
    for name, note in _rows(connection, "SELECT script, to_jsonb(s) -> 'note'"):
        for role, oids in ((note or {}).get("held", {}) if name == script else {}).items():
            found.setdefault(role, set()).update(oids)
    return {role: sorted(oids) for role, oids in found.items()}


def read_noted_names(connection: Connection[Any], script: Script) -> frozenset[str]:
    """Return the names in those finished statements of `script` that may create or rename unrecorded objects."""
    rows = _rows(connection, "SELECT script, number, to_jsonb(s) -> 'note' -> 'names'")
    return frozenset(
        name for listed, number, names in rows
        if listed == script.name and names and MAKES_NAMES.search(steps.get_statement_text(script, number))
        for name in names
    )  # fmt: skip


def read_session_settings(connection: Connection[Any], script: str) -> dict[int, dict[str, str]]:
    """Return, by statement number, the settings that its step left in the session (`list_settings_left`)."""
    rows = _rows(connection, "SELECT script, number, to_jsonb(s) -> 'note' -> 'settings'")
    return {row[1]: {name: value for name, value in row[2].items() if value is not None}
            for row in rows if row[0] == script and row[2]}  # fmt: skip


def read_opening_settings(connection: Connection[Any], script: str) -> dict[str, str] | None:
    """Return the database and role settings that the session of `script` began with, None if none are recorded.

    They are recorded only for a script that may change them.
    """
    rows = _rows(connection, "SELECT script, to_jsonb(s) -> 'note' -> 'opening'")
    return next((row[1] for row in rows if row[0] == script and row[1] is not None), None)


def read_notes(connection: Connection[Any], but_done_of: str = "") -> list[dict[str, Any]]:
    """Return the notes of all statements whose objects may not be recorded yet.

    These are statements that began, and finished statements whose notes hold the names in their text. `but_done_of`:
    the name of a script whose finished statements are left out.
    """
    rows = _rows(connection, "SELECT state, to_jsonb(s) -> 'note', script")
    return [
        note for state, note, script in rows
        if note and (state == "started" or ("names" in note and script != but_done_of))
    ]  # fmt: skip


def _rows(connection: Connection[Any], columns: str) -> list[tuple[Any, ...]]:
    exists = connection.execute("SELECT to_regclass('pgstack.statement') IS NOT NULL").fetchone()
    if not exists or not exists[0]:
        return []
    query = f"{columns} FROM pgstack.statement s ORDER BY script, number"
    return connection.execute(query.encode()).fetchall()


def end_orphans(admin: Connection[Any]) -> None:
    """End the owner's sessions that a killed `up` left on the server, so that they commit nothing after our check.

    `admin` works under the lock, so no other `up` is at work. Raises PlanRefused where a session does not end.
    """
    deadline = time.monotonic() + ORPHANS_WAIT_S
    while admin.execute(queries.get("orphans_end")).fetchall():
        if time.monotonic() > deadline:
            raise PlanRefused("a connection of an `up` that was killed does not end; try again in a minute")
        time.sleep(0.05)


def statement_hash(script: Script, index: int) -> str:
    """Return the SHA-256 over the tokens of statement `index` (0-based), computed as for a whole script."""
    return normalise(script.text, list(script.statements[index].tokens))


def find_problems(
    scripts: Sequence[Script],
    applied: Collection[str],
    progress: Mapping[str, Progress],
    baseline: Collection[str],
    where: str,
) -> list[str]:
    """Return a message for each no-transaction script that can't begin or continue. `progress`: of `read_finished`."""
    listed = {script.name: script for script in scripts}
    found: list[str] = []
    for name, how_far in progress.items():
        if name in applied or name in baseline:
            continue
        if name not in listed:
            pending = [script for script in scripts if script.name not in applied]
            found.append(_gone(name, how_far.done, pending, where))
        elif problem := _stuck(listed[name], how_far, where):
            found.append(problem)
        elif how_far.done:
            found += _before(scripts, applied, progress, baseline, name, where)
    for script in scripts:
        if script.no_transaction and script.name not in applied and script.name not in baseline:
            found += steps.split_into_steps(script)[1]
    return found


def _stuck(script: Script, how_far: Progress, where: str) -> str | None:
    hashes = how_far.done
    stopped = f"sql/{script.name} stopped half-way in {where}"
    if not script.no_transaction:
        return (
            f"{stopped}, and its header  -- pgstack: no-transaction  is gone: what already ran would run again\n"
            f"  put the header back; statements that did not run yet may change\n{_by_hand(script.name)}"
        )
    count = len(script.statements)
    for index, ran in enumerate(hashes):
        if index >= count or statement_hash(script, index) != ran:
            return f"{stopped}, and {_edited(script, index, len(hashes))}"
    for entry in how_far.started:
        if problem := _undecided(script, entry):
            return f"{stopped}: {problem}"
    for step in steps.split_into_steps(script)[0]:
        if step.kind == "temporary" and step.first < len(hashes) <= step.last:
            line, _ = line_and_column(script.text, script.statements[len(hashes)].start)
            return (
                f"{stopped}, and from line {line} on it uses a temporary object that went with its session\n"
                f"  edit the rest so that it makes what it needs under another name\n{_by_hand(script.name)}"
            )
    return None


def _undecided(script: Script, entry: StartedStatement) -> str | None:
    """Return the message for a DO or CALL that began and may have committed, with what to do; None for another kind."""
    number = entry.number
    is_there = number < len(script.statements) and statement_hash(script, number) == entry.normalised
    if not (entry.note or {}).get(MAY_HAVE_COMMITTED) and not (is_there and steps.may_commit_inside(script, number)):
        return None
    began = "a DO or CALL that commits inside began, and no record says that it was done"
    if not is_there:
        return (
            f"{began}; since then that statement, number {number + 1}, was changed or moved\n"
            "  undo that edit; or look at what it committed, edit the script to fit, and forget it,"
            f" {IN_PSQL}    {_begin_again(script, number)}"
        )
    line, column = line_and_column(script.text, script.statements[number].start)
    return (
        f"{began}: line {line}\n{excerpt(script.text, line, column)}\n"
        f"  look at what it committed, then say which holds, {describe_ways_on(script, number)}"
    )


def describe_ways_on(script: Script, number: int) -> str:
    """Return what a person may say of a statement that began and may have committed."""
    return (
        f"{IN_PSQL}"
        f"    it is done:                UPDATE pgstack.statement SET state = 'done' {_row(script, number)}\n"
        f"    run it from its beginning: {_begin_again(script, number)}"
    )


def _begin_again(script: Script, number: int) -> str:
    return f"DELETE FROM pgstack.statement {_row(script, number)}"


def _row(script: Script, number: int) -> str:
    return f"WHERE script = {_literal(script.name)} AND number = {number}"


def _edited(script: Script, index: int, finished: int) -> str:
    """Return the message for a script whose statement `index` is not the one that ran, with what to do."""
    ran = f"{finished} ran" if finished > 1 else "1 ran"
    undo = f"  undo that edit: the first {finished} statements stay as they ran" if finished > 1 else "  undo that edit"
    may = "; later ones may change, and a fix for what ran goes there, too"
    if index >= len(script.statements):
        return (
            f"a statement that already ran was changed since: it has {len(script.statements)} statements now, "
            f"but {ran}\n{undo}{may}\n{_by_hand(script.name)}"
        )
    line, column = line_and_column(script.text, script.statements[index].start)
    return (
        f"a statement that already ran was changed since: statement {index + 1}, line {line}, is not the one that ran\n"
        f"{excerpt(script.text, line, column)}\n{undo}{may}\n{_by_hand(script.name)}"
    )


def _gone(name: str, hashes: Sequence[str], pending: Sequence[Script], where: str) -> str:
    renamed = [
        f"sql/{script.name}" for script in pending
        if hashes and [statement_hash(script, i) for i in range(min(len(script.statements), len(hashes)))] == [*hashes]
    ]  # fmt: skip
    back = f"rename {renamed[0]} back to sql/{name}" if renamed else f"put it back: list sql/{name} again"
    return (
        f"sql/{name} stopped half-way in {where} and is not listed any more"
        f"{': ' + renamed[0] + ' would run again what already ran' if renamed else ''}\n"
        f"  {back}; statements that did not run yet may change\n{_by_hand(name)}"
    )


def _by_hand(name: str) -> str:
    return (
        f"  or undo by hand what it did, and forget it, {IN_PSQL}"
        f"    DELETE FROM pgstack.statement WHERE script = {_literal(name)}"
    )


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _before(
    scripts: Sequence[Script], applied: Collection[str], progress: Mapping[str, Progress],
    baseline: Collection[str], name: str, where: str,
) -> list[str]:  # fmt: skip
    place = next(place for place, script in enumerate(scripts) if script.name == name)
    known = {*applied, *baseline, *progress}
    return [
        f"sql/{script.name} is new but listed before sql/{name}, which stopped half-way in {where}\n"
        f"  move it after that one, or write it into the part of sql/{name} that did not run yet"
        for script in scripts[:place]
        if script.name not in known and not script.repeatable
    ]

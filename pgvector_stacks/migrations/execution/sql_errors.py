"""Turns the server's error into `sql/file.sql:14:9: message (42703)`, the line, a caret, and what to do.

Pure: the fields of the server's error are an argument. If they have no position, the message names the statement's
first line without a column, or the line inside the body of a DO block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgvector_stacks.common import row_values
from pgvector_stacks.common.errors import ScriptError, SqlFailed
from pgvector_stacks.common.plain_text import quote_lines
from pgvector_stacks.migrations.lexing.lexing import excerpt, line_and_column
from pgvector_stacks.migrations.scripts.script_files import Script

BODY_LINE = re.compile(r"PL/pgSQL function inline_code_block line (\d+)")


@dataclass(frozen=True, slots=True)
class ServerMessage:
    """The fields of the server's error. `position` is 1-based, in characters; None if the server gave none."""

    text: str
    sqlstate: str = ""
    detail: str = ""
    hint: str = ""
    context: str = ""
    position: int | None = None


ADVICE: dict[str, str] = {
    "55P04": "a new enum value can't be used in the transaction that adds it, and all pending scripts are one:\n"
    "  head the script that adds it with  -- pgstack: no-transaction",
    "25001": "this statement can't run inside a transaction: move it to a script headed  -- pgstack: no-transaction",
    "53200": "the server ran out of memory for locks or work: each relation a transaction touches holds a lock.\n"
    "  raise pgvector:memoryMb (max_locks_per_transaction follows it), or let a script headed\n"
    "  -- pgstack: no-transaction  stand between the scripts, which ends one transaction and begins another",
    "53100": "the disk is full: free some space, then `up` again; nothing of this group was kept",
    "42501": "scripts run as schema_owner, who is no superuser; an extension goes into pgvector:extensions,\n"
    "  a dump is made with pg_dump --no-owner --no-privileges --schema=NAME (without COMMENT ON EXTENSION)",
    "57014": "it took longer than the environment allows: raise pgvector:statementTimeoutS, or head the script with\n"
    "  -- pgstack: statement-timeout 30min",
    "2D000": "a procedure that commits can't run inside a transaction:\n"
    "  head the script with  -- pgstack: no-transaction",
}
ROW_SECURITY = (
    "the table has FORCE ROW LEVEL SECURITY, so that its owner would see some rows only, and not know it:\n"
    "  ALTER TABLE … NO FORCE ROW LEVEL SECURITY, or set what the policy asks for and  SET row_security = on"
    "  before this"
)
VARIABLE = "a variable of psql's (:name, :'name') means nothing here: write its value, or let the application set it"
EXISTS = (
    "if the object was made by something else before, name the script in pgvector:baseline: it is then checked\n"
    "  against the database and recorded, not run"
)
ADVICE |= dict.fromkeys(("42P07", "42P06", "42710", "42701", "42723"), EXISTS)


def explain(script: Script, message: ServerMessage, index: int) -> SqlFailed:
    """Return the error for a failure of statement `index` (0-based) of `script`."""
    line, column = locate(script, message, index)
    shown, recorded = (_lines(script, message, line, column, show=show) for show in (row_values.are_shown(), False))
    return SqlFailed(shown, sqlstate=message.sqlstate, script=script.name, line=line, recorded=recorded)


def _lines(script: Script, message: ServerMessage, line: int, column: int | None, *, show: bool) -> str:
    """Return the whole message. `show`: include values of rows."""
    place = f"{script.path}:{line}" + (f":{column}" if column else "")
    state = f" ({message.sqlstate})" if message.sqlstate else ""
    text = row_values.redact_message(message.text, message.sqlstate, show=show)
    detail = row_values.redact_detail(message.detail, message.sqlstate, show=show)
    lines = [f"{place}: {quote_lines(text)}{state}", excerpt(script.text, line, column)]
    lines += [
        f"  {label}: {quote_lines(words)}" for label, words in (("detail", detail), ("hint", message.hint)) if words
    ]
    if message.context and not BODY_LINE.search(message.context):
        lines.append(f"  in: {row_values.redact_context(message.context.splitlines()[0], show=show)}")
    if advice := _advice(message):
        lines.append(f"  {advice}")
    return "\n".join(lines)


def _advice(message: ServerMessage) -> str | None:
    if message.sqlstate == "42501" and "row-level security" in message.text:
        return ROW_SECURITY
    if message.sqlstate == "42601" and message.text.endswith('":"'):
        return VARIABLE
    return ADVICE.get(message.sqlstate)


def locate(script: Script, message: ServerMessage, index: int) -> tuple[int, int | None]:
    """Return line and column (1-based) in the file. The column is None if only the statement or body line is known."""
    if message.position is not None:
        return line_and_column(script.text, message.position - 1)
    try:
        found = script.statements
    except ScriptError:
        found = ()
    if index >= len(found):
        return 1, None
    statement = found[index]
    body = BODY_LINE.search(message.context)
    if body is not None:
        for token in statement.tokens:
            if token.name == "SCONST":
                return line_and_column(script.text, token.start)[0] + int(body[1]) - 1, None
    return line_and_column(script.text, statement.start)[0], None

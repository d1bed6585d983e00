"""Finds the parts of a text that only psql understands: its own commands, and data after COPY … FROM stdin.

Data may contain apostrophes, so the scanner may find an unterminated string in such a text. The error then names the
command or the data as the cause, not the apostrophe.
"""

from __future__ import annotations

import re
from itertools import pairwise

from pgvector_stacks.common.errors import ScriptError
from pgvector_stacks.migrations.lexing.lexing import Statement
from pgvector_stacks.migrations.lexing.positions import excerpt, line_and_column

INLINE_DATA = re.compile(r"^[ \t]*(COPY)\b[^;']*\bFROM\s+STDIN\b[^;\n]*;[^\n]*\n(?:[^\n]*\n)*?\\\.[ \t]*$", re.I | re.M)
COMMAND = re.compile(r"^[ \t]*(\\(?:[A-Za-z]\w*|!))", re.MULTILINE)
ADVICE = {
    "\\i": "list the other file as a script of its own (pgvector:scripts)",
    "\\ir": "list the other file as a script of its own (pgvector:scripts)",
    "\\copy": "load data from the application with COPY, or write INSERT statements",
    "\\.": "this is inline COPY data: dump it again with pg_dump --inserts",
}


def refuse(path: str, text: str, statement: Statement) -> None:
    """Refuse a statement that has a psql command or takes inline COPY data. Raises ScriptError."""
    for token in statement.tokens:
        if token.name == "ASCII_92":  # a backslash
            raise _command(path, text, token.start)
    if statement.tokens[0].name == "COPY":
        words = [text[token.start : token.end].upper() for token in statement.tokens]
        if any(pair == ("FROM", "STDIN") for pair in pairwise(words)):
            raise _inline_data(path, text, statement.start)


def explain_unreadable(path: str, text: str) -> ScriptError | None:
    """Return an error about the first part for psql in a text that the scanner can't read; None if there is none."""
    if found := INLINE_DATA.search(text):
        return _inline_data(path, text, found.start(1))
    if found := COMMAND.search(text):
        return _command(path, text, found.start(1))
    return None


def _command(path: str, text: str, place: int) -> ScriptError:
    line, column = line_and_column(text, place)
    command = text[place:].split(maxsplit=1)[0]
    return ScriptError(
        f"{path}:{line}:{column}: {command} is a command of psql, not SQL\n{excerpt(text, line, column)}\n"
        f"  {ADVICE.get(command, 'only psql knows it: write it as SQL or remove the line')}"
    )


def _inline_data(path: str, text: str, place: int) -> ScriptError:
    line, column = line_and_column(text, place)
    return ScriptError(
        f"{path}:{line}:{column}: COPY … FROM stdin has its data in the file, which only psql can send\n"
        f"{excerpt(text, line, column)}\n"
        "  write INSERT statements (pg_dump --inserts), or load the data from the application"
    )

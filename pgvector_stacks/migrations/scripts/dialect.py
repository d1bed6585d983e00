"""Refuses a script that would do something else here than in the tool it was written for: strings that psql would read
in another way, and the part of a goose, sql-migrate or dbmate file that undoes the part before.

A script goes to the server as one message, and the server cuts all of it into tokens before the first statement runs.
So `SET standard_conforming_strings = off` comes too late for the strings after it. psql sends one statement at a time:
there, backslashes in these strings are escapes. Our own scanner reads all strings as with `on`, too.
"""

from __future__ import annotations

import re

from pgvector_stacks.migrations.lexing.lexing import Statement, is_whole
from pgvector_stacks.migrations.lexing.positions import excerpt, line_and_column
from pgvector_stacks.migrations.scripts.script_files import Script

NAME = "standard_conforming_strings"
ON = frozenset({"on", "true", "tru", "tr", "t", "yes", "ye", "y", "1", "default"})
WAY_BACK = re.compile(
    r"^[ \t]*(--[ \t]*(?:\+(?:goose|migrate)[ \t]+down\b|migrate:down\b))", re.IGNORECASE | re.MULTILINE
)
IN_A_BODY = re.compile(
    rf"set(?:\s+local|\s+session)?\s+{NAME}\s*(?:=|to)\s*'*(?P<value>\w+)"
    rf"|set_config\s*\(\s*'+{NAME}'+\s*,\s*'*(?P<other>\w+)",
    re.IGNORECASE,
)


def explain_refusal(script: Script) -> str | None:
    """Return why the script can't run, or None if it can.

    Ask this only about scripts that are to run: a script that ran long ago must not stop its stack.
    """
    return _undoing(script) or _strings_otherwise(script)


def _undoing(script: Script) -> str | None:
    """Return a refusal if the script has a down part, which undoes the script and would run with it."""
    text = script.text
    for found in WAY_BACK.finditer(text):
        place = found.start(1)
        if is_whole(text[:place]) and any(statement.start > place for statement in script.statements):
            line, column = line_and_column(text, place)
            return (
                f"{script.path}:{line}:{column}: what follows `{found[1]}` undoes the script, and would run too\n"
                f"{excerpt(text, line, column)}\n"
                "  remove that part: the way back is another script, written when it is needed"
            )
    return None


def _strings_otherwise(script: Script) -> str | None:
    """Return a refusal if the script turns standard_conforming_strings off, or may do so, before a backslash.

    Without a backslash the setting has no effect on strings; many old dumps set it and have no backslash after it.
    """
    if NAME not in script.text.lower() or "\\" not in script.text:
        return None
    return next(filter(None, (_refusal_of(script, statement) for statement in script.statements)), None)


def _refusal_of(script: Script, statement: Statement) -> str | None:
    text = script.text
    if NAME not in text[statement.start : statement.end].lower() or "\\" not in text[statement.end :]:
        return None
    words = [text[token.start : token.end].lower() for token in statement.tokens]
    value = _set_to(words)
    if value is None or value.strip("'\"") in ON:
        return None
    line, column = line_and_column(text, statement.start)
    return (
        f"{script.path}:{line}:{column}: {NAME} would not be on for the strings after this: the server reads a "
        "script's strings before its first statement runs\n"
        f"{excerpt(text, line, column)}\n"
        "  remove it, and write strings with backslash escapes as E'…' (with `on`, a dump has them right:\n"
        f"  pg_dump writes  SET {NAME} = on)"
    )


def _set_to(words: list[str]) -> str | None:
    """Return the value that the statement sets for the session, None if it sets none.

    A setting that belongs to a function or a role (CREATE FUNCTION … SET, ALTER ROLE … SET) does not count.
    """
    if words[0] == "set":
        place = 2 if words[1:2] in (["local"], ["session"]) else 1
        named = words[place : place + 1] in ([NAME], [f'"{NAME}"'])
        return words[place + 2] if named and len(words) > place + 2 else None
    for place, word in enumerate(words):
        if word == "set_config" and words[place + 1 : place + 3] == ["(", f"'{NAME}'"] and len(words) > place + 4:
            return words[place + 4]
        if words[0] == "do" and NAME in word:
            for found in IN_A_BODY.finditer(word):
                value = (found["value"] or found["other"]).lower()
                if value not in ON:
                    return value
    return None

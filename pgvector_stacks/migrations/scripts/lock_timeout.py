"""Keeps the environment's lock_timeout in force whatever a script says: nothing may queue behind a waiting `up`.

pg_dump writes `SET lock_timeout = 0` at the top of each file. Such a setting, and a statement_timeout of 0, is sent
under another name of the same length, so that the server's error positions stay those of the file: it sets a custom
setting nobody reads. A shorter lock_timeout and any other statement_timeout hold. Only what the script's own text says
is seen, DO blocks included; a function that was made before may still set what it likes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pgvector_stacks.migrations.scripts.acting_code import Code, acting
from pgvector_stacks.migrations.scripts.script_files import Script

LOCK, STATEMENT = "lock_timeout", "statement_timeout"
STAND_INS = {LOCK: "pgstack.lock", STATEMENT: "pgstack.statement"}
UNITS_MS = {"us": 0.001, "ms": 1.0, "": 1.0, "s": 1000.0, "min": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
BEFORE_A_STATEMENT = frozenset({"", ";", "BEGIN", "THEN", "ELSE", "LOOP"})


def as_sent(script: Script, lock_timeout_ms: float) -> str:
    """The script's text, of the same length, without what would undo the environment's limits.

    `lock_timeout_ms`: the environment's; 0 is no limit.
    """
    last = script.text.lower().rfind("_timeout")
    if last < 0:
        return script.text
    text = script.text
    for code in acting(script, last):
        for name, place, value in _settings(code):
            if _is_the_environments(name, value, lock_timeout_ms):
                at = code.offset + place
                text = text[:at] + STAND_INS[name] + text[at + len(name) :]
    return text


def _is_the_environments(name: str, value: float | None, lock_timeout_ms: float) -> bool:
    """None: nobody knows before it runs."""
    if name == STATEMENT:
        return value == 0
    return lock_timeout_ms > 0 and (value is None or value == 0 or value > lock_timeout_ms)


def _settings(code: Code) -> Iterator[tuple[str, int, float | None]]:
    """Each SET and set_config of one of the two: its name, where that begins in `code.text`, the value in ms."""
    for place, token in enumerate(code.tokens):
        if token.name == "SET" and code.word(place - 1) in BEFORE_A_STATEMENT:
            at = place + (2 if code.word(place + 1) in ("LOCAL", "SESSION") else 1)
            name = code.name(at)
            if name in STAND_INS and code.word(at + 1) in ("TO", "=") and code.word(at + 2) != "DEFAULT":
                quoted = code.text[code.tokens[at].start] == '"'
                yield name, code.tokens[at].start + quoted, _milliseconds(code, at + 2)
        elif code.name(place) == "set_config" and code.word(place + 1) == "(":
            content = code.content(place + 2)
            if content is not None and content[0].lower() in STAND_INS:
                literal = code.word(place + 5) == ","
                value = _milliseconds(code, place + 4) if literal else None
                yield content[0].lower(), content[1] - code.offset, value


def _milliseconds(code: Code, place: int) -> float | None:
    content = code.content(place)
    written = content[0] if content is not None else code.word(place)
    match = re.fullmatch(r"\s*'?\s*(\d+(?:\.\d*)?)\s*([a-z]*)\s*'?\s*", written.lower())
    if match is None or match[2] not in UNITS_MS:
        return None
    return float(match[1]) * UNITS_MS[match[2]]

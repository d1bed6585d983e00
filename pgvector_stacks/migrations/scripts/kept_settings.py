"""Keeps settings of the connection in force whatever a script sets: lock_timeout, since no session may queue behind a
waiting `up`, and client_encoding, since scripts are sent in UTF-8.

pg_dump writes `SET lock_timeout = 0` at the top of each file, and `SET client_encoding` with the file's encoding before
it was converted to UTF-8. Such a setting, and a statement_timeout of 0, is sent under another name of the same length:
it sets a custom setting that nobody reads, and the server's error positions stay those of the file. A shorter
lock_timeout and any other statement_timeout take effect. Only the script's own text is read, DO blocks included; a
function that exists already may still set anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pgvector_stacks.migrations.scripts.acting_code import Code, find_acting_code
from pgvector_stacks.migrations.scripts.script_files import Script

LOCK, STATEMENT, ENCODING = "lock_timeout", "statement_timeout", "client_encoding"
NAMES = "names"  # SET NAMES 'latin1' sets client_encoding, and has no equals sign
SETTINGS = frozenset({LOCK, STATEMENT, ENCODING})
STAND_INS = {LOCK: "pgstack.lock", STATEMENT: "pgstack.statement", ENCODING: "pgstack.charset", NAMES: "pg.n="}
UTF8 = re.compile(r"\W*utf\W?8\W*", re.IGNORECASE)
SETS_NAMES = re.compile(r"set\s+(?:local\s+|session\s+)?names\b")
UNITS_MS = {"us": 0.001, "ms": 1.0, "": 1.0, "s": 1000.0, "min": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
BEFORE_A_STATEMENT = frozenset({"", ";", "BEGIN", "THEN", "ELSE", "LOOP"})


def protect_limits(script: Script, lock_timeout_ms: float) -> str:
    """Return the script's text with settings renamed that would undo the environment's limits; its length is the same.

    `lock_timeout_ms`: the environment's value; 0 is no limit.
    """
    lower = script.text.lower()
    names = SETS_NAMES.finditer(lower) if NAMES in lower else ()
    last = max(lower.rfind("_timeout"), lower.rfind(ENCODING), *(found.end() for found in names), -1)
    if last < 0:
        return script.text
    text = script.text
    for code in find_acting_code(script, last):
        for name, place, value in _settings(code):
            if _is_kept(name, value, lock_timeout_ms):
                at = code.offset + place
                text = text[:at] + STAND_INS[name] + text[at + len(name) :]
    return text


def _is_kept(name: str, value: str | None, lock_timeout_ms: float) -> bool:
    """Return whether the connection keeps its own value. `value`: as written; None if it is computed at run time."""
    if name in (ENCODING, NAMES):
        return value is None or UTF8.fullmatch(value) is None
    return _outlasts(name, None if value is None else _milliseconds(value), lock_timeout_ms)


def _outlasts(name: str, value: float | None, lock_timeout_ms: float) -> bool:
    """Return whether `value`, in milliseconds, is more than the environment allows."""
    if name == STATEMENT:
        return value == 0
    return lock_timeout_ms > 0 and (value is None or value == 0 or value > lock_timeout_ms)


def _settings(code: Code) -> Iterator[tuple[str, int, str | None]]:
    """Yield for each SET and set_config of these settings: name, its offset in `code.text`, value as written."""
    for place, token in enumerate(code.tokens):
        if token.name == "SET" and code.word(place - 1) in BEFORE_A_STATEMENT:
            at = place + (2 if code.word(place + 1) in ("LOCAL", "SESSION") else 1)
            name, quoted = code.name(at), code.text[code.tokens[at].start : code.tokens[at].start + 1] == '"'
            value_at = at + (code.word(at + 1) in ("TO", "=")) + 1
            assigns = (value_at == at + 2) != (name == NAMES and not quoted)
            if name in STAND_INS and assigns and code.word(value_at) not in ("DEFAULT", "", ";"):
                yield name, code.tokens[at].start + quoted, _written(code, value_at)
        elif code.name(place) == "set_config" and code.word(place + 1) == "(":
            content = code.content(place + 2)
            if content is not None and content[0].lower() in SETTINGS:
                literal = code.word(place + 5) == ","
                yield content[0].lower(), content[1] - code.offset, _written(code, place + 4) if literal else None


def _written(code: Code, place: int) -> str:
    content = code.content(place)
    return content[0] if content is not None else code.word(place)


def _milliseconds(written: str) -> float | None:
    match = re.fullmatch(r"\s*'?\s*(\d+(?:\.\d*)?)\s*([a-z]*)\s*'?\s*", written.lower())
    if match is None or match[2] not in UNITS_MS:
        return None
    return float(match[1]) * UNITS_MS[match[2]]

"""Keeps settings of the connection in force whatever a script says: lock_timeout, since nothing may queue behind a
waiting `up`, and client_encoding, since scripts go out in UTF-8.

pg_dump writes `SET lock_timeout = 0` at the top of each file, and `SET client_encoding` with what the file had before
it was made UTF-8. Such a setting, and a statement_timeout of 0, is sent under another name of the same length, so that
the server's error positions stay those of the file: it sets a custom setting nobody reads. A shorter lock_timeout and
any other statement_timeout hold. Only what the script's own text says is seen, DO blocks included; a function that was
made before may still set what it likes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pgvector_stacks.migrations.scripts.acting_code import Code, acting
from pgvector_stacks.migrations.scripts.script_files import Script

LOCK, STATEMENT, ENCODING = "lock_timeout", "statement_timeout", "client_encoding"
NAMES = "names"  # SET NAMES 'latin1' sets client_encoding, and has no equals sign
SETTINGS = frozenset({LOCK, STATEMENT, ENCODING})
STAND_INS = {LOCK: "pgstack.lock", STATEMENT: "pgstack.statement", ENCODING: "pgstack.charset", NAMES: "pg.n="}
UTF8 = re.compile(r"\W*utf\W?8\W*", re.IGNORECASE)
SETS_NAMES = re.compile(r"set\s+(?:local\s+|session\s+)?names\b")
UNITS_MS = {"us": 0.001, "ms": 1.0, "": 1.0, "s": 1000.0, "min": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
BEFORE_A_STATEMENT = frozenset({"", ";", "BEGIN", "THEN", "ELSE", "LOOP"})


def as_sent(script: Script, lock_timeout_ms: float) -> str:
    """The script's text, of the same length, without what would undo the environment's limits.

    `lock_timeout_ms`: the environment's; 0 is no limit.
    """
    lower = script.text.lower()
    names = SETS_NAMES.finditer(lower) if NAMES in lower else ()
    last = max(lower.rfind("_timeout"), lower.rfind(ENCODING), *(found.end() for found in names), -1)
    if last < 0:
        return script.text
    text = script.text
    for code in acting(script, last):
        for name, place, value in _settings(code):
            if _is_kept(name, value, lock_timeout_ms):
                at = code.offset + place
                text = text[:at] + STAND_INS[name] + text[at + len(name) :]
    return text


def _is_kept(name: str, value: str | None, lock_timeout_ms: float) -> bool:
    """Whether the connection's own value stays. `value`: as written; None where nobody knows before it runs."""
    if name in (ENCODING, NAMES):
        return value is None or UTF8.fullmatch(value) is None
    return _outlasts(name, None if value is None else _milliseconds(value), lock_timeout_ms)


def _outlasts(name: str, value: float | None, lock_timeout_ms: float) -> bool:
    """Whether this many milliseconds are more than the environment allows."""
    if name == STATEMENT:
        return value == 0
    return lock_timeout_ms > 0 and (value is None or value == 0 or value > lock_timeout_ms)


def _settings(code: Code) -> Iterator[tuple[str, int, str | None]]:
    """Each SET and set_config of one of these: its name, where that begins in `code.text`, the value as written."""
    for place, token in enumerate(code.tokens):
        if token.name == "SET" and code.word(place - 1) in BEFORE_A_STATEMENT:
            at = place + (2 if code.word(place + 1) in ("LOCAL", "SESSION") else 1)
            name, quoted = code.name(at), code.text[code.tokens[at].start : code.tokens[at].start + 1] == '"'
            behind = at + (code.word(at + 1) in ("TO", "=")) + 1
            assigns = (behind == at + 2) != (name == NAMES and not quoted)
            if name in STAND_INS and assigns and code.word(behind) not in ("DEFAULT", "", ";"):
                yield name, code.tokens[at].start + quoted, _written(code, behind)
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

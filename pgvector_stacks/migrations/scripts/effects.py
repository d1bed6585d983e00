"""Decides from a script's words what it may do: read or change rights, settings and roles, or define code. Pure.

After a script that can't do any of this, the server need not be asked what changed. The check ignores where a word
is. So it may suspect a harmless script, but it never clears one that can. Texts are `remove_constants(script).lower()`.
"""

from __future__ import annotations

import re

# For texts in lower case. A script with none of these words neither changes nor reads rights, settings or roles: it
# creates, alters, comments. Words are searched before patterns, which take ten times as long.
WORD = re.compile(r"\w+")
NOISY = {
    "attach", "call", "database", "detach", "explain", "fetch", "grant", "materialized", "move", "perform", "refresh",
    "revoke", "select", "user",
}  # fmt: skip
NOISY_PARTS = (
    "acl", "advisory", "authorization", "constraints", "owned", "owner", "privilege", "role", "currval", "lastval",
)  # fmt: skip
# These words count, but not in the places that the patterns exclude (DO NOTHING, EXECUTE FUNCTION, CREATE TABLE).
# A plain TABLE reads a view without SELECT.
ELSEWHERE = {
    "do": re.compile(r"do\b(?<!\wdo)(?!\s+(?:nothing|update)\b)"),
    "execute": re.compile(r"execute\b(?<!\wexecute)(?!\s+(?:function|procedure))"),
    "table": re.compile(
        r"table\b(?<!\wtable)"
        r"(?<!create\stable)(?<!foreign\stable)(?<!alter\stable)(?<!drop\stable)(?<!unlogged\stable)(?<!temp\stable)"
        r"(?<!temporary\stable)(?<!\bon\stable)"
    ),
}
# These words count only if the database has functions of its own, or a constraint may be checked at the script's end.
CHANGES_ROWS = re.compile(
    r"\b(?:copy|insert|merge|truncate|(?<!\bon\s)(?:delete|update)|(?<!\bfor\s)values|with(?!\s*\())\b"
)
ALTERS = re.compile(r"\balter\s+(?:domain|foreign|table)\b")  # may run a default or a check, also one of a domain
RETYPES = re.compile(r"\b(?:alter|drop)\b")  # may change a type that PL/pgSQL remembers from a function's first run
CONSTANT = re.compile(r"""--[^\n]*|'(?:[^']|'')*'|"[^"]*\"""")
MAKES_CODE = re.compile(r"\b(?:call|do(?!\s+(?:nothing|update)\b)|execute|extension|function|language|procedure)\b")


def remove_constants(text: str) -> str:
    """Remove comments and constants, which are data. Return the whole text if a constant may be code or has escapes.

    >>> remove_constants("INSERT INTO note VALUES ('call back')")
    'INSERT INTO note VALUES ( )'
    """
    if any(mark in text for mark in ("$", "\\", "/*")) or MAKES_CODE.search(CONSTANT.sub(" ", text).lower()):
        return text
    return CONSTANT.sub(lambda found: found[0] if found[0][0] == '"' else " ", text)


def may_create_code(text: str) -> bool:
    """Return whether the script may create or run a function."""
    return MAKES_CODE.search(text) is not None


def may_change_types(text: str) -> bool:
    """Return whether the script may change a type that PL/pgSQL remembers from a function's first run."""
    return RETYPES.search(text) is not None


def is_noisy(text: str, *, has_code: bool = False, deferring: bool = False) -> bool:
    """Return whether a script may change or read rights, settings or roles.

    `has_code`: the database has functions of its own. `deferring`: a constraint may be checked at the script's end.

    >>> is_noisy("create table item (id int)"), is_noisy("table item"), is_noisy("grant select on item to readonly")
    (False, True, True)
    >>> is_noisy("delete from item"), is_noisy("delete from item", has_code=True)
    (False, True)
    """
    words = set(WORD.findall(text))
    return (
        not words.isdisjoint(NOISY)
        or any(part in text for part in NOISY_PARTS)
        or any(word in words and pattern.search(text) is not None for word, pattern in ELSEWHERE.items())
        or ((has_code or deferring) and CHANGES_ROWS.search(text) is not None)
        or (has_code and ALTERS.search(text) is not None)
    )

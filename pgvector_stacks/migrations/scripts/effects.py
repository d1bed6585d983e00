"""Tells from a script's words alone what it can't do: read or change rights, settings and roles; define code. Pure.

A script that can't needs no question behind it. Where a word stands doesn't matter, so a script may be taken for one
that can, never the other way round. Texts are `words_of(script).lower()`.
"""

from __future__ import annotations

import re

# Of a text in lower case. A script without any of these neither changes nor sees rights, settings or roles: it creates,
# alters, comments. Words are looked for before patterns, which take ten times as long.
WORD = re.compile(r"\w+")
NOISY = {
    "attach", "call", "database", "detach", "explain", "fetch", "grant", "materialized", "move", "perform", "refresh",
    "revoke", "select", "user",
}  # fmt: skip
NOISY_PARTS = (
    "acl", "advisory", "authorization", "constraints", "owned", "owner", "privilege", "role", "currval", "lastval",
)  # fmt: skip
# Nor does one with these in another place; the last asks a view without a SELECT.
ELSEWHERE = {
    "do": re.compile(r"do\b(?<!\wdo)(?!\s+(?:nothing|update)\b)"),
    "execute": re.compile(r"execute\b(?<!\wexecute)(?!\s+(?:function|procedure))"),
    "table": re.compile(
        r"table\b(?<!\wtable)"
        r"(?<!create\stable)(?<!foreign\stable)(?<!alter\stable)(?<!drop\stable)(?<!unlogged\stable)(?<!temp\stable)"
        r"(?<!temporary\stable)(?<!\bon\stable)"
    ),
}
# Nor does one with these, unless it runs somebody's function or there is something to check at its end.
CHANGES_ROWS = re.compile(
    r"\b(?:copy|insert|merge|truncate|(?<!\bon\s)(?:delete|update)|(?<!\bfor\s)values|with(?!\s*\())\b"
)
ALTERS = re.compile(r"\balter\s+(?:domain|foreign|table)\b")  # may run a default, a check, a domain's
RETYPES = re.compile(r"\b(?:alter|drop)\b")  # may make another type of what a function was read with
CONSTANT = re.compile(r"""--[^\n]*|'(?:[^']|'')*'|"[^"]*\"""")
MAKES_CODE = re.compile(r"\b(?:call|do(?!\s+(?:nothing|update)\b)|execute|extension|function|language|procedure)\b")


def words_of(text: str) -> str:
    """The script without comments and constants, which are data. All of it where a constant may be code, or escaped.

    >>> words_of("INSERT INTO note VALUES ('call back')")
    'INSERT INTO note VALUES ( )'
    """
    if any(mark in text for mark in ("$", "\\", "/*")) or MAKES_CODE.search(CONSTANT.sub(" ", text).lower()):
        return text
    return CONSTANT.sub(lambda found: found[0] if found[0][0] == '"' else " ", text)


def makes_code(text: str) -> bool:
    """Whether it may make a function, or run one."""
    return MAKES_CODE.search(text) is not None


def retypes(text: str) -> bool:
    """Whether it may make another type of what a function was read with."""
    return RETYPES.search(text) is not None


def is_noisy(text: str, *, has_code: bool = False, deferring: bool = False) -> bool:
    """Whether a script may change or see rights, settings or roles.

    `has_code`: the database has functions of its own; `deferring`: a constraint may be checked at the script's end.

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

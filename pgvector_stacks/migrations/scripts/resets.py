"""Makes RESET in a script go back to what database and role have set now, as in a session of its own.

A session's RESET goes back to the values that its connection began with. What a script before it in the same `up`
changed by ALTER DATABASE … SET isn't among them, and nothing but a new connection changes that. So behind each RESET
and SET … TO DEFAULT of the script a statement sets the value again. Only the script's own statements are seen: not what
a DO block or a function resets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgvector_stacks.migrations.scripts.script_files import Script

MAY_RESET = re.compile(r"\breset\b|\bdefault\b|\btime\s+zone\s+local\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Added:
    """A statement that was put into a script's text at offset `at` of that text, behind statement number `behind`."""

    at: int
    length: int
    behind: int


def as_sent(script: Script, text: str, holds: Mapping[str, str]) -> tuple[str, Sequence[Added]]:
    """The script's text with the statements that it needs, and where they are.

    `text`: the script's, of the same length. `holds`: by the setting's name, the value that a new connection has and
    this one doesn't, as an SQL constant.
    """
    if not holds or not MAY_RESET.search(text):
        return text, ()
    parts, added, done = [], [], 0
    for number, statement in enumerate(script.statements):
        words = [text[token.start : token.end].lower() for token in statement.tokens]
        names, local = _reset(words)
        values = [
            f"pg_catalog.set_config('{name}', {value}, {str(local).lower()})"
            for name, value in holds.items()
            if names is None or name.lower() in names
        ]
        if values:
            more, at = ";SELECT " + ", ".join(values), statement.tokens[-1].end
            parts += [text[done:at], more]
            added.append(Added(at, len(more), number))
            done = at
    return "".join([*parts, text[done:]]), added


def _reset(words: Sequence[str]) -> tuple[Sequence[str] | None, bool]:
    """The settings that a statement resets (None: all of them), and whether until the transaction ends."""
    if words[0] == "reset":
        return (None if words[1:] == ["all"] else [_name(words[1:])]), False
    if words[0] != "set":
        return (), False
    rest = words[2:] if words[1] in ("local", "session") else words[1:]
    if rest[-1] != "default" and rest != ["time", "zone", "local"]:
        return (), False
    return [_name(rest[:2] if rest[:2] == ["time", "zone"] else rest[:-2])], words[1] == "local"


def _name(words: Sequence[str]) -> str:
    return "timezone" if list(words) == ["time", "zone"] else "".join(words).replace('"', "")


def position_in_script(position: int, added: Sequence[Added]) -> int:
    """A position (from 1) in what was sent as one in the script's text.

    >>> [position_in_script(each, [Added(5, 10, 0)]) for each in (5, 9, 17)]
    [5, 6, 7]
    """
    offset = position - 1
    for one in added:
        if offset >= one.at + one.length:
            offset -= one.length
        elif offset > one.at:
            return one.at + 1
    return offset + 1


def number_in_script(number: int, added: Sequence[Added]) -> int:
    """The number (from 0) of a statement that was sent as one of the script's: an added one is that before it.

    >>> [number_in_script(each, [Added(5, 10, 0), Added(20, 10, 1)]) for each in range(5)]
    [0, 0, 1, 1, 2]
    """
    return number - sum(1 for earlier, one in enumerate(added) if one.behind + 1 + earlier <= number)

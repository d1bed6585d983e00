"""Makes RESET in a script return to what database and role set now, as in a session of the script's own.

RESET returns to the values that the connection began with. If an earlier script of the same `up` changed a value by
ALTER DATABASE … SET, RESET still returns to the old value; only a new connection begins with the new one. So after each
RESET and SET … TO DEFAULT of the script a statement is added that sets the new value. Only the script's own statements
are read, and those in its DO blocks, with the strings that EXECUTE runs as they stand. Not read is a text that EXECUTE
puts together, nor a function: to add a statement to it would change what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pgvector_stacks.common.errors import ScriptError
from pgvector_stacks.migrations.lexing.lexing import COMMENTS, tokens
from pgvector_stacks.migrations.scripts.acting_code import Code
from pgvector_stacks.migrations.scripts.kept_settings import BEFORE_A_STATEMENT
from pgvector_stacks.migrations.scripts.script_files import Script

MAY_RESET = re.compile(r"\breset\b|\bdefault\b|\btime\s+zone\s+local\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AddedStatement:
    """A statement that was added to a script's text at offset `at`, after statement number `after` of the script.

    `answers`: the server returns a result for it, which is not so inside a DO block.
    """

    at: int
    length: int
    after: int
    answers: bool = True


def add_statements_after_resets(
    script: Script, text: str, holds: Mapping[str, str]
) -> tuple[str, Sequence[AddedStatement]]:
    """Return the script's text with the statements that set values again, and the places of these statements.

    `text`: the script's text, possibly with renamed settings, of the same length. `holds`: by name of the setting, the
    value that a new connection would begin with but this one did not, as an SQL constant.
    """
    if not holds or not MAY_RESET.search(text):
        return text, ()
    parts, added, done = [], [], 0
    for number, statement in enumerate(script.statements):
        code = Code(text, 0, statement.tokens)
        is_block = code.word(0) == "DO"
        for at, more in _in_bodies(code, holds) if is_block else _behind(code, holds):
            parts += [text[done:at], more]
            added.append(AddedStatement(at, len(more), number, answers=not is_block))
            done = at
    return "".join([*parts, text[done:]]), added


def _behind(code: Code, holds: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Yield the text to add after a statement, and its offset."""
    if values := _values(_words(code, 0, len(code.tokens)), holds):
        yield code.tokens[-1].end, f";SELECT {values}"


def _in_bodies(code: Code, holds: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Yield the text to add after each resetting statement in the body of a DO block, and its offset."""
    for place, token in enumerate(code.tokens):
        content, quote = code.content(place), code.text[token.start]
        if content is None or quote not in "$'":
            continue
        try:
            body = Code(*content, [each for each in tokens(content[0]) if each.name not in COMMENTS])
        except ScriptError:  # the string is not code
            continue
        begin = 0
        for end in range(len(body.tokens)):
            if body.word(end) != ";":
                continue
            values = next(filter(None, (_values(words, holds) for words in _resetting(body, begin, end))), "")
            if values:
                more = f";PERFORM {values}"
                yield body.offset + body.tokens[end - 1].end, more if quote == "$" else more.replace("'", "''")
            begin = end + 1


def _resetting(body: Code, begin: int, end: int) -> Iterator[list[str]]:
    """Yield the words of a PL/pgSQL statement that may reset a setting, and of each string that it executes."""
    for place in range(begin, end):
        if body.word(place) in ("RESET", "SET") and body.word(place - 1) in BEFORE_A_STATEMENT:
            yield _words(body, place, end)
        elif (content := body.content(place)) is not None and body.word(place - 1) == "EXECUTE":
            yield content[0].lower().split()


def _words(code: Code, begin: int, end: int) -> list[str]:
    return [code.text[token.start : token.end].lower() for token in code.tokens[begin:end]]


def _values(words: Sequence[str], holds: Mapping[str, str]) -> str:
    """Return calls that set the value of each setting in `holds` that a statement of these words resets; "" if none."""
    names, local = _reset(words) if len(words) > 1 else ((), False)
    return ", ".join(
        f"pg_catalog.set_config('{name}', {value}, {str(local).lower()})"
        for name, value in holds.items()
        if names is None or name.lower() in names
    )


def _reset(words: Sequence[str]) -> tuple[Sequence[str] | None, bool]:
    """Return the settings that a statement resets (None for all), and whether only until the transaction ends."""
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


def position_in_script(position: int, added: Sequence[AddedStatement]) -> int:
    """Turn a 1-based position in the sent text into a position in the script's text.

    >>> [position_in_script(each, [AddedStatement(5, 10, 0)]) for each in (5, 9, 17)]
    [5, 6, 7]
    """
    offset = position - 1
    for one in added:
        if offset >= one.at + one.length:
            offset -= one.length
        elif offset > one.at:
            return one.at + 1
    return offset + 1


def number_in_script(number: int, added: Sequence[AddedStatement]) -> int:
    """Turn the 0-based number of a sent statement into its number in the script; an added one counts as the one before.

    >>> [number_in_script(each, [AddedStatement(5, 10, 0), AddedStatement(20, 10, 1)]) for each in range(5)]
    [0, 0, 1, 1, 2]
    """
    answering = [one for one in added if one.answers]
    return number - sum(1 for earlier, one in enumerate(answering) if one.after + 1 + earlier <= number)

"""Reads SQL text as tokens (PostgreSQL's own scanner, through pglast) and decides where statements begin and end.

Used for what must be known without a server: the normalised hash, transaction control and psql's commands inside
a script, and where a statement stands when the server gives no position. The grammar isn't needed for that, so a
server newer than the parser is no problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from postgres.errors import ScriptError

COMMENTS = frozenset({"SQL_COMMENT", "C_COMMENT"})
# ( ) ; and the words between which a semicolon ends no statement
BOUNDARIES = frozenset({"ASCII_40", "ASCII_41", "ASCII_59", "BEGIN_P", "CASE", "END_P"})


class Token(NamedTuple):
    """A token of the text: its name in PostgreSQL's grammar, and `text[start:end]`. A tuple: there are many."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement without its semicolon: `text[start:end]`, starting at its first token that is no comment."""

    start: int
    end: int
    tokens: tuple[Token, ...]

    def words(self, text: str, count: int = 4) -> list[str]:
        """The first `count` tokens in upper case, to tell what kind of statement it is."""
        return [text[token.start : token.end].upper() for token in self.tokens[:count]]


def tokens(text: str, name: str = "the script") -> list[Token]:
    """Scan `text`; comments included.

    Raises ScriptError where a string, a comment or a dollar quote never ends.
    """
    from pglast.parser import ParseError, scan  # late: where every script is remembered, it isn't needed

    try:
        return [Token(name, start, last + 1) for start, last, name, _ in scan(text)]
    except ParseError as error:
        message, offset = error.args[0], error.args[1] if len(error.args) > 1 else 0
        line, column = line_and_column(text, offset)
        raise ScriptError(
            f"{name}:{line}:{column}: {message}\n{excerpt(text, line, column)}\n"
            "  close the string, comment or dollar quote that begins here"
        ) from None


def statements(text: str, found: list[Token]) -> Iterator[Statement]:
    """Split at the semicolons outside parentheses and outside BEGIN ATOMIC … END bodies. Empty ones are left out."""
    code = [token for token in found if token.name not in COMMENTS]
    begins = 0
    parentheses = 0
    blocks = 0  # depth of BEGIN ATOMIC and the CASEs inside it; both close with END
    for place, (name, _, _) in enumerate(code):
        if name not in BOUNDARIES:
            continue
        if name == "ASCII_59":
            if parentheses == 0 and blocks == 0:
                if begins < place:
                    yield _statement(code[begins:place])
                begins = place + 1
        elif name == "ASCII_40":
            parentheses += 1
        elif name == "ASCII_41":
            parentheses = max(0, parentheses - 1)
        elif (name == "BEGIN_P" and _is_atomic(code, place)) or (name == "CASE" and blocks):
            blocks += 1
        elif name == "END_P" and blocks:
            blocks -= 1
    if begins < len(code):
        yield _statement(code[begins:])


def _statement(code: list[Token]) -> Statement:
    return Statement(code[0].start, code[-1].end, tuple(code))


def _is_atomic(code: list[Token], begin: int) -> bool:
    return begin + 1 < len(code) and code[begin + 1].name == "ATOMIC"


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """1-based line and column (in characters) of a 0-based offset."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def excerpt(text: str, line: int, column: int | None = None, *, width: int = 100) -> str:
    """The line with its number and, where the column is known, a caret below it. Tabs count as one character."""
    content = text.splitlines()[line - 1] if line <= text.count("\n") + 1 and text else ""
    content = content.replace("\t", " ")
    offset = 0
    if column is not None and column > width - 20:  # a caret out of sight helps nobody
        offset = column - width // 2
    shown = content[offset : offset + width]
    gutter = f"  {line} | "
    if column is None:
        return f"{gutter}{shown}"
    return f"{gutter}{shown}\n{' ' * (len(gutter) + column - 1 - offset)}^"

"""Cuts SQL text into PostgreSQL's tokens piece by piece, in memory that doesn't grow with the text.

Invariant: joined, the pieces are what PostgreSQL's own scanner (pglast) cuts from the whole text, error for error.

`pieces` gives pglast a window of the text and keeps its tokens up to the last one that is a bracket, a comma or a
semicolon: no longer token begins like these, so what stands behind can't change what came before. Where nothing of the
kind is in the window, as in the body of a large function, the window grows.

`words` gives the tokens' texts alone, for a hash of millions of them. A regular expression cuts what has but one
reading (numbers, plain strings, names, brackets: all of a dump's INSERTs); from the first character that it isn't sure
of on, pglast reads a window.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from pgvector_stacks.common.errors import ScriptError
from pgvector_stacks.migrations.lexing.positions import excerpt, line_and_column

COMMENTS = frozenset({"SQL_COMMENT", "C_COMMENT"})
SURE = frozenset({"ASCII_40", "ASCII_41", "ASCII_44", "ASCII_59", "ASCII_91", "ASCII_93"})  # ( ) , ; [ ]
WINDOW = 1 << 14
PLAIN_WINDOW = 1 << 16
END = "\0"  # stands in no script; what follows it is not looked at
GAP = r"(?:[ \t\n]+|--[^\n\r]*\n)*"
FOLLOWED = r"(?=[ \t\n,();])"
# One token each, whatever stands before it. What follows is looked at where it could belong to the token: a string goes
# on behind a line break, a name before a quote is E'…' or U&"…", a number before a letter is an error.
PLAIN = re.compile(
    rf"""([,();]
    |'[^'\\\0]*(?:''[^'\\\0]*)*'(?=[ \t\n]*[^'\s\\/\-\0])
    |[0-9]+(?:\.[0-9]+)?{FOLLOWED}
    |[A-Za-z_][A-Za-z0-9_]*(?=[ \t\n,();.])
    |"[^"\0]+"(?!["\0])
    |-(?=[0-9])|\.(?=[A-Za-z_])|::(?=[A-Za-z_])|=(?=[ \t\n])
    |[\s\S]+){GAP}""".replace("\n    ", ""),
)
BLANK = re.compile(GAP)
Scanned: TypeAlias = tuple[int, int, str, str]  # as pglast tells it: first and last character, name, kind of keyword


class Token(NamedTuple):
    """A token of the text: its name in PostgreSQL's grammar, and `text[start:end]`. A tuple: there are many."""

    name: str
    start: int
    end: int


def pieces(text: str, path: str = "the script", begin: int = 0) -> Iterator[list[Token]]:
    """The tokens from `begin` on, which is where one begins or between two; comments included.

    Raises ScriptError where a string, a comment or a dollar quote never ends.
    """
    while begin < len(text):
        found = _piece(text, path, begin)
        yield found
        begin = found[-1].end if found and found[-1].name in SURE else len(text)


def token_texts(text: str, path: str = "the script") -> Iterator[list[str]]:
    """The texts of the tokens without comments, in pieces. `text` holds no NUL. Raises ScriptError."""
    begin = 0
    while begin < len(text):
        gap = BLANK.match(text, begin)
        begin = gap.end() if gap else begin
        window = text[begin : begin + PLAIN_WINDOW] + END
        plain = PLAIN.findall(window)
        begin += len(window) - len(plain.pop())
        if plain:
            yield plain
        elif begin < len(text):
            found = _piece(text, path, begin)
            yield [text[start:end] for name, start, end in found if name not in COMMENTS]
            begin = found[-1].end if found and found[-1].name in SURE else len(text)


def _piece(text: str, path: str, begin: int) -> list[Token]:
    """The tokens from `begin` to the last one in a window that ends surely; or all that are left."""
    from pglast.parser import ParseError, scan  # late: where every script is remembered, it isn't needed

    size = WINDOW
    while True:
        window = text[begin : begin + size]
        whole = begin + size >= len(text)
        try:
            found: Sequence[Scanned] = scan(window)
        except ParseError as error:
            message, offset = error.args[0], error.args[1] if len(error.args) > 1 else 0
            if whole:
                raise _unfinished(text, path, message, begin + offset) from None
            found = _before(window, offset)
        else:
            if whole:
                return [Token(name, begin + start, begin + last + 1) for start, last, name, _ in found]
        sure = next((place for place in range(len(found), 0, -1) if found[place - 1][2] in SURE), 0)
        if sure:
            return [Token(name, begin + start, begin + last + 1) for start, last, name, _ in found[:sure]]
        size *= 2


def _before(window: str, offset: int) -> Sequence[Scanned]:
    """What stands before the token that the window cuts."""
    from pglast.parser import ParseError, scan

    try:
        return scan(window[:offset])
    except ParseError:
        return []


def _unfinished(text: str, path: str, message: str, offset: int) -> ScriptError:
    line, column = line_and_column(text, offset)
    return ScriptError(
        f"{path}:{line}:{column}: {message}\n{excerpt(text, line, column)}\n"
        "  close the string, comment or dollar quote that begins here"
    )

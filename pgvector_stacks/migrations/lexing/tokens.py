"""Cuts SQL text into PostgreSQL's tokens piece by piece, in memory that does not grow with the text.

Invariant: joined, the pieces are the tokens that PostgreSQL's own scanner (pglast) cuts from the whole text, with the
same errors.

`pieces` gives pglast a window of the text and keeps its tokens up to the last bracket, comma or semicolon. No longer
token begins with one of these characters, so later text can't change the tokens before it. If the window has none of
these characters, as in the body of a large function, the window grows.

`token_texts` yields only the tokens' texts, for a hash over millions of tokens. A regular expression cuts the text that
has only one reading (numbers, plain strings, names, brackets: all of a dump's INSERTs). From the first character that
is not certain, pglast reads a window.
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
END = "\0"  # marks the end of a window; no script contains it
GAP = r"(?:[ \t\n]+|--[^\n\r]*\n)*"
FOLLOWED = r"(?=[ \t\n,();])"
# Each alternative is one token, whatever precedes it. A lookahead checks what follows, as it may belong to the token: a
# string may continue after a line break, a name before a quote is E'…' or U&"…", a number before a letter is an error.
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
Scanned: TypeAlias = tuple[int, int, str, str]  # pglast's token: first and last character, name, kind of keyword


class Token(NamedTuple):
    """A token, `text[start:end]`, with its name in PostgreSQL's grammar. A tuple saves memory: there are many."""

    name: str
    start: int
    end: int


def pieces(text: str, path: str = "the script", begin: int = 0) -> Iterator[list[Token]]:
    """Yield the tokens from `begin` on in lists, comments included. `begin` must not lie inside a token.

    Raises ScriptError where a string, a comment or a dollar quote never ends.
    """
    while begin < len(text):
        found = _lex_window(text, path, begin)
        yield found
        begin = found[-1].end if found and found[-1].name in SURE else len(text)


def token_texts(text: str, path: str = "the script") -> Iterator[list[str]]:
    """Yield the texts of the tokens in lists, without comments. `text` holds no NUL. Raises ScriptError."""
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
            found = _lex_window(text, path, begin)
            yield [text[start:end] for name, start, end in found if name not in COMMENTS]
            begin = found[-1].end if found and found[-1].name in SURE else len(text)


def _lex_window(text: str, path: str, begin: int) -> list[Token]:
    """Return the tokens of a window from `begin` up to its last token in SURE, or all tokens that are left."""
    from pglast.parser import ParseError, scan  # imported late: not needed while the script cache knows every script

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
    """Return the tokens before `offset`, where the window cuts a token in two."""
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

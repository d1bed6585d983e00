"""Finds where the statements of an SQL text begin and end, and answers questions about a text as a whole.

This is for what must be known without a server: the normalised hash, transaction control and psql commands inside a
script, and the place of a statement when the server gives no position. None of these needs the grammar, so a server
that is newer than the parser is no problem.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from pgvector_stacks.common.errors import ScriptError
from pgvector_stacks.migrations.lexing.positions import excerpt, line_and_column
from pgvector_stacks.migrations.lexing.tokens import COMMENTS, Token, pieces, token_texts

__all__ = ["COMMENTS", "Statement", "Token", "excerpt", "line_and_column", "split_statements", "tokens"]
# ( ) ; and the words between which a semicolon does not end a statement
BOUNDARIES = frozenset({"ASCII_40", "ASCII_41", "ASCII_59", "BEGIN_P", "ATOMIC", "CASE", "END_P"})
HEAD = 4
OVERLAP = 6  # words repeated from the piece before, so that a pattern can match across two pieces
OPENERS = re.compile(";\0(?=([^\0]*))")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, `source[start:end]`, without its semicolon and without comments before it.

    `head`: its first tokens. The property `tokens` cuts all tokens again at each use: a script may have millions.
    """

    start: int
    end: int
    head: tuple[Token, ...]
    source: str = field(repr=False)

    @property
    def tokens(self) -> tuple[Token, ...]:
        found = chain.from_iterable(pieces(self.source[: self.end], begin=self.start))
        return tuple(token for token in found if token.name not in COMMENTS)

    def words(self, text: str, count: int = HEAD) -> list[str]:
        """Return the first `count` tokens (at most 4) in upper case; they show the kind of the statement."""
        return [text[token.start : token.end].upper() for token in self.head[:count]]


def tokens(text: str, name: str = "the script") -> list[Token]:
    """Return all tokens of a small text, comments included. Raises ScriptError, as `tokens.pieces` does."""
    return list(chain.from_iterable(pieces(text, name)))


def is_whole(text: str) -> bool:
    """Return True if no string, dollar quote or comment is still open at the end of the text."""
    try:
        tokens(text)
    except ScriptError:
        return False
    return True


def split(text: str, name: str = "the script") -> Iterator[Statement]:
    """Yield the statements of `text`. Raises ScriptError, as `tokens.pieces` does."""
    return split_statements(text, chain.from_iterable(pieces(text, name)))


def split_statements(text: str, found: Iterable[Token]) -> Iterator[Statement]:
    """Split at semicolons outside parentheses and outside BEGIN ATOMIC … END bodies. Leave out empty statements."""
    head: list[Token] = []
    end = 0
    before = ""
    parentheses = 0
    blocks = 0  # nesting depth of BEGIN ATOMIC and of CASE inside it; both close with END
    for token in found:
        name = token.name
        if name in COMMENTS:
            continue
        if name in BOUNDARIES:
            if name == "ASCII_59":
                if parentheses == 0 and blocks == 0:
                    if head:
                        yield Statement(head[0].start, end, tuple(head), text)
                    head, before = [], name
                    continue
            elif name == "ASCII_40":
                parentheses += 1
            elif name == "ASCII_41":
                parentheses = max(0, parentheses - 1)
            elif (name == "ATOMIC" and before == "BEGIN_P") or (name == "CASE" and blocks):
                blocks += 1
            elif name == "END_P" and blocks:
                blocks -= 1
        if len(head) < HEAD:
            head.append(token)
        before, end = name, token.end
    if head:
        yield Statement(head[0].start, end, tuple(head), text)


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The result of one pass over a text.

    `normalised`: the hash that `script_files.normalise` returns. `openers`: the words at the start and after each
    semicolon, in lower case, which include each statement's first word. `neighbours`: the names of the patterns in
    `asked` that match some neighbouring words.
    """

    normalised: str
    empty: bool
    openers: frozenset[str]
    neighbours: frozenset[str]


def read(text: str, path: str, asked: dict[str, re.Pattern[str]]) -> ScanResult:
    """Hash the tokens as they come, without keeping them, and match the patterns of `asked`.

    `asked`: by name, a pattern over lower-case tokens joined by NUL. Raises ScriptError, as `tokens.pieces` does.
    """
    digest = hashlib.sha256()
    openers: set[str] = set()
    neighbours: set[str] = set()
    last = [";"]
    held, empty = 0, True  # held: number of semicolons not hashed yet, since they may be the last tokens
    for piece in token_texts(text, path):
        joined = "\0".join(["", *last, *piece, ""]).lower()
        openers.update(OPENERS.findall(joined))
        neighbours.update(question for question, pattern in asked.items() if pattern.search(joined))
        last = [*last, *piece][-OVERLAP:]
        end = len(piece)
        while end and piece[end - 1] == ";":
            end -= 1
        if not end:
            held += len(piece)
            continue
        if not empty:
            digest.update(b"\0")
        digest.update("\0".join([";"] * held + piece[:end]).encode())
        held, empty = len(piece) - end, False
    return ScanResult(digest.hexdigest(), empty, frozenset(openers), frozenset(neighbours))

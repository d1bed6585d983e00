"""Decides where the statements of an SQL text begin and end, and reads what is asked of a text as a whole.

Used for what must be known without a server: the normalised hash, transaction control and psql's commands inside
a script, and where a statement stands when the server gives no position. The grammar isn't needed for that, so a
server newer than the parser is no problem.
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

__all__ = ["COMMENTS", "Statement", "Token", "excerpt", "line_and_column", "statements", "tokens"]
# ( ) ; and the words between which a semicolon ends no statement
BOUNDARIES = frozenset({"ASCII_40", "ASCII_41", "ASCII_59", "BEGIN_P", "ATOMIC", "CASE", "END_P"})
HEAD = 4
OVERLAP = 6  # words that a question about neighbours needs of the piece before
OPENERS = re.compile(";\0(?=([^\0]*))")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement without its semicolon: `source[start:end]`, starting at its first token that is no comment.

    `head`: its first tokens. All of them are cut again when they are asked for: a script may have millions.
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
        """The first `count` tokens (at most 4) in upper case, to tell what kind of statement it is."""
        return [text[token.start : token.end].upper() for token in self.head[:count]]


def tokens(text: str, name: str = "the script") -> list[Token]:
    """All tokens of a text that isn't large; comments included. Raises ScriptError, as `tokens.pieces`."""
    return list(chain.from_iterable(pieces(text, name)))


def is_whole(text: str) -> bool:
    """True where no string, dollar quote or comment is open at the end, so that what follows is none of theirs."""
    try:
        tokens(text)
    except ScriptError:
        return False
    return True


def split(text: str, name: str = "the script") -> Iterator[Statement]:
    """The statements of `text`, one after the other. Raises ScriptError, as `tokens.pieces`."""
    return statements(text, chain.from_iterable(pieces(text, name)))


def statements(text: str, found: Iterable[Token]) -> Iterator[Statement]:
    """Split at the semicolons outside parentheses and outside BEGIN ATOMIC … END bodies. Empty ones are left out."""
    head: list[Token] = []
    end = 0
    before = ""
    parentheses = 0
    blocks = 0  # depth of BEGIN ATOMIC and the CASEs inside it; both close with END
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
    """What one pass over a text finds out.

    `normalised`: see `script_files.normalise`; `openers`: the words after a semicolon or at the start, in lower case,
    where each statement's first is among; `neighbours`: the questions of `asked` that some neighbouring words answer.
    """

    normalised: str
    empty: bool
    openers: frozenset[str]
    neighbours: frozenset[str]


def read(text: str, path: str, asked: dict[str, re.Pattern[str]]) -> ScanResult:
    """Hash the tokens as they come and keep none. `asked`: patterns over tokens in lower case that a NUL separates.

    Raises ScriptError, as `tokens.pieces`.
    """
    digest = hashlib.sha256()
    openers: set[str] = set()
    neighbours: set[str] = set()
    last = [";"]
    held, empty = 0, True  # semicolons that may be the last
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

"""Finds the code in a script that acts when the script runs: its statements, and what stands in a DO block's body or
in a string that such a body executes. What only defines something (a function's body, a view) doesn't act.

Each stretch keeps its offsets in the script's text, so that what is found there can be named or replaced in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pgvector_stacks.common.errors import ScriptError
from pgvector_stacks.migrations.lexing.lexing import COMMENTS, Statement, Token, statements, tokens
from pgvector_stacks.migrations.scripts.script_files import Script

DEFINES = frozenset({"CREATE", "ALTER", "COMMENT", "SECURITY", "PREPARE"})


@dataclass(frozen=True, slots=True)
class Code:
    """Tokens of a stretch of text, comments left out, and where the text begins in the script."""

    text: str
    offset: int
    tokens: Sequence[Token]

    def word(self, place: int) -> str:
        """The token there in upper case, "" behind the end."""
        if not 0 <= place < len(self.tokens):
            return ""
        token = self.tokens[place]
        return self.text[token.start : token.end].upper()

    def name(self, place: int) -> str:
        """The identifier there as the server reads it."""
        if not 0 <= place < len(self.tokens):
            return ""
        token = self.tokens[place]
        written = self.text[token.start : token.end]
        return written[1:-1].replace('""', '"') if written.startswith('"') else written.lower()

    def content(self, place: int) -> tuple[str, int] | None:
        """What a string constant holds, each character at its offset, and its offset in the script."""
        if not 0 <= place < len(self.tokens) or self.tokens[place].name not in ("SCONST", "USCONST"):
            return None
        token = self.tokens[place]
        written = self.text[token.start : token.end]
        if written.startswith("$"):
            tag = written[: written.index("$", 1) + 1]
            inner = written[len(tag) : -len(tag)]
            return inner, self.offset + token.start + len(tag)
        begin = written.index("'") + 1
        return written[begin:-1].replace("''", "' "), self.offset + token.start + begin


def acting(script: Script, last: int | None = None) -> Iterator[Code]:
    """The stretches that act, in order. `last`: the offset behind which nothing is looked for."""
    for statement in _statements(script, last):
        yield from of(script, statement)


def of(script: Script, statement: Statement) -> Iterator[Code]:
    """The stretches of one statement that act, in order."""
    code = Code(script.text, 0, statement.tokens)
    first = code.word(0)
    if first in DEFINES:
        return
    yield code
    if first == "DO":
        yield from _within(code)


def _statements(script: Script, last: int | None) -> Iterable[Statement]:
    """All of the script's, or those up to the one at `last`: to know a dump's header, megabytes needn't be scanned."""
    end = script.text.find(";", last) + 1 if last is not None else 0
    if end > 0:
        try:
            head = script.text[:end]
            return list(statements(head, tokens(head)))
        except ScriptError:  # the semicolon stands in a string
            pass
    return script.statements


def _within(code: Code) -> Iterator[Code]:
    """The code in the string literals of `code`, and in the literals of those."""
    for place in range(len(code.tokens)):
        found = code.content(place)
        if found is None:
            continue
        text, offset = found
        try:
            inner = Code(text, offset, [token for token in tokens(text) if token.name not in COMMENTS])
        except ScriptError:  # a string that is no code
            continue
        if len(inner.tokens) > 1:
            yield inner
            yield from _within(inner)

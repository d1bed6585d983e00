"""Finds the code that acts when a script runs: its statements, the bodies of DO blocks, and the strings in such bodies,
which EXECUTE may run. A statement that only defines something (a function, a view) does not act.

Each piece of code knows its offset in the script's text, so that a finding can be reported or replaced in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pgvector_stacks.common.errors import ScriptError
from pgvector_stacks.migrations.lexing.lexing import COMMENTS, Statement, Token, split_statements, tokens
from pgvector_stacks.migrations.scripts.script_files import Script

DEFINES = frozenset({"CREATE", "ALTER", "COMMENT", "SECURITY", "PREPARE"})


@dataclass(frozen=True, slots=True)
class Code:
    """The tokens of a piece of text, without comments, and the offset of that text in the script."""

    text: str
    offset: int
    tokens: Sequence[Token]

    def word(self, place: int) -> str:
        """Return the token at `place` in upper case, "" outside of the tokens."""
        if not 0 <= place < len(self.tokens):
            return ""
        token = self.tokens[place]
        return self.text[token.start : token.end].upper()

    def name(self, place: int) -> str:
        """Return the identifier at `place` as the server reads it, "" outside of the tokens."""
        if not 0 <= place < len(self.tokens):
            return ""
        token = self.tokens[place]
        written = self.text[token.start : token.end]
        return written[1:-1].replace('""', '"') if written.startswith('"') else written.lower()

    def content(self, place: int) -> tuple[str, int] | None:
        """Return what the string constant at `place` holds, and its offset in the script; None for another token.

        A doubled quote becomes a quote and a blank, so that each character keeps its offset.
        """
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


def find_acting_code(script: Script, last: int | None = None) -> Iterator[Code]:
    """Yield the pieces of code that act, in order. `last`: the offset up to which code is needed."""
    for statement in _statements(script, last):
        yield from find_in_statement(script, statement)


def find_in_statement(script: Script, statement: Statement) -> Iterator[Code]:
    """Yield the pieces of code in one statement that act, in order."""
    code = Code(script.text, 0, statement.tokens)
    first = code.word(0)
    if first in DEFINES:
        return
    yield code
    if first == "DO":
        yield from _within(code)


def _statements(script: Script, last: int | None) -> Iterable[Statement]:
    """Return the script's statements, or only those up to `last`: a dump's header must not cost a scan of megabytes."""
    end = script.text.find(";", last) + 1 if last is not None else 0
    if end > 0:
        try:
            head = script.text[:end]
            return list(split_statements(head, tokens(head)))
        except ScriptError:  # the semicolon is inside a string
            pass
    return script.statements


def _within(code: Code) -> Iterator[Code]:
    """Yield the code in the string literals of `code`, and in the string literals of that code."""
    for place in range(len(code.tokens)):
        found = code.content(place)
        if found is None:
            continue
        text, offset = found
        try:
            inner = Code(text, offset, [token for token in tokens(text) if token.name not in COMMENTS])
        except ScriptError:  # the string is not code
            continue
        if len(inner.tokens) > 1:
            yield inner
            yield from _within(inner)

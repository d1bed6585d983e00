"""The common errors: what happened, where, what is allowed, what to do. Those of one room alone are in that room.

Messages are for the person who reads them in a terminal or a pull request. They never hold a password or a DSN:
psycopg's own text is used only where the server wrote it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from pgvector_stacks.common.plain_text import safe


class PgstackError(Exception):
    """A failure with an explanation a user can act on. `str(error)` is the whole message, safe to show.

    `recorded`: the same without values of rows, which is what may be stored.
    """

    def __init__(self, message: object = "", *, recorded: str | None = None) -> None:
        super().__init__(safe(str(message)))
        self.recorded = str(self) if recorded is None else safe(recorded)


class ScriptError(PgstackError):
    """A script that can't be run as it is: missing, empty, not UTF-8, psql's commands, a COMMIT of its own."""


class PlanRefused(PgstackError):
    """What ran and what is listed do not fit together (edited, removed, reordered, out of order)."""


class ConnectionFailed(PgstackError):
    """The server can't be reached or doesn't let us in."""


class SqlFailed(PgstackError):
    """A statement of a script failed; everything of its group was rolled back.

    `sqlstate` is the server's five-character code, "" where there is none; `script` and `line` where it was.
    """

    def __init__(
        self, message: str, *, sqlstate: str = "", script: str = "", line: int = 0, recorded: str | None = None
    ) -> None:
        super().__init__(message, recorded=recorded)
        self.sqlstate = sqlstate
        self.script = script
        self.line = line

    def saying_more(self, more: str) -> SqlFailed:
        """The same with a line more."""
        told, recorded = (f"{text}\n  {more}" for text in (str(self), self.recorded))
        return SqlFailed(told, sqlstate=self.sqlstate, script=self.script, line=self.line, recorded=recorded)


class ValidationFailed(PgstackError):
    """The scripts are committed, but the server doesn't do what the environment demands."""


class DriftRefused(PgstackError):
    """The live schema differs from what the scripts left, in an environment that doesn't allow it."""


class SettingRefused(PgstackError):
    """A setting that is refused: not a valid size, set by the engine itself, or known to fail on some hosts."""


class SizeRefused(PgstackError):
    """A table or an index that can't be: more dimensions than the index takes, a number that is none."""


class ServerError(PgstackError):
    """A server could not be made, started, stopped or upgraded."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean "x"?` where one of the allowed words is close to the given one, else nothing."""
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    if not close and len(word) > 2:  # an abbreviation: prod, stag
        close = [candidate for candidate in by_lower if candidate.startswith(word.lower())][:1]
    return f'; did you mean "{by_lower[close[0]]}"?' if close else ""


def listing(items: Sequence[str], *, most: int = 5) -> str:
    """`a, b, c (+2 more)`."""
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} (+{len(items) - most} more)"

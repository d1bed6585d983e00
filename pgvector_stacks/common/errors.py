"""The errors of this product. A message says what happened, where, what is allowed, and what to do.

A person reads the messages in a terminal or a pull request. They never contain a password or a DSN: a message quotes
psycopg's text only if the server wrote that text.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from pgvector_stacks.common.plain_text import safe


class PgstackError(Exception):
    """A failure with an explanation that a user can act on. `str(error)` is the whole message, safe to show.

    `recorded`: the message without values of rows, for storage.
    """

    def __init__(self, message: object = "", *, recorded: str | None = None) -> None:
        super().__init__(safe(str(message)))
        self.recorded = str(self) if recorded is None else safe(recorded)


class ConfigError(PgstackError):
    """A stack file, or the name of a stack, is wrong. The message lists every mistake."""


class ScriptError(PgstackError):
    """A script that can't run as it is: it is missing, empty or not UTF-8, or has psql commands or its own COMMIT."""


class PlanRefused(PgstackError):
    """The scripts that ran and the listed scripts do not match (edited, removed, reordered, out of order)."""


class ConnectionFailed(PgstackError):
    """The server can't be reached, or refuses the connection."""


class SqlFailed(PgstackError):
    """A statement of a script failed, and its whole group was rolled back.

    `sqlstate`: the server's five-character code, "" if there is none; `script`, `line`: where the statement is.
    """

    def __init__(
        self, message: str, *, sqlstate: str = "", script: str = "", line: int = 0, recorded: str | None = None
    ) -> None:
        super().__init__(message, recorded=recorded)
        self.sqlstate = sqlstate
        self.script = script
        self.line = line

    def with_line(self, more: str) -> SqlFailed:
        """Return the error with another line in its message."""
        extended, recorded = (f"{text}\n  {more}" for text in (str(self), self.recorded))
        return SqlFailed(extended, sqlstate=self.sqlstate, script=self.script, line=self.line, recorded=recorded)


class ValidationFailed(PgstackError):
    """The scripts are committed, but the server does not meet the environment's requirements."""


class DriftRefused(PgstackError):
    """The live schema differs from what the scripts created, in an environment that does not allow drift."""


class SettingRefused(PgstackError):
    """A server setting that is not allowed: a bad size, a setting that the engine owns, or one that fails on hosts."""


class SizeRefused(PgstackError):
    """A table or an index that can't exist, for example with more dimensions than the index allows."""


class ServerError(PgstackError):
    """A server could not be created, started or stopped, or a program beside a server failed."""


def suggest_nearest(word: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean "x"?` if one of the allowed words is similar to the given one, else ""."""
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    if not close and len(word) > 2:  # an abbreviation: prod, stag
        close = [candidate for candidate in by_lower if candidate.startswith(word.lower())][:1]
    return f'; did you mean "{by_lower[close[0]]}"?' if close else ""


def shorten_list(items: Sequence[str], *, most: int = 5) -> str:
    """Return the items as text such as `a, b, c (+2 more)`."""
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} (+{len(items) - most} more)"

"""Decides whether values of rows are shown: on a terminal or on request, and never in stored text.

A server's error may contain values in its detail (`Key (email)=(…)`, `Failing row contains (…)`) or in the last quotes
of its message (`invalid input syntax for type integer: "…"`). Queries of other sessions contain values as constants.
Pure, except for `are_shown`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

VARIABLE = "PGSTACK_SHOW_ROWS"  # inherited by child processes: the process that runs scripts has no terminal
WITHHELD = f"(holds values of rows: --show-rows, or {VARIABLE}=1, shows it)"
# SQLSTATE classes: data exceptions, constraint violations, WITH CHECK OPTION violations, errors raised in PL/pgSQL
CLASSES = ("22", "23", "44", "P0")
ROW = re.compile(r"\)=\(|\brow contains\b", re.IGNORECASE)
LAST_QUOTES = re.compile(r': "(?:.*)"$', re.DOTALL)
CONSTANT = re.compile(r"\$(\w*)\$.*?(?:\$\1\$|$)|[eE]?'(?:[^'\\]|''|\\.)*(?:'|$)|\b\d[\d.]*\b", re.DOTALL)


def are_shown(environ: Mapping[str, str] | None = None) -> bool:
    """True if the user requested values or uses a terminal; cli/app.py passes that on in VARIABLE."""
    return (os.environ if environ is None else environ).get(VARIABLE, "") not in ("", "0")


def redact_detail(text: str, sqlstate: str | None, *, show: bool) -> str:
    """Return a server's detail, or WITHHELD if it may contain values of rows.

    >>> redact_detail("Key (name)=(Jane Roe) already exists.", "23505", show=False) == WITHHELD
    True
    >>> redact_detail("Process 7 waits for ShareLock.", "40P01", show=False)
    'Process 7 waits for ShareLock.'
    """
    return text if show or not text or not may_hold_values(text, sqlstate) else WITHHELD


def may_hold_values(text: str, sqlstate: str | None) -> bool:
    """True if a detail may contain values of rows."""
    return (sqlstate or "")[:2] in CLASSES or ROW.search(text) is not None


def redact_message(text: str, sqlstate: str | None, *, show: bool) -> str:
    """Return a server's message. The message of a data exception loses the value that it quotes.

    >>> redact_message('invalid input syntax for type integer: "Jane"', "22P02", show=False)
    'invalid input syntax for type integer: "…"'
    """
    return text if show or (sqlstate or "")[:2] != "22" else LAST_QUOTES.sub(': "…"', text)


def redact_context(text: str, *, show: bool) -> str:
    """Return the context of a server's error. A context of COPY loses its value: `COPY t, line 1, column a: "…"`."""
    return text if show or not text.startswith("COPY ") else LAST_QUOTES.sub(': "…"', text)


def redact_query(text: str, *, show: bool) -> str:
    """Return another session's query without its constants.

    >>> redact_query("SELECT 'Jane', 42 FROM t WHERE a = $$x", show=False)
    'SELECT …, … FROM t WHERE a = …'
    """
    return text if show else CONSTANT.sub("…", text)

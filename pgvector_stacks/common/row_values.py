"""Decides whether values of rows are shown: on a terminal or where they were asked for, and never in what is stored.

A server's error may hold them in its detail (`Key (email)=(…)`, `Failing row contains (…)`), in the last quotes of its
message (`invalid input syntax for type integer: "…"`), and other sessions' queries hold them as constants. Pure but for
`shown`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

VARIABLE = "PGSTACK_SHOW_ROWS"  # of this process and those it starts: the one that runs scripts has no terminal
WITHHELD = f"(holds values of rows: --show-rows, or {VARIABLE}=1, shows it)"
# data exceptions, violated constraints and check options, and what a function raises by itself
CLASSES = ("22", "23", "44", "P0")
ROW = re.compile(r"\)=\(|\brow contains\b", re.IGNORECASE)
LAST_QUOTES = re.compile(r': "(?:.*)"$', re.DOTALL)
CONSTANT = re.compile(r"\$(\w*)\$.*?(?:\$\1\$|$)|[eE]?'(?:[^'\\]|''|\\.)*(?:'|$)|\b\d[\d.]*\b", re.DOTALL)


def shown(environ: Mapping[str, str] | None = None) -> bool:
    """True where somebody asked for them, or sits before a terminal (cli/app.py says so to those it starts)."""
    return (os.environ if environ is None else environ).get(VARIABLE, "") not in ("", "0")


def detail(text: str, sqlstate: str | None, *, show: bool) -> str:
    """A server's detail, or that it is withheld.

    >>> detail("Key (name)=(Jane Roe) already exists.", "23505", show=False) == WITHHELD
    True
    >>> detail("Process 7 waits for ShareLock.", "40P01", show=False)
    'Process 7 waits for ShareLock.'
    """
    return text if show or not text or not holds(text, sqlstate) else WITHHELD


def holds(text: str, sqlstate: str | None) -> bool:
    """Whether a detail may hold values of rows."""
    return (sqlstate or "")[:2] in CLASSES or ROW.search(text) is not None


def message(text: str, sqlstate: str | None, *, show: bool) -> str:
    """A server's message, of a data exception without the value that it quotes.

    >>> message('invalid input syntax for type integer: "Jane"', "22P02", show=False)
    'invalid input syntax for type integer: "…"'
    """
    return text if show or (sqlstate or "")[:2] != "22" else LAST_QUOTES.sub(': "…"', text)


def context(text: str, *, show: bool) -> str:
    """The same of where it was: `COPY t, line 1, column a: "…"`."""
    return text if show or not text.startswith("COPY ") else LAST_QUOTES.sub(': "…"', text)


def query(text: str, *, show: bool) -> str:
    """Another session's query, its constants left out.

    >>> query("SELECT 'Jane', 42 FROM t WHERE a = $$x", show=False)
    'SELECT …, … FROM t WHERE a = …'
    """
    return text if show else CONSTANT.sub("…", text)

"""Makes text of strangers safe to show: names of objects, RAISE messages, queries, what a server or a log says. Pure.

Invariants: what `safe` returns moves no cursor, colours nothing, reorders nothing and is no command to a runner of
GitHub's workflows; `one_line` is one line; of `quoted` the first line alone can look like one of ours, since the others
begin with a bar. All three leave alone what they once made.

The seams: a message (`PgstackError`), the engine's log and tracebacks (automation/provider_process.py), what pgstack
prints (`cli/printing.py`). Who puts a stranger's text into a message of ours takes `one_line` or `quoted`.
"""

from __future__ import annotations

import re
import unicodedata

BAR = "\n    | "
# Beside control characters: marks that reorder a line, break it in places of their own, or can't be seen
INVISIBLE = frozenset("\u061c\u200b\u200e\u200f\u2028\u2029\u2060\ufeff") | {
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
# A runner trims blanks before `::name`, and finds `##[name]` anywhere in a line
COMMAND = re.compile(r"^(\s*)(::)", re.MULTILINE)
OLD_COMMAND = "##["


def safe(text: str) -> str:
    """Lines and tabs stay; other control characters and marks are written as `\\x1b`, `\\u202e`.

    >>> safe("a\\x1b[2J")
    'a\\\\x1b[2J'
    >>> safe("x\\n  ::error::y")
    'x\\n  \\\\::error::y'
    """
    text = "".join(_escaped(one) if _acts(one) else one for one in text.replace("\r\n", "\n"))
    return COMMAND.sub(r"\1\\\2", text).replace(OLD_COMMAND, "#\\#[")


def one_line(text: object) -> str:
    """`safe`, with line breaks and tabs as `\\n` and `\\t`."""
    return safe(str(text).replace("\r\n", "\n").replace("\n", "\\n").replace("\t", "\\t"))


def quoted(text: object) -> str:
    """`safe`, of several lines; each but the first begins with a bar."""
    lines = safe(str(text)).strip("\n").split("\n")
    return BAR.join(line.removeprefix(BAR[1:]) for line in lines)


def _acts(one: str) -> bool:
    return one in INVISIBLE or (one not in "\n\t" and unicodedata.category(one) in ("Cc", "Cs"))


def _escaped(one: str) -> str:
    code = ord(one)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

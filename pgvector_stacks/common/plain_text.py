"""Makes untrusted text safe to show: names of objects, RAISE messages, queries, output of servers, logs. Pure.

Invariants: the result of `safe` can't move the cursor, change colours, reorder text, or be a command to GitHub's
workflow runner. The result of `one_line` is one line. In the result of `quote_lines`, every line except the first
begins with a bar, so it can't look like a line of ours. All three are idempotent.

They are applied to messages (`PgstackError`), to Pulumi's log and tracebacks (automation/provider_process.py), and to
what pgstack prints (`cli/printing.py`). Code that puts untrusted text into a message uses `one_line` or `quote_lines`.
"""

from __future__ import annotations

import re
import unicodedata

BAR = "\n    | "
# Besides control characters: characters that reorder a line, break it, or are invisible
INVISIBLE = frozenset("\u061c\u200b\u200e\u200f\u2028\u2029\u2060\ufeff") | {
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
# The workflow runner ignores blanks before `::name`, and finds `##[name]` anywhere in a line
COMMAND = re.compile(r"^(\s*)(::)", re.MULTILINE)
OLD_COMMAND = "##["


def safe(text: str) -> str:
    """Return the text with control characters and INVISIBLE escaped as `\\x1b`, `\\u202e`. Line feeds and tabs stay.

    >>> safe("a\\x1b[2J")
    'a\\\\x1b[2J'
    >>> safe("x\\n  ::error::y")
    'x\\n  \\\\::error::y'
    """
    text = "".join(_escape(one) if _is_unsafe(one) else one for one in text.replace("\r\n", "\n"))
    return COMMAND.sub(r"\1\\\2", text).replace(OLD_COMMAND, "#\\#[")


def one_line(text: object) -> str:
    """Return `safe` text in one line, with line breaks and tabs as `\\n` and `\\t`."""
    return safe(str(text).replace("\r\n", "\n").replace("\n", "\\n").replace("\t", "\\t"))


def quote_lines(text: object) -> str:
    """Return `safe` text of several lines, in which every line except the first begins with a bar."""
    lines = safe(str(text)).strip("\n").split("\n")
    return BAR.join(line.removeprefix(BAR[1:]) for line in lines)


def _is_unsafe(one: str) -> bool:
    return one in INVISIBLE or (one not in "\n\t" and unicodedata.category(one) in ("Cc", "Cs"))


def _escape(one: str) -> str:
    code = ord(one)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

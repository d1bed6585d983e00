"""Tells a command's whole answer from one that lost its end: both streams end with a mark that says that it ended.

A stream from a container ends as a broken connection does: with nothing. So a shell runs the command and writes a mark
with its exit code behind all that it wrote. Invariant: what lacks the mark on either stream is never taken for an
answer. Pure.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

# $0 is the mark: with digits and a line's end behind it, as no listing of processes shows it. `env`, because a shell's
# own echo or kill isn't the program of that name.
_RUN = '; code=$?; printf "%s%d\\n" "$0" "$code"; printf "%s%d\\n" "$0" "$code" >&2; exit "$code"'
SCRIPT = 'env -- "$@"' + _RUN
# a count, because a connection with TLS can't be closed in one direction alone
SCRIPT_WITH_INPUT = 'size=$1; shift; head -c "$size" | env -- "$@"' + _RUN
MOST_DIGITS = 3


def new_mark() -> str:
    return f"pgstack-end-{secrets.token_hex(12)}-"


def marked(command: Sequence[str], mark: str, *, input_size: int | None = None) -> list[str]:
    """The command that runs `command` and writes the mark. `input_size`: bytes of standard input it may read."""
    if input_size is None:
        return ["sh", "-c", SCRIPT, mark, *command]
    return ["sh", "-c", SCRIPT_WITH_INPUT, mark, str(input_size), *command]


def mark_of(command: Sequence[str]) -> str | None:
    """The mark that such a command writes; None for another command."""
    if len(command) > 3 and command[2] in (SCRIPT, SCRIPT_WITH_INPUT):
        return str(command[3])
    return None


def pattern(mark: str) -> re.Pattern[bytes]:
    """Finds the mark; its group is the exit code."""
    return re.compile(re.escape(mark.encode()) + rb"(\d{1,%d})\n" % MOST_DIGITS)


def most_bytes(mark: str) -> int:
    """How long a mark is at most."""
    return len(mark.encode()) + MOST_DIGITS + 1


def without(text: bytes, mark: str) -> tuple[bytes, int]:
    """What both streams said, without the marks, and how many there were."""
    return pattern(mark).subn(b"", text)

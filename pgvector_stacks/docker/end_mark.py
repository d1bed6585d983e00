"""Distinguishes complete output of a command from truncated output: both streams end with a mark. Pure.

The end of a container's stream looks the same as a broken connection. So a shell runs the command and, after the
command's output, writes a mark with the exit code to both streams. Invariant: output that lacks the mark on either
stream is never treated as complete.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

# $0 is the mark. In the streams, digits and a line feed follow the mark; in a process listing they do not. `env` runs
# the programs echo, kill …, not the shell's builtins.
_RUN = '; code=$?; printf "%s%d\\n" "$0" "$code"; printf "%s%d\\n" "$0" "$code" >&2; exit "$code"'
SCRIPT = 'env -- "$@"' + _RUN
# `head` reads a fixed number of bytes, because a TLS connection can't signal the end of input by closing one direction
SCRIPT_WITH_INPUT = 'size=$1; shift; head -c "$size" | env -- "$@"' + _RUN
MOST_DIGITS = 3


def new_mark() -> str:
    return f"pgstack-end-{secrets.token_hex(12)}-"


def add_mark(command: Sequence[str], mark: str, *, input_size: int | None = None) -> list[str]:
    """Return a command that runs `command` and then writes the mark. `input_size`: bytes of standard input to pass."""
    if input_size is None:
        return ["sh", "-c", SCRIPT, mark, *command]
    return ["sh", "-c", SCRIPT_WITH_INPUT, mark, str(input_size), *command]


def find_mark(command: Sequence[str]) -> str | None:
    """Return the mark that a command from `add_mark` writes; None for any other command."""
    if len(command) > 3 and command[2] in (SCRIPT, SCRIPT_WITH_INPUT):
        return str(command[3])
    return None


def make_pattern(mark: str) -> re.Pattern[bytes]:
    """Return a pattern that matches the mark; its group is the exit code."""
    return re.compile(re.escape(mark.encode()) + rb"(\d{1,%d})\n" % MOST_DIGITS)


def compute_max_length(mark: str) -> int:
    """Return the greatest length of the mark with its exit code and line feed."""
    return len(mark.encode()) + MOST_DIGITS + 1


def strip_marks(text: bytes, mark: str) -> tuple[bytes, int]:
    """Return the text without the marks, and the number of marks in it."""
    return make_pattern(mark).subn(b"", text)

"""Turns an offset in a text into line and column, counted as PostgreSQL does, and shows that line. Pure.

Invariant: the line shown is the line named. Only a line feed ends a line. Form feeds, carriage returns and Unicode's
separators are part of the line, and are shown as blanks.
"""

from __future__ import annotations

# characters that move a terminal's cursor, or that some programs take for the end of a line
UNSHOWN = dict.fromkeys([*range(32), *range(127, 160), 8232, 8233], " ")


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Return 1-based line and column (in characters) of a 0-based offset.

    An offset at or after the end of the text means the place right after the last word.
    """
    if offset >= len(text):
        offset = len(text.rstrip())
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def line_of(text: str, line: int) -> str:
    """Return the line with this 1-based number; empty if there is no such line."""
    begin = 0
    for _ in range(line - 1):
        begin = text.find("\n", begin) + 1
        if not begin:
            return ""
    end = text.find("\n", begin)
    return text[begin:] if end < 0 else text[begin:end]


def excerpt(text: str, line: int, column: int | None = None, *, width: int = 100) -> str:
    """Return the line with its number and, if the column is known, a caret below. A tab counts as one character."""
    content = line_of(text, line).translate(UNSHOWN)
    offset = 0
    if column is not None and column > width - 20:  # scroll a long line, so that the caret is in sight
        offset = column - width // 2
    shown = content[offset : offset + width]
    gutter = f"  {line} | "
    if column is None:
        return f"{gutter}{shown}"
    return f"{gutter}{shown}\n{' ' * (len(gutter) + column - 1 - offset)}^"

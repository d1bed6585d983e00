"""Where an offset of a text is: its line and column as PostgreSQL counts them, and that line to show. Pure.

Invariant: the line shown is the line named. A line ends with a line feed alone: form feeds, carriage returns and
Unicode's separators stand in it, and are shown as blanks.
"""

from __future__ import annotations

# what moves a terminal's cursor, or would end the line for some reader
UNSHOWN = dict.fromkeys([*range(32), *range(127, 160), 8232, 8233], " ")


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """1-based line and column (in characters) of a 0-based offset. The end stands behind the last word."""
    if offset >= len(text):
        offset = len(text.rstrip())
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def line_of(text: str, line: int) -> str:
    """The line with this number, from 1; empty where there is none."""
    begin = 0
    for _ in range(line - 1):
        begin = text.find("\n", begin) + 1
        if not begin:
            return ""
    end = text.find("\n", begin)
    return text[begin:] if end < 0 else text[begin:end]


def excerpt(text: str, line: int, column: int | None = None, *, width: int = 100) -> str:
    """The line with its number and, where the column is known, a caret below it. A tab counts as one character."""
    content = line_of(text, line).translate(UNSHOWN)
    offset = 0
    if column is not None and column > width - 20:  # a caret out of sight helps nobody
        offset = column - width // 2
    shown = content[offset : offset + width]
    gutter = f"  {line} | "
    if column is None:
        return f"{gutter}{shown}"
    return f"{gutter}{shown}\n{' ' * (len(gutter) + column - 1 - offset)}^"

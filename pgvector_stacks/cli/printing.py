"""What pgstack prints: the seam behind which no text of strangers acts on a terminal, a log or a runner."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import MutableMapping

import typer

from pgvector_stacks.common import row_values
from pgvector_stacks.common.plain_text import safe

COLOUR = re.compile(r"(\x1b\[[\d;]*m)")


def echo(line: str) -> None:
    """To stdout, for people. What another program reads (an output, JSON) goes as it is, by typer.echo."""
    typer.echo(safe(line))


def coloured(line: str) -> str:
    """A line of the engine's: `safe`, but for colours."""
    return "".join(part if index % 2 else safe(part) for index, part in enumerate(COLOUR.split(line)))


def show_rows(asked: bool, environ: MutableMapping[str, str] = os.environ) -> None:
    """Values of rows are shown where they are asked for and on a terminal, by this process and those it starts."""
    if asked or (sys.stdout.isatty() and sys.stderr.isatty() and row_values.VARIABLE not in environ):
        environ[row_values.VARIABLE] = "1"

"""Prints for pgstack, so that untrusted text can't control a terminal, a log or a CI runner."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import typer
from pydantic.alias_generators import to_camel
from rich.console import Console

from pgvector_stacks.common import row_values
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.plain_text import safe

COLOUR = re.compile(r"(\x1b\[[\d;]*m)")
ENCODES = "pgstack"  # the name of the error handler
# What stands for a character where the output's encoding lacks it; one for one where tables are aligned by it
PLAIN = {"✓": "v", "✗": "x", "│": "|", "–": "-", "×": "x", "·": ".", "…": "...", "→": "->", "≥": ">=", "≤": "<="}


def _encode_plainly(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding lacks: as in PLAIN, else as `\\xe9`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(one) or one.encode("ascii", "backslashreplace").decode() for one in lacking), error.end


codecs.register_error(ENCODES, _encode_plainly)


def accept_any_text() -> None:
    """Make stdout and stderr take any text, also where their encoding is ASCII or Latin-1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors=ENCODES)


def is_coloured(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """True on a terminal, unless NO_COLOR or CI is set, or the terminal is dumb."""
    refused = environ.get("NO_COLOR") or environ.get("CI") or environ.get("TERM") == "dumb"
    return stream.isatty() and not refused


def make_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Return a console for text that may be untrusted; in colour where `is_coloured` says so."""
    coloured = is_coloured(sys.stderr if stderr else sys.stdout)
    return Console(
        stderr=stderr, soft_wrap=soft_wrap, color_system="auto" if coloured else None,
        highlight=False, markup=False, emoji=False,
    )  # fmt: skip


def echo_data(text: str) -> None:
    """Print what programs read to stdout, unchanged. Raises PgstackError if its encoding lacks a character."""
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        raise PgstackError(
            f"the output has a character that {sys.stdout.encoding}, the encoding of stdout, lacks\n"
            "  set PYTHONIOENCODING=utf-8"
        ) from None
    typer.echo(text)


def echo(line: str) -> None:
    """Print a line to stdout for people. For data that programs read (an output, JSON), use typer.echo instead."""
    sys.stdout.write(f"{safe(line)}\n")  # typer.echo writes UTF-8 where the encoding is ASCII
    sys.stdout.flush()


def to_json(content: Any) -> str:
    """Return the content as JSON in ASCII, with its keys in camelCase, as in the stack files."""
    return json.dumps(_camel(content), indent=2)


def echo_json(content: Any) -> None:
    """Print one JSON document to stdout."""
    typer.echo(to_json(content))


def _camel(content: Any) -> Any:
    if isinstance(content, dict):
        return {to_camel(key): _camel(value) for key, value in content.items()}
    return [_camel(item) for item in content] if isinstance(content, list) else content


def escape_except_colours(line: str) -> str:
    """Return a line of Pulumi's output as `safe` does, but with its colours."""
    return "".join(part if index % 2 else safe(part) for index, part in enumerate(COLOUR.split(line)))


def show_rows(asked: bool, environ: MutableMapping[str, str] = os.environ) -> None:
    """Show values of rows if `asked`, or on a terminal; in this process and in those that it starts."""
    if asked or (sys.stdout.isatty() and sys.stderr.isatty() and row_values.VARIABLE not in environ):
        environ[row_values.VARIABLE] = "1"

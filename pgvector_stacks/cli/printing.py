"""Prints for pgstack, so that untrusted text can't control a terminal, a log or a CI runner."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import typer
from pydantic.alias_generators import to_camel

from pgvector_stacks.common import row_values
from pgvector_stacks.common.plain_text import safe

COLOUR = re.compile(r"(\x1b\[[\d;]*m)")


def echo(line: str) -> None:
    """Print a line to stdout for people. For data that programs read (an output, JSON), use typer.echo instead."""
    typer.echo(safe(line))


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

"""`pgstack outputs`: prints a stack's outputs in a format, or writes them to a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from pgvector_stacks.automation.deployed import Output
from pgvector_stacks.automation.workspace import Workspace
from pgvector_stacks.cli import printing
from pgvector_stacks.cli.deployed_stack import quiet_toolchain, say
from pgvector_stacks.cli.outputs import files, formats, stack_outputs
from pgvector_stacks.cli.outputs.formats import FORMATS, Selection
from pgvector_stacks.cli.psql import find_role_address
from pgvector_stacks.common.errors import PgstackError

FOR_A_GITHUB_JOB = "github-env"


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for. `name`: one output; `variables`: OUTPUT=VARIABLE, as given."""

    name: str | None = None
    form: str | None = None
    role: str = ""
    variables: Sequence[str] = field(default_factory=list)
    show_secrets: bool = False
    to: Path | None = None

    @property
    def shows_secrets(self) -> bool:
        return self.show_secrets or self.to is not None


def write_outputs(stack: str, asked: Request) -> None:
    """Print the outputs, or write them to a file. Raises PgstackError."""
    form = formats.choose_format(asked.form, asked.to)
    if asked.name is not None and (asked.role or asked.variables):
        raise PgstackError(f"{asked.name} is printed as it is: leave out --role and --name")
    found = stack_outputs.read(Workspace(stack, quiet_toolchain(), say))
    if asked.name is not None:
        one = stack_outputs.pick(found, asked.name)
        text = stack_outputs.HIDDEN if one.secret and not asked.shows_secrets else stack_outputs.to_text(one.value)
    elif form == FOR_A_GITHUB_JOB:
        _write_github_env(select(stack, found, form, asked), asked)
        return
    else:
        text = FORMATS[form].render(select(stack, found, form, asked))
    if asked.to is None:
        (printing.echo_data if asked.name or form != "table" else typer.echo)(text)
    else:
        files.write_private(asked.to, text)
        say(f"wrote {asked.to} ({asked.name or form}; readable only by you)")


def select(stack: str, found: Mapping[str, Output], form: str, asked: Request) -> Selection:
    """Return what the format is to write. Raises PgstackError for an unknown role or output."""
    role = asked.role or ("app" if FORMATS[form].of_one_login else "")
    values = stack_outputs.get_values(stack_outputs.select_shown(found))
    login = find_role_address(values, role, "--role") if role else None
    variables = formats.parse_variables(asked.variables, found, form)
    return Selection(stack, found, role, login, variables, show_secrets=asked.shows_secrets)


def _write_github_env(selection: Selection, asked: Request) -> None:
    """Tell the job first what it must not print. Elsewhere these lines would show the secrets."""
    file = files.find_github_env(os.environ, asked.to)
    for line in formats.list_masks(selection) if os.environ.get(files.GITHUB_ENV) else ():
        typer.echo(line)
    files.append(file, FORMATS[FOR_A_GITHUB_JOB].render(selection))
    say(f"added the variables of {selection.stack} to {file}")

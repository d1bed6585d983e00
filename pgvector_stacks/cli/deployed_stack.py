"""What most commands share: the argument STACK, messages for people, Pulumi, and the outputs of a deployed stack."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pgvector_stacks.automation.toolchain import Toolchain, find_or_get
from pgvector_stacks.automation.workspace import Workspace
from pgvector_stacks.cli.inspection import DatabaseAddresses
from pgvector_stacks.cli.outputs import stack_outputs
from pgvector_stacks.cli.printing import make_console
from pgvector_stacks.common.plain_text import safe
from pgvector_stacks.config.environment import ENVIRONMENTS, from_file, list_stacks
from pgvector_stacks.engines.interface import get_engine


def complete_stack(incomplete: str) -> list[str]:
    """For the shell's completion: return the stacks that have a file and whose name begins so."""
    return [name for name in list_stacks() if name.startswith(incomplete)]


Stack = Annotated[
    str,
    typer.Argument(
        help=f"One of {', '.join(ENVIRONMENTS)}, or another that has a file.", autocompletion=complete_stack
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]


def say(line: str) -> None:
    """Print progress for people to stderr, so that stdout contains only the requested data."""
    make_console(stderr=True, soft_wrap=True).print(safe(line))


def toolchain() -> Toolchain:
    """Find or get Pulumi, and print which one is used. Raises ToolchainError."""
    found = find_or_get(say)
    say(found.note)
    return found


def quiet_toolchain() -> Toolchain:
    """Find or get Pulumi; print only if it must be downloaded or built. For commands whose output is data."""
    return find_or_get(say)


def read_outputs(stack: str) -> dict[str, Any]:
    """Return the values of the stack's outputs, by name."""
    return stack_outputs.get_values(stack_outputs.read(Workspace(stack, quiet_toolchain(), say)))


def find_database(stack: str) -> DatabaseAddresses:
    """Return the stack's database, as its outputs describe it."""
    environment = from_file(stack)
    return DatabaseAddresses.from_outputs(read_outputs(stack), get_engine(environment).via(environment))

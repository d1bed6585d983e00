"""Asks users to type the stack's name before an action that can't be undone."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config.environment import Environment

UNASKED = "local"  # the environment of one's own database: `down` and `reset` need no typed name


def ask_before_loss(environment: Environment, loss: str, *, yes: bool, say: Callable[[str], object]) -> None:
    """Raise PgstackError unless the user types the stack's name; `yes`, and the environment UNASKED, need none."""
    if environment.environment != UNASKED:
        name = environment.stack
        require_typed_name(name, loss, name if yes else None, "--yes", say)


def require_typed_name(
    stack: str, consequence: str, given: str | None, flag: str, say: Callable[[str], object]
) -> None:
    """Raise PgstackError unless the user types the stack's name, or has `given` it on the command line with `flag`."""
    if given is None:
        if not sys.stdin.isatty():
            raise PgstackError(f"{consequence}: its name has to be typed\n  where nobody can be asked:  {flag}")
        say(consequence)
        try:
            given = input(f"type the name of the stack to go on ({stack}): ")
        except EOFError:
            given = ""
    if given.strip() != stack:
        raise PgstackError(f"{given.strip()!r} is not {stack}: nothing was done")

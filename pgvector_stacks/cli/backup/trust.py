"""Decides whether a backup is a stack's own, by the key in the stack's state. No backup folder contains that key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from pgvector_stacks.automation import deployed
from pgvector_stacks.automation.toolchain import find, find_or_get
from pgvector_stacks.automation.workspace import Workspace
from pgvector_stacks.backup.manifest import UNSIGNED, Trust
from pgvector_stacks.common.errors import PgstackError

Unsigned = Annotated[
    bool,
    typer.Option(
        "--unsigned",
        help="Take a backup that isn't signed with the key of its stack. Whoever made it gets a superuser's rights on "
        "the server it is restored into and, in a drill of the embedded engine, yours on this machine.",
    ),
]


def find_trust(stack: str, *, unsigned: bool, say: Callable[[str], None]) -> Trust:
    """Return what a backup of `stack` must prove. Raises PgstackError if the stack's state can't be read."""
    if unsigned:
        return UNSIGNED
    try:
        return Trust(read_key(stack, say))
    except PgstackError as error:
        raise PgstackError(
            f"whether the backup is the stack's own can't be checked: {error}\n  or take it as it is:  --unsigned"
        ) from None


def find_key(stack: str) -> str | None:
    """Like `read_key`, but return None if there is no Pulumi or no readable state; then signatures aren't checked."""
    toolchain = find()
    if toolchain is None:
        return None
    try:
        return deployed.find_backup_key(Workspace(stack, toolchain, lambda _: None).state())
    except PgstackError:
        return None


def read_key(stack: str, say: Callable[[str], None]) -> str:
    """Return the key in the stack's state; "" if no `up` has created one yet. Raises PgstackError."""
    return deployed.find_backup_key(Workspace(stack, find_or_get(say), say).state())

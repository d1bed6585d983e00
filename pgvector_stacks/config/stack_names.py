"""Which names a stack may have, and to which environment a stack belongs. Pure.

A name becomes part of the names of a container, a volume and a network, of the stack file and of folders. Pulumi allows
letters, digits, "-", "_" and ".", up to 100 of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pgvector_stacks.common.errors import ConfigError, suggest_nearest
from pgvector_stacks.config.defaults import ENVIRONMENTS

# `pgvector-NAME-backup` fits into the 63 characters of a host name; a first "-" would be an option of a command
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,46}")
ORGANISATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
RESERVED = ("backups", "scripts.json")  # .data/ has these beside the folders of the stacks
BACKUP_CONTAINER = "-backup"  # of the stack whose name stands before it


def parse_name(stack: str) -> str:
    """Return the name without organisation and project: `dev` for `org/pgvector/dev`. Raises ConfigError."""
    *qualifiers, name = stack.split("/")
    if len(qualifiers) > 2 or not all(map(ORGANISATION.fullmatch, qualifiers)) or not NAME.fullmatch(name):
        raise ConfigError(
            f"{stack!r} is not a name for a stack{suggest_nearest(stack, ENVIRONMENTS)}\n"
            '  allowed: letters, digits, "-", "_", "."; the first is a letter or a digit; at most 47;\n'
            "  before it, if need be, ORGANISATION/PROJECT/"
        )
    if name.lower() in RESERVED or name.lower().endswith(BACKUP_CONTAINER):
        raise ConfigError(
            f"{name!r} can't be the name of a stack: what belongs to other stacks is called so; choose another\n"
            f"  not allowed: {', '.join(RESERVED)}, and names that end in {BACKUP_CONTAINER}"
        )
    return name


def choose_environment(stack: str, given: object, known: Iterable[str]) -> str:
    """Return which of ENVIRONMENTS the stack belongs to. Raises ConfigError.

    `given`: the value of pgvector:environment; None without it. `known`: the stacks there are.
    """
    names = tuple(known)
    for other in names:
        if other != stack and other.lower() == stack.lower():  # one folder, where file names ignore case
            raise ConfigError(
                f"there is no stack {stack!r}; did you mean {other!r}: two names can't differ only in case\n"
                f"  stacks: {', '.join(names)}"
            )
    if given is None:
        if stack not in ENVIRONMENTS:
            raise ConfigError(_explain_unknown(stack, names))
        return stack
    if given not in ENVIRONMENTS:
        raise ConfigError(
            f"stack {stack}: pgvector:environment = {str(given)[:60]!r}{suggest_nearest(str(given), ENVIRONMENTS)}\n"
            f"  allowed: {', '.join(ENVIRONMENTS)}"
        )
    if stack in ENVIRONMENTS and given != stack:
        raise ConfigError(
            f"stack {stack}: pgvector:environment = {given!r}, but a stack named like an environment belongs to it\n"
            "  remove the key, or give the stack another name"
        )
    return str(given)


def _explain_unknown(stack: str, names: tuple[str, ...]) -> str:
    if stack in names:
        return (
            f"stack {stack}: pgvector:environment is missing, and the name isn't that of an environment"
            f"{suggest_nearest(stack, ENVIRONMENTS)}\n"
            f"  set it in stacks/Pulumi.{stack}.yaml to one of {', '.join(ENVIRONMENTS)}"
        )
    return (
        f"there is no stack {stack!r}{suggest_nearest(stack, names)}\n"
        f"  stacks: {', '.join(names)}\n"
        f"  to have one of this name, set pgvector:environment in stacks/Pulumi.{stack}.yaml:"
        f"  pgstack new-stack {stack} --environment ENVIRONMENT"
    )

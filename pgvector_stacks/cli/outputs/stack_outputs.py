"""Reads a stack's outputs and picks among them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi.automation as auto

from pgvector_stacks.automation import deployed
from pgvector_stacks.automation.deployed import Output as Output
from pgvector_stacks.automation.workspace import Workspace
from pgvector_stacks.common.errors import PgstackError, suggest_nearest

HIDDEN = "[secret]"
FINISHED = "schemaRevision"  # an output that exists only after a finished `up`


def read(workspace: Workspace, state: Mapping[str, Any] | None = None) -> dict[str, Output]:
    """Return the stack's outputs, secrets decrypted, as far as the state has them. Raises PgstackError if it has none.

    `state`: the stack's state, if the caller has read it already.
    """
    state = workspace.state() if state is None else state
    found = deployed.find_outputs(state)
    if found and FINISHED not in found:
        found = deployed.find_outputs(state, workspace.config())
    if not found:
        raise PgstackError(
            f"{workspace.name} is not up: it was never deployed, or taken down\n"
            f"  deploy it:  pgstack up {workspace.name}"
        )
    if FINISHED not in found:
        workspace.say(f"no `up` of {workspace.name} came to its end yet; this is what its state has")
    return found


def convert_outputs(found: Mapping[str, auto.OutputValue]) -> dict[str, Output]:
    """Convert the outputs of the Automation API to ours."""
    return {name: Output(output.value, output.secret) for name, output in found.items()}


def pick(outputs: Mapping[str, Output], name: str) -> Output:
    """Return one output by name. Raises PgstackError with the nearest spelling."""
    names = select_shown(outputs)
    if name in outputs and name not in names:
        raise PgstackError(
            f"{name} is no output unless the stack file says so\n"
            "  to work as the administrator:  pgstack psql STACK --as admin\n"
            f"  for a program of yours:  pulumi config set pgvector:{name} true  and an `up`"
        )
    if name not in names:
        raise PgstackError(f"no output {name!r}{suggest_nearest(name, names)}\n  outputs: {', '.join(sorted(names))}")
    return outputs[name]


def get_values(outputs: Mapping[str, Output]) -> dict[str, Any]:
    """Return the outputs' values by name, secrets in plain text, for our own commands."""
    return {name: output.value for name, output in outputs.items()}


def select_shown(outputs: Mapping[str, Output]) -> dict[str, Output]:
    """Return the outputs that people see; the others are for our own commands."""
    return {name: output for name, output in outputs.items() if output.shown}


def to_text(value: Any) -> str:
    """Return a value as one text. Numbers arrive as floats: 5432.0 becomes 5432."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def command(*words: str) -> str:
    """Return a command for users to paste: the path of this `pgstack`, and these words."""
    program = Path(sys.argv[0])
    shown = program if program.name == "pgstack" else Path(sys.executable).with_name("pgstack")
    return shlex.join([str(shown), *words])

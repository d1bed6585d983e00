"""Formats a stack's outputs: as a table for people, as JSON or dotenv for deployments."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

import pulumi.automation as auto

from pgvector_stacks.automation import deployed
from pgvector_stacks.automation.deployed import Output as Output
from pgvector_stacks.automation.workspace import Workspace
from pgvector_stacks.common.errors import PgstackError, suggest_nearest

Format = Literal["table", "json", "dotenv"]
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


def choose_format(given: str | None, to: Path | None) -> Format:
    """Return the requested format, else the one that suits the file. Raises PgstackError.

    >>> cases = ((None, None), (None, Path(".env")), (None, Path("x.json")), ("table", Path(".env")))
    >>> tuple(choose_format(given, to) for given, to in cases)
    ('table', 'dotenv', 'json', 'table')
    """
    if given is None:
        return "table" if to is None else "json" if to.suffix == ".json" else "dotenv"
    if given not in get_args(Format):
        raise PgstackError(f"--format {given}: allowed are {', '.join(get_args(Format))}")
    return cast(Format, given)


def render(outputs: Mapping[str, Output], form: Format, *, show_secrets: bool) -> str:
    """Return the outputs as text, without a final newline."""
    values = {
        name: HIDDEN if output.secret and not show_secrets else output.value
        for name, output in sorted(select_shown(outputs).items())
    }
    if form == "json":
        return json.dumps(values, indent=2, sort_keys=True)
    if form == "dotenv":
        return "\n".join(
            f"{to_variable_name(name)}={quote_for_dotenv(to_text(value))}" for name, value in values.items()
        )
    width = max(map(len, values), default=0)
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{name}")
            lines += [f"  {key}: {item}" for key, item in value.items()]
        else:
            lines.append(f"{name:{width}}  {to_text(value)}")
    return "\n".join(lines)


def to_variable_name(name: str) -> str:
    """Return the environment variable for an output: `appUrl` → `PGVECTOR_APP_URL`.

    >>> to_variable_name("schemaRevision")
    'PGVECTOR_SCHEMA_REVISION'
    """
    return "PGVECTOR_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def quote_for_dotenv(value: str) -> str:
    """Quote for a shell. Compose and python-dotenv read the same value, unless it contains a single quote or `${`."""
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=?-]*", value):
        return value
    return "'" + value.replace("'", "'\\''") + "'"


def to_text(value: Any) -> str:
    """Return a value as one text. Numbers arrive as floats: 5432.0 becomes 5432."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def write_private(file: Path, text: str) -> None:
    """Write the text and a final newline to a file that only this user can read (0600). Replaces the file atomically.

    Raises PgstackError.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(f"{text}\n")
        new.replace(file)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise PgstackError(f"{file} can't be written: {error.strerror}") from None


def command(*words: str) -> str:
    """Return a command for users to paste: the path of this `pgstack`, and these words."""
    program = Path(sys.argv[0])
    shown = program if program.name == "pgstack" else Path(sys.executable).with_name("pgstack")
    return shlex.join([str(shown), *words])

"""A stack's outputs in the form the reader wants: a table for people, JSON and dotenv for deployments."""

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
FINISHED = "schemaRevision"  # an output that only a finished `up` has


def read(workspace: Workspace, state: Mapping[str, Any] | None = None) -> dict[str, Output]:
    """The stack's outputs, secrets decrypted, as far as the state knows them. Raises PgstackError without a server.

    `state`: where the caller has it already.
    """
    state = workspace.state() if state is None else state
    found = deployed.outputs(state)
    if found and FINISHED not in found:
        found = deployed.outputs(state, workspace.config())
    if not found:
        raise PgstackError(
            f"{workspace.name} is not up: it was never deployed, or taken down\n"
            f"  deploy it:  pgstack up {workspace.name}"
        )
    if FINISHED not in found:
        workspace.say(f"no `up` of {workspace.name} came to its end yet; this is what its state has")
    return found


def plain(found: Mapping[str, auto.OutputValue]) -> dict[str, Output]:
    """What the Automation API gives, as ours."""
    return {name: Output(output.value, output.secret) for name, output in found.items()}


def pick(outputs: Mapping[str, Output], name: str) -> Output:
    """One output by name. Raises PgstackError with the nearest spelling."""
    names = shown(outputs)
    if name in outputs and name not in names:
        raise PgstackError(
            f"{name} is no output unless the stack file says so\n"
            "  to work as the administrator:  pgstack psql STACK --as admin\n"
            f"  for a program of yours:  pulumi config set pgvector:{name} true  and an `up`"
        )
    if name not in names:
        raise PgstackError(f"no output {name!r}{suggest_nearest(name, names)}\n  outputs: {', '.join(sorted(names))}")
    return outputs[name]


def shown(outputs: Mapping[str, Output]) -> dict[str, Output]:
    """What people see; the rest is for our own commands."""
    return {name: output for name, output in outputs.items() if output.shown}


def form_of(given: str | None, to: Path | None) -> Format:
    """The format that was asked for, else the one that suits the file. Raises PgstackError.

    >>> form_of(None, None), form_of(None, Path(".env")), form_of(None, Path("x.json")), form_of("table", Path(".env"))
    ('table', 'dotenv', 'json', 'table')
    """
    if given is None:
        return "table" if to is None else "json" if to.suffix == ".json" else "dotenv"
    if given not in get_args(Format):
        raise PgstackError(f"--format {given}: allowed are {', '.join(get_args(Format))}")
    return cast(Format, given)


def render(outputs: Mapping[str, Output], form: Format, *, show_secrets: bool) -> str:
    """The text, without a final newline."""
    values = {
        name: HIDDEN if output.secret and not show_secrets else output.value
        for name, output in sorted(shown(outputs).items())
    }
    if form == "json":
        return json.dumps(values, indent=2, sort_keys=True)
    if form == "dotenv":
        return "\n".join(f"{variable(name)}={dotenv(flat(value))}" for name, value in values.items())
    width = max(map(len, values), default=0)
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{name}")
            lines += [f"  {key}: {item}" for key, item in value.items()]
        else:
            lines.append(f"{name:{width}}  {flat(value)}")
    return "\n".join(lines)


def variable(name: str) -> str:
    """`appUrl` → `PGVECTOR_APP_URL`.

    >>> variable("schemaRevision")
    'PGVECTOR_SCHEMA_REVISION'
    """
    return "PGVECTOR_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def dotenv(value: str) -> str:
    """Quoted for a shell. Compose and python-dotenv read the same, unless the value has a single quote or `${`."""
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=?-]*", value):
        return value
    return "'" + value.replace("'", "'\\''") + "'"


def flat(value: Any) -> str:
    """Numbers arrive as floats: 5432.0 is 5432."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def write_private(file: Path, text: str) -> None:
    """Write the text and a final newline for this user alone (0600), in one step; what was there is replaced.

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
    """A line to paste: this `pgstack`, wherever it lies, with these words."""
    program = Path(sys.argv[0])
    shown = program if program.name == "pgstack" else Path(sys.executable).with_name("pgstack")
    return shlex.join([str(shown), *words])

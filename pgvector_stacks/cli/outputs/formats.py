"""The formats of `pgstack outputs`. Pure.

Some formats write all outputs, as a table or as variables. The others write one login, as one kind of client takes it.
To add a format, write a function from `Selection` to text, and add it to FORMATS.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import yaml

from pgvector_stacks.automation.deployed import Output
from pgvector_stacks.cli.outputs.stack_outputs import HIDDEN, pick, select_shown, to_text
from pgvector_stacks.cli.psql import URLS
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.connections.server_authentication import TLS, WITHOUT_TLS
from pgvector_stacks.toolbox.interface import escape_for_passfile

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The outputs that contain a role's name or password, by role
OF_ROLE: Mapping[str, tuple[str, ...]] = {role: (url,) for role, url in URLS.items()} | {
    "app": (URLS["app"], "appUrlInternal", "appUser", "appPassword")
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What a format writes. `login`: how one role connects; only formats of one login need it.

    `variables`: the variable of an output, where it isn't the usual one. `show_secrets`: False leaves secrets out.
    """

    stack: str
    outputs: Mapping[str, Output]
    role: str = ""
    login: Address | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    show_secrets: bool = False

    def list_shown(self) -> list[tuple[str, Output]]:
        """Return the outputs that people see, by name; with a role, none that is another role's."""
        others = {name for role, names in OF_ROLE.items() if self.role and role != self.role for name in names}
        return [pair for pair in sorted(select_shown(self.outputs).items()) if pair[0] not in others]

    @property
    def address(self) -> Address:
        """The login's address. Raises PgstackError if it has a password, and secrets are not to be shown."""
        assert self.login is not None  # the caller has looked `role` up
        if not self.show_secrets:
            raise PgstackError(
                "this format contains the password\n  print it:  --show-secrets;  or write it to a file:  --to FILE"
            )
        return self.login


@dataclass(frozen=True, slots=True)
class Format:
    """`of_one_login`: it writes how one role connects. `has_variables`: its variables can be named."""

    render: Callable[[Selection], str]
    of_one_login: bool = False
    has_variables: bool = False


def choose_format(given: str | None, to: Path | None) -> str:
    """Return the requested format, else the one that suits the file. Raises PgstackError.

    >>> cases = ((None, None), (None, Path(".env")), (None, Path("x.json")), ("table", Path(".env")))
    >>> tuple(choose_format(given, to) for given, to in cases)
    ('table', 'dotenv', 'json', 'table')
    """
    if given is None:
        return "table" if to is None else "json" if to.suffix == ".json" else "dotenv"
    if given not in FORMATS:
        raise PgstackError(f"--format {given}: allowed are {', '.join(FORMATS)}")
    return given


def parse_variables(given: Sequence[str], outputs: Mapping[str, Output], form: str) -> dict[str, str]:
    """Parse `--name OUTPUT=VARIABLE`, given any number of times. Raises PgstackError."""
    if given and not FORMATS[form].has_variables:
        having = ", ".join(name for name, each in FORMATS.items() if each.has_variables)
        raise PgstackError(f"--name names a variable, and --format {form} has none: use it with {having}")
    found: dict[str, str] = {}
    for each in given:
        output, _, variable = each.partition("=")
        if not VARIABLE.fullmatch(variable):
            raise PgstackError(f"--name {each}: write OUTPUT=VARIABLE, for example appUrl=DATABASE_URL")
        pick(outputs, output)
        if variable in found.values():
            raise PgstackError(f"--name {each}: the variable {variable} is named twice")
        found[output] = variable
    return found


def render_table(selection: Selection) -> str:
    """Return the outputs for people: a line each, and a line for each entry of a map."""
    values = _list_values(selection)
    width = max(map(len, values), default=0)
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{name}")
            lines += [f"  {key}: {item}" for key, item in value.items()]
        else:
            lines.append(f"{name:{width}}  {to_text(value)}")
    return "\n".join(lines)


def _render_json(selection: Selection) -> str:
    values = {selection.variables.get(name, name): value for name, value in _list_values(selection).items()}
    return json.dumps(values, indent=2, sort_keys=True)


def _render_dotenv(selection: Selection) -> str:
    return "\n".join(_list_assignments(selection, quote_for_dotenv))


def _render_env(selection: Selection) -> str:
    """Docker's `--env-file` takes each line as it is, and has no way to write a line break."""

    def write(value: str) -> str | None:
        return None if has_line_break(value) else value

    return "\n".join(_list_assignments(selection, write))


def _render_github_env(selection: Selection) -> str:
    def write(name: str, value: str) -> str:
        if not has_line_break(value):
            return f"{name}={value}"
        end = f"END_{secrets.token_hex(8)}"
        return f"{name}<<{end}\n{value}\n{end}"

    shown = selection.list_shown()
    return "\n".join(write(_name_variable(selection, name), to_text(output.value)) for name, output in shown)


def list_masks(selection: Selection) -> list[str]:
    """Return the lines by which a GitHub job learns what it must not print: each secret, and each password by itself.

    A mask covers one line, so each line of a secret gets one.
    """
    hidden = [to_text(output.value) for _, output in selection.list_shown() if output.secret]
    lines = [line for value in hidden for line in value.splitlines() if line.strip()]
    return [f"::add-mask::{line.replace('%', '%25')}" for line in lines]


def build_jdbc_url(at: Address) -> str:
    """Return pgjdbc's URL. Over TLS the server must prove that it knows the password (channel binding)."""
    given = {"user": at.user, "password": at.password, "sslmode": at.sslmode or WITHOUT_TLS}
    if at.sslmode in TLS:
        given["channelBinding"] = "require"
    return f"jdbc:postgresql://{at.place_in_url}?{urlencode(given, quote_via=quote)}"


def build_pgpass_line(at: Address) -> str:
    """Return the line of a `~/.pgpass`. Raises PgstackError for a value with a line break."""
    values = (at.host, str(at.port), at.database, at.user, at.password)
    _require_one_line(values, "pgpass")
    return ":".join(map(escape_for_passfile, values))


def _render_pgservice(selection: Selection) -> str:
    """libpq removes white space at the end of a line of this file, and reads no quotes."""
    at = selection.address
    values = {
        "host": at.host, "port": str(at.port), "dbname": at.database, "user": at.user, "password": at.password,
        "sslmode": at.sslmode or WITHOUT_TLS,
    }  # fmt: skip
    if at.sslmode in TLS:
        values["channel_binding"] = "require"
    _require_one_line(values.values(), "pgservice")
    if ends := [name for name, value in values.items() if value != value.rstrip()]:
        raise PgstackError(f"--format pgservice: a {ends[0]} with a space at its end can't be written; use pgpass")
    name = selection.stack if selection.role == "app" else f"{selection.stack}-{selection.role}"
    return "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in values.items())])


def _render_k8s_secret(selection: Selection) -> str:
    """The keys are those of CloudNativePG's secret `CLUSTER-app`
    (https://cloudnative-pg.io/documentation/current/applications/), and `ca.crt` with TLS.
    """
    at = selection.address
    name = re.sub(r"[^a-z0-9]+", "-", f"pgvector-{selection.stack}-{selection.role}".lower())
    data = {
        "username": at.user, "user": at.user, "password": at.password, "dbname": at.database, "host": at.host,
        "port": str(at.port), "uri": at.url, "jdbc-uri": build_jdbc_url(at), "pgpass": build_pgpass_line(at) + "\n",
    }  # fmt: skip
    if at.certificate:
        data["ca.crt"] = at.certificate
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/basic-auth",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }
    return yaml.safe_dump(secret, sort_keys=False, width=10**6).rstrip("\n")


FORMATS: Mapping[str, Format] = {
    "table": Format(render_table),
    "json": Format(_render_json, has_variables=True),
    "dotenv": Format(_render_dotenv, has_variables=True),
    "env": Format(_render_env, has_variables=True),
    "github-env": Format(_render_github_env, has_variables=True),
    "url": Format(lambda selection: selection.address.url, of_one_login=True),
    "jdbc": Format(lambda selection: build_jdbc_url(selection.address), of_one_login=True),
    "pgpass": Format(lambda selection: build_pgpass_line(selection.address), of_one_login=True),
    "pgservice": Format(_render_pgservice, of_one_login=True),
    "k8s-secret": Format(_render_k8s_secret, of_one_login=True),
}


def _list_values(selection: Selection) -> dict[str, Any]:
    """Return the outputs' values by name; [secret] for what isn't to be shown."""
    hide = not selection.show_secrets
    return {name: HIDDEN if output.secret and hide else output.value for name, output in selection.list_shown()}


def _list_assignments(selection: Selection, write: Callable[[str], str | None]) -> list[str]:
    """Return a line for each output: a comment for a secret that isn't shown, and where `write` returns None."""
    lines = []
    for name, output in selection.list_shown():
        variable = _name_variable(selection, name)
        if output.secret and not selection.show_secrets:
            lines.append(f"# {variable} is a secret: add --show-secrets, or --to FILE")
        elif (text := write(to_text(output.value))) is None:
            lines.append(f"# {variable} has several lines: pgstack outputs {selection.stack} {name} --to FILE")
        else:
            lines.append(f"{variable}={text}")
    return lines


def _name_variable(selection: Selection, output: str) -> str:
    return selection.variables.get(output) or to_variable_name(output)


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


def has_line_break(value: str) -> bool:
    return "\n" in value or "\r" in value


def _require_one_line(values: Iterable[str], form: str) -> None:
    if any(map(has_line_break, values)):
        raise PgstackError(f"--format {form}: a value with a line break can't be written; use url or json")

"""The tables of keys in docs/configuration.md are the model's: every key, its defaults, its description."""

from __future__ import annotations

import re

from pydantic.alias_generators import to_camel

from pgvector_stacks.cli.app import app
from pgvector_stacks.config.docker_keys import DockerKeys
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, DEFAULTS, ENVIRONMENTS, ROOT, Environment

DOCKER_ALONE = {*DockerKeys.model_fields, "tls_key"}
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def shown(name: str, value: object) -> str:
    """As a cell of the table."""
    if name == "image" or (name == "settings" and value):
        return "see below"
    if value == DEFAULT_SCRIPTS:
        return "the three"
    if value in (None, (), {}):
        return "–"
    if isinstance(value, bool):  # as YAML writes it
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`" + "`, `".join(map(str, value)) + "`"
    return f"`{value}`"


def expected(name: str) -> str:
    field = Environment.model_fields[name]
    default = field.get_default()
    if name == "postgres_version":  # an image tells it
        default = None
    cells = [
        # the embedded engine doesn't read it
        "–"
        if environment == "local" and name in DOCKER_ALONE
        else shown(name, DEFAULTS[environment].get(name, default))
        for environment in ENVIRONMENTS
    ]
    return f"| `{to_camel(name)}` | " + " | ".join(cells) + f" | {field.description} |"


def test_the_table_of_keys_is_the_models() -> None:
    rows = re.findall(r"^\| `\w+` \| .* \|$", CONFIGURATION.split("## Keys")[1].split("\n## ")[0], re.MULTILINE)
    wanted = [expected(name) for name in Environment.model_fields if name != "stack"]
    assert sorted(rows) == sorted(wanted)


def test_every_command_is_documented() -> None:

    names = [
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback
    ]
    names += [group.name for group in app.registered_groups if group.name]
    assert [name for name in names if f"`pgstack {name}" not in COMMANDS] == []

"""The tables of keys in docs/configuration.md are the model's: every key, its defaults, its description."""

from __future__ import annotations

import re

import pytest
from pydantic.alias_generators import to_camel

from pgvector_stacks.cli.app import app
from pgvector_stacks.config.docs_key_tables import write_tables
from pgvector_stacks.config.environment import ENVIRONMENTS, ROOT, Environment

CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def test_the_tables_of_keys_are_what_pgstack_schema_writes() -> None:
    assert write_tables(CONFIGURATION) == CONFIGURATION


def test_every_key_has_one_row_with_its_description_and_a_cell_a_stack() -> None:
    rows = re.findall(r"^\| `\w+` \| .* \|$", CONFIGURATION.split("## Keys")[1].split("\n## ")[0], re.MULTILINE)
    fields = {to_camel(name): field for name, field in Environment.model_fields.items() if name != "stack"}
    assert sorted(row.split("`")[1] for row in rows) == sorted(fields)
    for row in rows:
        assert row.endswith(f" | {fields[row.split('`')[1]].description} |")
        assert row.count(" | ") == len(ENVIRONMENTS) + 1


def test_a_page_without_a_mark_is_told() -> None:
    with pytest.raises(ValueError, match="the page lacks <!-- keys of the Docker engine"):
        write_tables(CONFIGURATION.replace("<!-- keys of the Docker engine", "<!-- keys"))


def test_every_command_is_documented() -> None:
    names = [
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback
    ]
    names += [group.name for group in app.registered_groups if group.name]
    assert [name for name in names if f"`pgstack {name}" not in COMMANDS] == []

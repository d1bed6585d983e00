"""The listings among the schema's inputs: what a reviewer reads of the scripts, and older states' form of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.schema_check import format_script_lines
from components.sql_schema import SqlSchemaProvider, inputs
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, from_config
from pgvector_stacks.migrations.scripts.script_files import Script

NOWHERE = {"host": "127.0.0.1", "port": 1.0, "admin": "postgres", "adminPassword": "x"}
NAMES = st.lists(st.text("abc0129 /_-.", min_size=1).map(lambda name: f"{name}.sql"), unique=True, max_size=30)


def script(name: str, normalised: str = "0" * 64) -> Script:
    return Script(name=name, text="", sha256="", normalised=normalised)


def old_form(listing: str) -> dict[str, str]:
    """The map that was there before, in an order of Pulumi's own."""
    pairs = [(line[:-14], line[-12:]) for line in listing.splitlines()]
    random.shuffle(pairs)
    return dict(pairs)


def read(props: dict[str, Any]) -> dict[str, Any]:
    found = SqlSchemaProvider().read("local/app", inputs(from_config("local", {})) | NOWHERE | props)
    assert found.inputs is not None
    assert found.outs is not None
    assert {key: found.outs[key] for key in found.inputs} == found.inputs
    return found.inputs


@given(NAMES, st.text("abc019", min_size=12))
def test_a_new_script_is_one_more_line_behind_the_same_lines(names: list[str], digest: str) -> None:
    scripts = [script(name) for name in names]
    before, after = format_script_lines(scripts), format_script_lines([*scripts, script("new.sql", digest)])
    assert after == f"{before}{len(names) + 1:04} new.sql  {digest[:12]}\n"


@given(NAMES)
def test_an_older_state_reads_as_the_same_listing(names: list[str]) -> None:
    listing = format_script_lines(map(script, names))
    assert read({"scripts": old_form(listing)})["scripts"] == listing


def test_the_ten_thousandth_script_of_an_older_state_comes_behind_the_others() -> None:
    listing = format_script_lines(script(f"{number}.sql") for number in range(10_002))
    assert read({"scripts": old_form(listing)})["scripts"] == listing


def test_both_listings_of_an_older_state_become_what_the_program_says_today() -> None:
    today = inputs(from_config("local", {}))
    was = {key: old_form(today[key]) for key in ("scripts", "verify")}
    assert read(was) == read({})


def test_the_first_preview_names_every_script_where_no_ledger_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.info", said.append)
    news = inputs(from_config("local", {})) | NOWHERE
    SqlSchemaProvider().check({}, news)
    assert said == [f"to run: sql/{name} (new, unless the database has it)" for name in DEFAULT_SCRIPTS]
    said.clear()
    SqlSchemaProvider().check({"revision": "empty"}, news)
    assert said == []

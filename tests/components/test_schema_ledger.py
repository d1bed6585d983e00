"""`revision`, what the database is to have, and `ledger`, what it has: in preview, up, refresh and former states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.sql_schema import OUTPUTS, SqlSchemaProvider
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS
from tests.components.test_providers import TARGET, unknown
from tests.components.test_schema_check import deployed, schema
from tests.conftest import FreshDatabase

LOSE_ONE = "DELETE FROM pgstack.ledger WHERE position = 3; DELETE FROM pgstack.object"
WORDS = st.text("0123456789abcdef", min_size=12, max_size=12) | st.just("empty")
PROSE = st.sampled_from(["", " (the database has 04da6b5480e4)", " (there is no database app)", " (can't connect: no)"])
provider = SqlSchemaProvider()


def differs(olds: dict[str, Any], news: dict[str, Any]) -> bool:
    """Whether the engine would update: the provider leaves it to the engine, which compares the inputs."""
    return provider.diff("id", olds, news).changes is None


@pytest.fixture
def to_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.info", said.append)
    return said


@pytest.fixture
def state(fresh_database: FreshDatabase) -> dict[str, Any]:
    """The outputs of a stack that is deployed on this database."""
    return deployed(fresh_database) | dict.fromkeys(OUTPUTS, "x") | {"ledger": TARGET, "schemaRevision": TARGET}


def refreshed(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    found = provider.read("production/x", state)
    assert found.outs is not None
    assert found.inputs is not None
    return found.outs, found.inputs


@pytest.mark.parametrize("refresh", [True, False])
def test_a_database_without_a_script_that_ran_shows_its_own_revision_and_is_updated_once(
    fresh_database: FreshDatabase, state: dict[str, Any], to_run: list[str], refresh: bool
) -> None:
    news = schema(fresh_database)
    inputs = deployed(fresh_database)
    assert not differs(state, provider.check(inputs, news).inputs)
    fresh_database.do(LOSE_ONE)
    if refresh:
        state, inputs = refreshed(state)
        assert "ledger" not in inputs
        assert state["ledger"] not in (TARGET, "empty")
    checked = provider.check(inputs, news).inputs
    assert to_run == [f"to run: sql/{DEFAULT_SCRIPTS[2]} (new)"]
    assert (checked["revision"], len(checked["ledger"])) == (TARGET, 12)
    assert checked["ledger"] != TARGET
    assert differs(state, checked)
    if refresh:
        assert checked["ledger"] == state["ledger"]

    after = checked | {"ledger": TARGET, "schemaRevision": TARGET}  # as `update` returns it
    again = {key: value for key, value in checked.items() if key != "ledger"}  # the ledger is whole: nothing is added
    assert not differs(after, again)


def test_scripts_to_run_are_another_revision_and_no_word_on_the_ledger(
    fresh_database: FreshDatabase, state: dict[str, Any]
) -> None:
    inputs = deployed(fresh_database)
    fresh_database.do(LOSE_ONE)
    before = inputs | {"revision": "04da6b5480e4"}
    checked = provider.check(before, schema(fresh_database)).inputs
    assert checked == inputs
    assert differs(state | before, checked)


@given(WORDS, PROSE)
@pytest.mark.parametrize("forget", [lambda _: {}, lambda word: {"schemaRevision": word}])
def test_a_former_state_reads_as_todays_and_is_unchanged(
    forget: Callable[[str], dict[str, str]], word: str, prose: str
) -> None:
    """Its `ledger` was the revision to be reached, or the one found, with a reason behind it."""
    common = {"host": "127.0.0.1", "port": 1.0, "database": "app", "admin": "postgres", "adminPassword": "x"}
    former = common | {"ledger": word + prose} | forget(word)
    found = provider.read("production/app", former)
    assert found.inputs == common | {"revision": word}
    assert found.outs == common | forget(word) | {"revision": word, "ledger": word}
    assert not differs(former, common | {"revision": word})
    assert not differs(found.outs, found.inputs)
    for change in ({"revision": "f" * 13}, {"ledger": "empty"}, {"host": unknown()}):
        assert differs(former, common | {"revision": word} | change)

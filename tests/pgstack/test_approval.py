"""What was approved is compared with what would be done now: without a value, and with each difference named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.automation.approval import (
    Approval,
    build_approval,
    describe_differences,
    read,
    refuse_other,
    write,
)
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.exported_state import SECRET, SIGNATURE

URN = "urn:pulumi:dev::pgvector::pgvector:index:Database$pulumi-python:dynamic/pgvector:"
COMMIT = "0" * 40


def plan(ciphertext: str = "v1:aaaa", updates: dict[str, Any] | None = None, seed: str = "x", **goal: Any) -> Any:
    secret = {SIGNATURE: SECRET, "ciphertext": ciphertext}
    difference = {"inputDiff": {"updates": updates or {}, "adds": {"adminPassword": secret}}}
    needs = ["server", "app-password"] if seed else ["app-password", "server"]
    goal = {"dependencies": needs} | goal
    return {
        "manifest": {"time": seed},
        "resourcePlans": {
            f"{URN}SqlSchema::schema": {"goal": difference | goal, "steps": ["update"], "seed": seed},
            f"{URN}Claim::claim": {"goal": {"inputDiff": {}}, "steps": ["same"], "seed": seed},
        },
    }


def approved(made: Any, commit: str = COMMIT) -> Approval:
    return build_approval(made, "dev", commit)


@given(st.text(), st.text(), st.text(), st.text())
def test_the_same_preview_made_again_is_the_one_that_was_approved(one: str, two: str, seed: str, other: str) -> None:
    again = approved(plan(two, {"scripts": "0004"}, other))
    assert describe_differences(approved(plan(one, {"scripts": "0004"}, seed)), again) == []


def test_each_difference_is_named() -> None:
    was = approved(plan(updates={"scripts": "0004"}))
    assert describe_differences(was, approved(plan(updates={"scripts": "0004", "ledger": "7f"}))) == [
        "SqlSchema schema: approved was update (adminPassword, scripts), "
        "now it is update (adminPassword, ledger, scripts)"
    ]
    assert describe_differences(was, approved(plan(updates={"scripts": "0005"}))) == [
        "SqlSchema schema: approved was update (adminPassword, scripts), "
        "now it is update (adminPassword, scripts), with other values"
    ]
    fewer = plan(updates={"scripts": "0004"})
    del fewer["resourcePlans"][f"{URN}Claim::claim"]
    assert describe_differences(was, approved(fewer)) == ["Claim claim: approved was same, now it is nothing"]
    assert describe_differences(was, approved(plan(updates={"scripts": "0004"}), "1" * 40)) == [
        f"commit: approved for {COMMIT}, this is {'1' * 40}"
    ]
    with pytest.raises(PgstackError, match="nothing was changed:\n    SqlSchema schema: approved was"):
        refuse_other(was, approved(plan()))


def test_what_is_published_holds_no_value(tmp_path: Path) -> None:
    file = tmp_path / "approved.json"
    made = approved(plan("v1:the cipher text", {"settings": "of the server"}))
    write(file, made)
    assert read(file) == made
    assert not any(word in file.read_text() for word in ("cipher", "of the server"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stack": "dev", "commit": "", "resources": {"a": {}}}', "\ud83d"])
def test_a_file_that_is_no_approved_plan_is_told_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "approved.json"
    file.write_text(json.dumps(text) if "\ud83d" in text else text)
    with pytest.raises(PgstackError, match=r"approved\.json is no approved plan\n"):
        read(file)
    with pytest.raises(PgstackError, match="missing can't be read: No such file"):
        read(tmp_path / "missing")

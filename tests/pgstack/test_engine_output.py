"""The engine's output as pgstack shows it: every note and every error once, none lost, with colours and without."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.automation.engine_output import COLOUR, EngineOutput

RED, END = "\x1b[38;5;1m", "\x1b[0m"
SERVER = "pulumi-python:dynamic/pgvector:EmbeddedServer"
PROBLEM = f"{SERVER} resource 'server' has a problem: "
UNHANDLED = "an unhandled error occurred: "


def shown(lines: list[str]) -> list[str]:
    output = EngineOutput()
    now = [each for line in lines for each in output.shown(line)]
    return [COLOUR.sub("", line) for line in [*now, *output.rest()]]


def coloured(line: str) -> str:
    """As the engine colours it on a terminal."""
    if line.startswith(" ~ "):
        line = f" {RED}~ {END}" + line.removeprefix(" ~ ")
    return line.replace("error: ", f"{RED}error: {END}{END}")


@pytest.mark.parametrize("colour", [str, coloured])
def test_a_failed_check_is_shown_once_without_the_resource_that_asked(colour: type[str]) -> None:
    lines = [
        "Previewing update (local):",
        f" ~  {SERVER} server refreshing",
        f" ~  {SERVER} server refresh error: {PROBLEM}sql/a.sql was changed",
        "    pulumi:pulumi:Stack pgvector-local ",
        "Diagnostics:",
        f"  {SERVER} (server):",
        f"    error: {PROBLEM}sql/a.sql was changed",
        "      undo the edit",
        "",
        "      or don't",
        "",
        "Resources:",
        "    1 errored",
    ]
    assert shown([colour(line) for line in lines]) == [
        "Previewing update (local):",
        "Resources:",
        "    1 errored",
        "error: sql/a.sql was changed\n  undo the edit\n\n  or don't",
    ]


@pytest.mark.parametrize("colour", [str, coloured])
def test_an_error_of_the_program_is_shown_once(colour: type[str]) -> None:
    stack = "    pulumi:pulumi:Stack pgvector-local"
    lines = [
        f"{stack} running error: no such script",
        f"{stack} running error: {UNHANDLED}no such script",
        f"{stack}  2 errors",
        "Diagnostics:",
        "  pulumi:pulumi:Stack (pgvector-local):",
        "    error: no such script",
        "      allowed: a.sql",
        f"    error: {UNHANDLED}no such script",
        "      allowed: a.sql",
        "    error: preview failed",
    ]
    assert shown([colour(line) for line in lines]) == ["error: no such script\n  allowed: a.sql"]


def test_the_only_word_on_a_failure_is_kept_though_it_says_little() -> None:
    assert shown(["Diagnostics:", "  pulumi:pulumi:Stack (x):", "    error: update failed"]) == ["error: update failed"]


def test_an_error_of_another_plugin_names_its_resource() -> None:
    lines = ["Diagnostics:", "  docker:index:Container (server):", "    error: no such image"]
    assert shown(lines) == ["error: docker:index:Container server: no such image"]


def test_a_row_tells_what_happens_and_its_messages_follow_it() -> None:
    row = " +  pulumi-python:dynamic/pgvector:SqlSchema schema"
    lines = [
        f"{row} creating (0s)",
        f"{row[:-6]}other creating (0s)",
        f"{row} creating (1s) info: runs sql/a.sql",
        f"{row} creating (9s) info: runs sql/a.sql",
        f"{row} **creating failed**; error: no",
        "    pulumi:pulumi:Stack pgvector-local **failed** 1 error; 2 messages",
    ]
    assert shown(lines) == [
        f"{row} creating (0s)",
        f"{row[:-6]}other creating (0s)",
        "    info: runs sql/a.sql",
        f"{row} **creating failed**",
        "    pulumi:pulumi:Stack pgvector-local **failed**",
    ]


TEXTS = st.lists(st.text("abc :(){}", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["error", "warning", "info"]), TEXTS), max_size=6), st.booleans())
def test_no_message_is_lost_and_none_is_shown_twice(messages: list[tuple[str, list[str]]], rows: bool) -> None:
    """Each has a number, so that it can be told from the others; with the rows that go before, and without."""
    kinds = [(kind, [f"<{place}> {texts[0]}", *texts[1:]]) for place, (kind, texts) in enumerate(messages)]
    before = [f"    pulumi:pulumi:Stack x creating (1s) {kind}: {texts[0]}" for kind, texts in kinds] if rows else []
    below = [
        [f"    {kind}: {texts[0]}", *(f"      {text}" for text in texts[1:])] for kind, texts in kinds
    ]  # fmt: skip
    said = "\n".join(shown([*before, "Diagnostics:", "  pulumi:pulumi:Stack (x):", *itertools.chain(*below)]))
    for place, (kind, texts) in enumerate(kinds):
        many_lines_of_a_note = kind != "error" and len(texts) > 1 and rows  # its row has the first one alone
        assert said.count(f"<{place}>") == (2 if many_lines_of_a_note else 1)
        assert all(text in said for text in texts)

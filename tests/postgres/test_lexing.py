"""The scanner decides what is a change and where statements end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.common.errors import ScriptError
from pgvector_stacks.migrations.lexing.lexing import excerpt, line_and_column, split_statements, tokens
from tests.conftest import script

WORDS = st.sampled_from(
    # strings with a cast: two strings with a line break between them are one string, and so it is a change
    [
        "select",
        "1",
        "'a b'::text",
        "$$x; y$$",
        "(",
        ")",
        ",",
        "t",
        '"Q ;"',
        "case",
        "end",
        "+",
        "E'\\''::text",
        "--c\n",
        ";",
    ]
)


def split(text: str) -> list[str]:
    return [text[found.start : found.end] for found in split_statements(text, tokens(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        (";;select 1;;", ["select 1"]),
        ("select ';' ; select $$;$$", ["select ';'", "select $$;$$"]),
        ("-- a ; b\nselect 1 /* ; */;", ["select 1"]),
        ("create rule r as on insert to t do (select 1; select 2);", None),
        ("create function f() returns int begin atomic select 1; select 2; end; select 3", 2),
        ("create function f() returns int begin atomic select case when true then 1 end; end; select 3", 2),
        ("do $$ begin null; end $$; select 1", 2),
        ("select case when a then b end; select 2", 2),
    ],
)
def test_statements_end_where_postgresql_ends_them(text: str, expected: list[str] | int | None) -> None:
    found = split(text)
    if isinstance(expected, list):
        assert found == expected
    else:
        assert len(found) == (expected or 1)


@given(st.lists(WORDS, min_size=1), st.sampled_from([" ", "\n", "\t", " /* c ; */ ", " --x\n"]))
def test_white_space_and_comments_are_no_change(words: list[str], gap: str) -> None:
    plain, other = "select 1 ; " + " ".join(words), "select 1 ; " + gap.join(words)
    assert _normalised(plain) == _normalised(other)


@pytest.mark.promise("A changed constant is a change of a script")
@given(st.integers(), st.integers())
def test_a_changed_constant_is_a_change(one: int, other: int) -> None:
    same = script(f"insert into t values ({one})").normalised == script(f"insert into t values ({other})").normalised
    assert same == (one == other)


@given(st.text(alphabet="ab'", max_size=6), st.text(alphabet="ab'", max_size=6))
def test_a_changed_string_is_a_change(one: str, other: str) -> None:
    def text(value: str) -> str:
        return "select '" + value.replace("'", "''") + "'"

    assert (script(text(one)).normalised == script(text(other)).normalised) == (one == other)


@given(st.lists(WORDS, min_size=1))
def test_statements_cover_every_token_once(words: list[str]) -> None:
    text = " ".join(words)
    try:
        found = tokens(text)
    except ScriptError:
        return  # e.g. E'\'' opens a string that another word does not close
    inside = [token for found in split_statements(text, found) for token in found.tokens]
    code = [token for token in found if token.name not in ("SQL_COMMENT", "C_COMMENT")]
    assert [t for t in inside if t.name != "ASCII_59"] == [t for t in code if t.name != "ASCII_59"]


@given(st.text(alphabet="a\né", min_size=1), st.data())
def test_line_and_column_lead_back_to_the_character(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text) - 1))
    line, column = line_and_column(text, offset)
    assert len("\n".join(text.split("\n")[: line - 1])) + (line > 1) + column - 1 == offset


def test_the_caret_stands_below_the_column() -> None:
    first, second = excerpt("select\n  nonsense", 2, 3).splitlines()
    assert first.index("nonsense") == second.index("^")


def test_the_caret_of_a_long_line_is_in_sight() -> None:
    first, second = excerpt("x" * 500 + "Y" + "x" * 500, 1, 501).splitlines()
    assert len(first) < 120
    assert first[second.index("^")] == "Y"


def _normalised(text: str) -> str:
    try:
        return script(text).normalised
    except ScriptError as error:
        return type(error).__name__

"""What is printed where there is no colour, no room or no Unicode: readable, and never a traceback."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.cli import doctor, printing
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.finding import Finding

FINDINGS = [Finding("stack file", "stacks/Pulumi.dev.yaml is right"), Finding("disk", "full: 3 → 0 MB …", "free some")]
SHOW = "from tests.pgstack.test_printing import FINDINGS, doctor, printing; printing.accept_any_text()"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """What `pgstack doctor` prints on a terminal with these variables."""
    for name in ("NO_COLOR", "CI", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TERM": "xterm-256color"} | variables).items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    doctor.show(FINDINGS)
    return terminal.getvalue()


def test_a_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" in shown(monkeypatch)
    assert "\x1b[" in shown(monkeypatch, NO_COLOR="", CI="")


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"CI": "true"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, variable: dict[str, str]) -> None:
    said = shown(monkeypatch, FORCE_COLOR="1", **variable)
    assert "\x1b" not in said
    assert "stack file" in said


@pytest.mark.parametrize("columns", [1, 2, 5, 10, 20, 39, 500])
def test_a_narrow_terminal_loses_no_letter(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    said = shown(monkeypatch, NO_COLOR="1", COLUMNS=str(columns))
    assert max(map(len, said.splitlines())) <= columns
    if columns >= 20:
        letters = "".join(one for one in said if one.isalnum())
        assert set("stacksPulumidevyamlisright") <= set(letters)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_encoding_without_unicode_gets_letters_for_the_marks(encoding: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", f"{SHOW}; doctor.show(FINDINGS); printing.echo('✓ 3 → 0 \\u4e2d')"],
        env=os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "100"}, capture_output=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, b"")
    said = ran.stdout.decode(encoding)
    assert "v 3 -> 0 \\u4e2d" in said
    assert re.search(r"^. x . disk ", said, re.MULTILINE)
    assert "3 -> 0 MB" in said


@given(st.text(), st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8"]))
def test_any_text_can_be_printed_and_what_the_encoding_has_stays(text: str, encoding: str) -> None:
    said = text.encode(encoding, printing.ENCODES).decode(encoding)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        assert said != text
    else:
        assert said == text


def test_data_is_printed_as_it_is_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    printing.accept_any_text()
    printing.echo_data("postgresql://app:word@host")
    with pytest.raises(PgstackError, match="has a character that ascii, the encoding of stdout, lacks") as refusal:
        printing.echo_data("postgresql://app:wörd@host")
    assert "rd@" not in str(refusal.value)
    assert raw.getvalue() == b"postgresql://app:word@host\n"

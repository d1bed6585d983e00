"""What can't be undone is done only where the stack's name was typed, and says so without a traceback."""

from __future__ import annotations

import io
import sys

import pytest

from pgvector_stacks.cli.confirm import require_typed_name
from pgvector_stacks.common.errors import PgstackError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def asked(typed: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    require_typed_name("dev", "all of dev goes", None, "--yes", said.append)
    return said


def test_the_name_has_to_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked("dev\n", monkeypatch) == ["all of dev goes"]
    for wrong in ("", "production\n", "y\n"):  # "": the terminal was closed
        with pytest.raises(PgstackError, match="is not dev: nothing was done"):
            asked(wrong, monkeypatch)


def test_where_nobody_can_be_asked_the_flag_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(PgstackError, match=r"all of dev goes: its name has to be typed\n .*:  --yes"):
        require_typed_name("dev", "all of dev goes", None, "--yes", print)
    require_typed_name("dev", "all of dev goes", "dev", "--yes", print)

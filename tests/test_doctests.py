"""The examples in docstrings say what the code does."""

from __future__ import annotations

import doctest
import importlib

import pytest

from pgvector_stacks.config.environment import ROOT

EXAMPLES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in ("pgvector_stacks", "components")
    for file in (ROOT / folder).rglob("*.py")
    if ">>> " in file.read_text()
)


@pytest.mark.parametrize("module", EXAMPLES)
def test_the_examples_of_a_module_come_out_as_they_say(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert found.failed == 0

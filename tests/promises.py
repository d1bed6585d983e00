"""The table of promises, `docs/promises.md`, from the tests' `promise` markers. `make promises` writes it.

    @pytest.mark.promise("After kill -9 at any moment of an `up` the database has the old revision or the new one")

The sources are read, not collected: a test that is skipped on this machine guards its promise elsewhere.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
TABLE = TESTS.parent / "docs" / "promises.md"
HEAD = """# Promises

What the product promises, and the test that guards it. Written by `make promises` from the tests' `promise` markers.

| promise | test |
|---|---|
"""


@dataclass(frozen=True, slots=True)
class Promise:
    sentence: str
    test: str


def marked(source: str, path: str) -> Iterator[Promise]:
    """Those of one file. Raises ValueError where a marker's sentence isn't written out as text.

    >>> list(marked('@pytest.mark.promise("Rows stay")\\ndef test_rows(): ...', "tests/test_a.py"))
    [Promise(sentence='Rows stay', test='tests/test_a.py::test_rows')]
    """
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in function.decorator_list:
            if not (isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.promise"):
                continue
            match decorator.args:
                case [ast.Constant(value=str(sentence))] if "|" not in sentence:
                    yield Promise(sentence, f"{path}::{function.name}")
                case _:
                    raise ValueError(f"{path}::{function.name}: a promise is one sentence, written out, without |")


def found() -> list[Promise]:
    """Those of all tests, by folder and file."""
    files = sorted(TESTS.rglob("test_*.py"))
    return [each for file in files for each in marked(file.read_text(), str(file.relative_to(TESTS.parent)))]


def table(promises: list[Promise]) -> str:
    return HEAD + "".join(f"| {each.sentence} | `{each.test}` |\n" for each in promises)


if __name__ == "__main__":
    TABLE.write_text(table(found()))
    sys.stdout.write(f"{TABLE.relative_to(TESTS.parent)}: {len(found())} promises\n")

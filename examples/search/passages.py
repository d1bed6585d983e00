"""Collects real text that is on every machine: the documentation strings of Python's standard library.

Reads the sources and never imports them, so nothing runs and nothing is missing for want of a module. The same Python
gives the same passages in the same order.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SHORTEST, LONGEST = 40, 500  # characters: below, a phrase; above, more than one thing is said
# Not about writing programs, or gone from newer Pythons, or hundreds of near-identical methods.
LEFT_OUT = frozenset(
    {"antigravity", "distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "this", "tkinter",
     "turtle", "turtledemo"}
)  # fmt: skip
# Modules written in C keep their documentation in a twin written in Python; other private modules are left out.
PUBLIC_NAMES = {
    "_collections_abc": "collections.abc", "_pydatetime": "datetime", "_pydecimal": "decimal", "_pyio": "io",
    "_strptime": "time",
}  # fmt: skip
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Passage:
    """What one documentation string says first. `title`: module.qualname, as in `gzip.GzipFile.write`."""

    title: str
    content: str

    @property
    def embedded_text(self) -> str:
        """What the model reads: the content alone often doesn't say what it is about."""
        return f"{self.title}: {self.content}"

    @property
    def first_line(self) -> str:
        return self.content.split("\n", 1)[0]


def standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def collect(root: Path) -> list[Passage]:
    """The passages of all public modules, classes and functions below `root`, without repetitions. Some 3 s."""
    seen: set[str] = set()
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] not in sys.stdlib_module_names or LEFT_OUT & set(parts) or {"test", "tests"} & set(parts):
            continue
        if parts[-1] == "__init__":
            parts = parts[:-1]
        parts = (PUBLIC_NAMES.get(parts[0], parts[0]), *parts[1:])
        if any(part.startswith("_") for part in parts):
            continue
        module = ".".join(parts)
        for passage in of_module(module, path.read_bytes()):
            same = " ".join(passage.content.casefold().split())
            if same not in seen:
                seen.add(same)
                found.append(passage)
    return found


def of_module(module: str, source: bytes) -> Iterator[Passage]:
    """The passages of one source file, from top to bottom; none where it is no valid Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the style of what is read
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for title, node in documented(tree, module):
        if content := beginning(ast.get_docstring(node) or ""):
            yield Passage(title, content)


def documented(node: Documented, title: str) -> Iterator[tuple[str, Documented]]:
    """The node and, below it, public classes and functions (also those defined in an `if` or a `try`)."""
    yield title, node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    inside: list[ast.AST] = list(node.body)
    while inside:
        child = inside.pop(0)
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not child.name.startswith("_"):
                yield from documented(child, f"{title}.{child.name}")
        elif isinstance(child, ast.If | ast.Try):
            inside[:0] = ast.iter_child_nodes(child)


def beginning(text: str) -> str:
    """The first paragraphs that fit into LONGEST characters together; "" where there is too little or too much.

    >>> beginning("Too short.")
    ''
    """
    paragraphs = [stripped for paragraph in text.split("\n\n") if (stripped := paragraph.strip())]
    while paragraphs and len("\n\n".join(paragraphs)) > LONGEST:
        paragraphs.pop()
    chosen = "\n\n".join(paragraphs)
    return chosen if len(chosen) >= SHORTEST and "\0" not in chosen else ""


def corpus_hash(passages: Iterable[Passage], *more: str) -> str:
    """16 hex digits that change with any passage, their order, or `more` (what else decides the vectors)."""
    digest = hashlib.sha256("\0".join(more).encode())
    for passage in passages:
        digest.update(f"\1{passage.title}\0{passage.content}".encode())
    return digest.hexdigest()[:16]


def hold_out(passages: Sequence[Passage], count: int) -> tuple[list[Passage], list[Passage]]:
    """(to load, held out): `count` passages, evenly spread, are kept back to ask the index with.

    Methods only: a module's or a class's own text is what a user's query should find.
    """
    methods = [index for index, passage in enumerate(passages) if passage.title.count(".") >= 2]
    step = max(1, len(methods) // count)
    kept_back = set(methods[step // 2 :: step][:count])
    return (
        [passage for index, passage in enumerate(passages) if index not in kept_back],
        [passages[index] for index in sorted(kept_back)],
    )

"""Pieces are what PostgreSQL's own scanner makes of the whole text, wherever they end: hashes are stored in ledgers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pglast.parser import ParseError, scan

from pgvector_stacks.common.errors import ScriptError
from pgvector_stacks.common.plain_text import safe
from pgvector_stacks.config.environment import ROOT
from pgvector_stacks.migrations.lexing import tokens
from pgvector_stacks.migrations.lexing.lexing import COMMENTS, Token, read, split, split_statements
from pgvector_stacks.migrations.lexing.positions import excerpt, line_and_column
from pgvector_stacks.migrations.scripts.script_files import normalise

EXAMPLES = int(os.environ.get("PGSTACK_TEXTS", "300"))
FRAGMENTS = st.sampled_from(
    [
        "'",
        "''",
        '"',
        '""',
        "$$",
        "$a$",
        "$b$",
        "$1",
        "$",
        "E'",
        "e'",
        "U&'",
        'U&"',
        "n'",
        "x'",
        "b'",
        "\\",
        "\\'",
        "\\.",
        "--",
        "---",
        "/*",
        "*/",
        "+",
        "-",
        "*",
        "/",
        "=",
        ":=",
        "::",
        ":",
        ".",
        "..",
        "...",
        ",",
        ";",
        "(",
        ")",
        "[",
        "]",
        "<",
        ">",
        "|",
        "!",
        "a",
        "A",
        "a1",
        "_x",
        "é",
        "😀",
        "\ufeff",
        "\x85",
        "\u2028",
        "E",
        "U",
        "u&",
        "1",
        "12",
        "1.5",
        "1.",
        ".5",
        "1e5",
        "1e",
        "0x1F",
        "1_000",
        "1a",
        "007",
        "null",
        "select",
        "begin",
        "atomic",
        "case",
        "end",
        "'a'",
        "'it''s'",
        "'a\\b'",
        '"a"',
        '"a""b"',
        "'é'",
        "(1,'x')",
        "),\n(1,",
        ";\n",
        ",\n",
        "'a'\n'b'",
        "'a'--c\n'b'",
        "'a'\x0c\n'b'",
        "'a'--",
        "--c\n",
        "/*c*/",
        "insert",
        "values",
        "$f$\nselect",
        "';';\n$f$",
        "'('",
        "')'",
        "';'",
        "'a'::text",
        "app.t",
        "t.*",
        "a=1",
        "a=-1",
        "-1",
        "--1",
        "@-",
        "<->",
        "'a'b",
        "a'b'",
        'a"b"',
        "1'a'",
        "",
    ]
)
GAPS = st.sampled_from(
    ["", "", " ", "\n", "\t", "\r", "\f", "\v", "\xa0", "  \n ", "--c\n", "-- ';\n", "/* ; */", "\n-"]
)
TEXTS = st.lists(st.tuples(FRAGMENTS, GAPS), max_size=25).map(lambda parts: "".join(chain.from_iterable(parts)))
WINDOWS = st.sampled_from([1, 2, 5, 16, 1000])


def whole(text: str) -> list[Token] | tuple[str, int]:
    """What pglast makes of it at once: the tokens, or the error and its offset."""
    try:
        return [Token(name, start, last + 1) for start, last, name, _ in scan(text)]
    except ParseError as error:
        return str(error.args[0]), int(error.args[1])


@pytest.fixture
def windows() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@settings(max_examples=EXAMPLES, deadline=None, print_blob=True)
@given(TEXTS, WINDOWS, WINDOWS)
@example("'a'\n'b',1", 1, 5)
@example("select 1;select 'never closed", 5, 5)
@example("(1,2),(3,E'a\\'b'),(4,'é')", 2, 16)
@example("a'b'", 1000, 1000)
@example(";commit", 1, 1)
def test_pieces_are_what_the_scanner_makes_of_the_whole(text: str, window: int, plain: int) -> None:
    expected = whole(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "WINDOW", window)
        patch.setattr(tokens, "PLAIN_WINDOW", plain)
        if isinstance(expected, tuple):
            message, offset = expected
            line, column = line_and_column(text, offset)
            for reader in (tokens.pieces, tokens.token_texts):
                with pytest.raises(ScriptError) as refused:
                    list(reader(text, "x"))
                told = f"x:{line}:{column}: {message}\n{excerpt(text, line, column)}\n"
                assert str(refused.value).startswith(safe(told))
            return
        code = [token for token in expected if token.name not in COMMENTS]
        assert list(chain.from_iterable(tokens.pieces(text))) == expected
        assert list(chain.from_iterable(tokens.token_texts(text))) == [text[token.start : token.end] for token in code]
        reading = read(text, "x", {})
        assert reading.normalised == normalise(text, expected)
        assert reading.empty == all(token.name == "ASCII_59" for token in code)
        found = list(split(text))
        assert found == list(split_statements(text, expected))
        openers = {text[each.head[0].start : each.head[0].end].lower() for each in found}
        assert openers <= reading.openers
        for each in found:
            assert each.tokens == tuple(token for token in code if each.start <= token.start < each.end)
            assert each.tokens[:4] == each.head


@given(st.text(alphabet="a \t\n\r\f\v\x85\u2028\u2029é\x1b", max_size=30), st.data())
@example("CREATE TABLE a (id int,\n  b int\n", None)
def test_the_line_shown_is_the_line_named(text: str, data: st.DataObject | None) -> None:
    offset = data.draw(st.integers(0, len(text) + 1)) if data else len(text)
    line, column = line_and_column(text, offset)
    content = text.split("\n")[line - 1]
    first, second = excerpt(text, line, column).split("\n")
    assert first == f"  {line} | " + "".join(one if one.isprintable() else " " for one in content)
    assert second.index("^") - len(f"  {line} | ") == column - 1
    if offset < len(text):
        assert (content + "\n")[column - 1] == text[offset]
    else:
        assert text[sum(map(len, text.split("\n")[:line])) + line - 1 :].strip() == ""


LIBRARY = ROOT / "pgvector_stacks"
SOURCES = [path for pattern in ("**/*.sql", "**/*.sh", "migrations/**/*.py") for path in LIBRARY.glob(pattern)]


def test_the_hashes_of_this_repositorys_scripts_are_those_of_the_whole(windows: pytest.MonkeyPatch) -> None:
    windows.setattr(tokens, "WINDOW", 64)
    for path in SOURCES:
        text = path.read_text()
        found = whole(text)
        if isinstance(found, list):
            code = [text[token.start : token.end] for token in found if token.name not in COMMENTS]
            while code and code[-1] == ";":
                code.pop()
            assert read(text, "x", {}).normalised == hashlib.sha256("\0".join(code).encode()).hexdigest(), path


MEASURE = """
import resource, sys
from pgvector_stacks.migrations.scripts.script_files import parse
def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
parse("a.sql", "select E'a'", "")
before, text = most(), open(sys.argv[1]).read()
script = parse("a.sql", text, "")
print(most() - before, sum(1 for _ in script.statements))
"""
ROWS = ",\n".join(f"({i},{i % 97},'row {i}',{i}.5)" for i in range(1000))
BODY = "CREATE FUNCTION f() RETURNS int AS $$" + " BEGIN x; END;\n" * 50_000 + "$$ LANGUAGE plpgsql;"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"INSERT INTO big VALUES {ROWS};\n" * 25 + BODY, 26),
        (f"INSERT INTO big VALUES {','.join([ROWS] * 25)} ON CONFLICT DO NOTHING", 1),
    ],
)
def test_reading_takes_memory_of_the_order_of_the_file(text: str, count: int, tmp_path: Path) -> None:
    """A tuple a token took 125 bytes for each byte of the file: 2.5 GB for 20 MB."""
    file = tmp_path / "large.sql"
    file.write_text(text)
    done = subprocess.run([sys.executable, "-c", MEASURE, file], capture_output=True, text=True, check=True, cwd=ROOT)
    taken, found = map(int, done.stdout.split())
    assert found == count
    assert taken < 8_000_000 + 6 * len(text)

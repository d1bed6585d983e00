"""Reads the listed SQL scripts from disk, and refuses those that could not be applied as a whole.

No check here needs a server, so a mistake shows in the preview of a pull request whose runner can't reach a database.
All mistakes are reported at once.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from itertools import chain
from pathlib import Path

from pgvector_stacks.common.errors import ScriptError, shorten_list, suggest_nearest
from pgvector_stacks.migrations.lexing import lexing, psql_only
from pgvector_stacks.migrations.lexing.lexing import COMMENTS, Statement, Token
from pgvector_stacks.migrations.lexing.positions import excerpt, line_and_column
from pgvector_stacks.migrations.lexing.tokens import pieces
from pgvector_stacks.migrations.scripts.script_cache import ScriptCache

HEADER = re.compile(r"^--[ \t]*pgstack:[ \t]*(?P<directive>\S+)[ \t]*(?P<value>.*?)[ \t]*$")
# Comments that were meant as headers: misspelt at the top of a script, or further down
NEARLY_A_HEADER = re.compile(r"(?:--+|/\*+)[ \t]*pgstack[ \t]*:", re.IGNORECASE)
LATE_HEADER = re.compile(
    r"^[ \t]*(--[ \t]*pgstack:[ \t]*(?:no-transaction|repeatable|statement-timeout)\b)", re.MULTILINE
)
DIRECTIVES = ("no-transaction", "repeatable", "statement-timeout")
MOST_SUGGESTIONS, MOST_MISSING = 5, 20
UNPRINTED = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
# Names meant as scripts, in another case or with another ending; not an editor's own files (x.sql~, x.sql.bak, .#x.sql)
LOOKS_LIKE_SQL = re.compile(r"\.(?:sql|psql|pgsql|plpgsql|ddl|dml)(?:\.txt)?$", re.IGNORECASE)
NO_FOLDERS = frozenset({".git", ".ipynb_checkpoints", "__pycache__"})
# pg_dump has written these lines since August 2025 (CVE-2025-8714); only psql understands them.
RESTRICT = re.compile(r"^\\(un)?restrict\b[^\n]*$", re.MULTILINE)
TRANSACTION_CONTROL = {"COMMIT", "ROLLBACK", "BEGIN", "START", "END", "ABORT", "SAVEPOINT", "RELEASE"}
# A script is checked statement by statement only if it has one of these words or matches one of the QUESTIONS.
OPENERS = {word.lower() for word in TRANSACTION_CONTROL | {"PREPARE"}}
QUESTIONS = {
    "a command of psql": re.compile(r"\0\\\0"),
    "inline data": re.compile(r"\0from\0stdin\0"),
}


@dataclass(frozen=True)
class Script:
    """One SQL file: its name below `sql/` (with `/`), its text as `prepare_text` returns it, and its two hashes.

    `sha256` is over the bytes on disk, `normalised` over the tokens: without comments and white space, with constants.
    """

    name: str
    text: str
    sha256: str
    normalised: str
    no_transaction: bool = False
    repeatable: bool = False
    statement_timeout_s: float | None = None

    @property
    def path(self) -> str:
        """The path from the top of the checkout, as messages name it."""
        return f"sql/{self.name}"

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        return tuple(lexing.split(self.text, self.path))


def load(
    root: Path, entries: Sequence[str], *, listed_elsewhere: Iterable[str] = (), cache: Path | None = None
) -> tuple[Script, ...]:
    """Return the scripts that `entries` (names or globs below `root`) list, in order.

    `listed_elsewhere`: entries of other environments; a file that only these list is not reported as unlisted.
    `cache`: the file of the ScriptCache.
    Raises ScriptError with every mistake found, or at once where a link leads out of `root`.
    """
    problems: list[str] = []
    on_disk, strays = _on_disk(root)
    names = _resolve(root, entries, on_disk, problems)
    orphans = on_disk - set(names)
    if orphans:
        orphans -= set(_resolve(root, listed_elsewhere, on_disk, None))
    if orphans:
        problems.append(
            f"no environment lists {shorten_list([f'sql/{name}' for name in sorted(orphans)])}\n"
            "  add it to pgvector:scripts in a stack file, at its place in the order, or delete the file"
        )
    if strays:
        problems.append(
            f"nothing runs {shorten_list([f'sql/{name}' for name in strays])}\n"
            "  a script's name ends with .sql, in lower case, and begins with no dot: rename it, or delete it"
        )
    scripts = []
    remembered = ScriptCache(cache)
    for name in names:
        try:
            scripts.append(read(root, name, remembered))
        except ScriptError as error:
            problems.append(str(error))
    remembered.save()
    if problems:
        raise ScriptError("\n".join(problems))
    return tuple(scripts)


def load_verify(root: Path, *, cache: Path | None = None) -> tuple[Script, ...]:
    """Return the verify scripts in `root/verify` and below, sorted by path. `cache`: as for `load`.

    Raises ScriptError.
    """
    remembered = ScriptCache(cache)
    names = sorted(name for name in _inside(root, "verify") if name.endswith(".sql"))
    found = tuple(read(root, name, remembered) for name in names if not _hidden(name))
    remembered.save()
    headed = [script.path for script in found if script.repeatable or script.no_transaction]
    if headed:
        raise ScriptError(
            f"{', '.join(headed)}: a verify script is undone as a whole: it can't have the header no-transaction or"
            " repeatable"
            "\n  take the header out"
        )
    return found


def _on_disk(root: Path) -> tuple[set[str], list[str]]:
    """Return the names of all scripts below `root`, except in the reserved folders, and of files meant as scripts."""
    scripts: set[str] = set()
    strays: list[str] = []
    for name in _inside(root):
        top, _, rest = name.partition("/")
        if rest and top == "queries":
            continue
        if name.endswith(".sql") and not _hidden(name):
            if not (rest and top == "verify"):
                scripts.add(name)
        elif LOOKS_LIKE_SQL.search(name) and not name.rpartition("/")[2].startswith((".#", "._")):
            strays.append(name)
    return scripts, sorted(strays)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _inside(root: Path, folder: str = "") -> list[str]:
    """Return every file below the folder. Raises ScriptError where a link leads out of `root`, because a preview would
    show the content of its target.
    """
    leaving: list[str] = []
    names = list(_files(root, leaving, folder))
    for name in names:
        if UNPRINTED.search(name):
            raise ScriptError(f"sql/{name!r}: a name with a line break or a control character\n  rename the file")
    if leaving:
        raise ScriptError(
            "\n".join(
                f"sql/{name} is a link that leads out of sql/\n  put the file itself there, or delete the link"
                for name in sorted(leaving)
            )
        )
    return names


def _files(
    root: Path, leaving: list[str], folder: str = "", above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[str]:
    """Yield every file below the folder, hidden files and targets of links included. Without pathlib, for speed.

    `above`: the folders that contain this one; a link back to one of them is not followed. Nor is a link that leads out
    of `root`: if it may be meant as a script or folder, its name is added to `leaving`.
    """
    place = os.path.join(root, folder)  # noqa: PTH118
    try:
        found = os.stat(place)  # noqa: PTH116
        entries = list(os.scandir(place))
    except OSError:  # the folder is missing, or we may not read it
        return
    here = (found.st_dev, found.st_ino)
    if here in above:
        return
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(root.resolve()):
            if not _hidden(name) and (entry.is_dir() or LOOKS_LIKE_SQL.search(name)):
                leaving.append(name)
        elif entry.is_file():
            yield name
        elif entry.is_dir() and entry.name not in NO_FOLDERS:
            yield from _files(root, leaving, name, above | {here})


def _resolve(root: Path, entries: Iterable[str], on_disk: set[str], problems_found: list[str] | None) -> list[str]:
    """Return the files that `entries` name, in order. Problems are added to `problems_found` unless it is None."""
    problems: list[str] = []
    names: list[str] = []
    seen: set[str] = set()
    missing: list[str] = []
    for entry in entries:
        if entry.startswith("/") or ".." in Path(entry).parts:
            problems.append(f"scripts: {entry!r} lies outside sql/; name files below sql/, without `..`")
            continue
        if any(character in entry for character in "*?["):
            found = (name.replace(os.sep, "/") for name in glob(entry, root_dir=root, recursive=True))  # noqa: PTH207
            matches = sorted(name for name in found if name in on_disk)
            if not matches:
                problems.append(f"scripts: the pattern {entry!r} matches no file below sql/")
            names += [match for match in matches if match not in seen]
            seen.update(matches)
        elif entry in seen:
            problems.append(f"scripts: {entry!r} is listed twice; a script runs once: remove one of the two")
        elif entry not in on_disk:
            missing.append(entry)
        else:
            names.append(entry)
            seen.add(entry)
    if problems_found is not None:
        problems_found += [*problems, *_do_not_exist(missing, on_disk)]
    return names


def _do_not_exist(missing: Sequence[str], on_disk: set[str]) -> list[str]:
    """Return a line for each of the first missing files. Only a few get a suggestion, which compares all files."""
    problems_found = [
        f"scripts: sql/{entry} does not exist{suggest_nearest(entry, on_disk) if number < MOST_SUGGESTIONS else ''}"
        for number, entry in enumerate(missing[:MOST_MISSING])
    ]
    if len(missing) > MOST_MISSING:
        problems_found.append(f"scripts: {len(missing) - MOST_MISSING} more listed files do not exist below sql/")
    return problems_found


def read(root: Path, name: str, remembered: ScriptCache | None = None) -> Script:
    """Read and check one file. Raises ScriptError."""
    path = f"sql/{name}"
    with open(f"{root}{os.sep}{name}", "rb") as file:  # noqa: PTH123, as in _on_disk
        raw = file.read()
    sha256 = hashlib.sha256(raw).hexdigest()
    if remembered and (facts := remembered.get(sha256)):
        return Script(name, prepare_text(raw.decode("utf-8-sig")), sha256, *facts)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        is_utf16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
        what = "UTF-16, as PowerShell writes it, and not UTF-8" if is_utf16 else "not UTF-8"
        raise ScriptError(
            f"{path}:{line}: {what} (byte 0x{raw[error.start]:02x})\n"
            f"  convert it:  iconv -f {'UTF-16' if is_utf16 else 'WINDOWS-1252'} -t UTF-8 {path}"
        ) from None
    script = parse(name, text, sha256)
    if remembered:
        remembered.put(
            sha256, (script.normalised, script.no_transaction, script.repeatable, script.statement_timeout_s)
        )
    return script


def prepare_text(text: str) -> str:
    """Replace CRLF by LF and blank pg_dump's \\restrict lines. The numbers of the lines do not change."""
    text = text.replace("\r\n", "\n")
    return RESTRICT.sub(lambda match: " " * len(match[0]), text) if "restrict" in text else text


def parse(name: str, text: str, sha256: str) -> Script:
    """Check a script's text, which has no BOM any more, and hash it.

    Raises ScriptError.
    """
    path = f"sql/{name}"
    if "\x00" in text:
        line = text[: text.index("\x00")].count("\n") + 1
        raise ScriptError(f"{path}:{line}: a NUL byte; is this a text file? (save it as UTF-8, not UTF-16)")
    text = prepare_text(text)
    try:
        reading = lexing.read(text, path, QUESTIONS)
    except ScriptError as unreadable:
        raise psql_only.explain_unreadable(path, text) or unreadable from None
    if reading.empty:
        raise ScriptError(f"{path}: holds no statement; write it or take it off the list")
    directives = _directives(path, text)
    script = Script(
        name=name,
        text=text,
        sha256=sha256,
        normalised=reading.normalised,
        no_transaction="no-transaction" in directives,
        repeatable="repeatable" in directives,
        statement_timeout_s=_seconds(path, directives.get("statement-timeout")),
    )
    if script.no_transaction and script.repeatable:
        raise ScriptError(f"{path}: `no-transaction` and `repeatable` exclude each other; keep one")
    if script.no_transaction or reading.neighbours or not OPENERS.isdisjoint(reading.openers):
        for statement in lexing.split(text, path):
            psql_only.refuse(path, text, statement)
            if not script.no_transaction:
                _refuse_transaction_control(path, text, statement)
    return script


def normalise(text: str, found: list[Token]) -> str:
    """Return the SHA-256 over the tokens, without comments, white space and a last semicolon. Constants count."""
    words = [text[start:end] for name, start, end in found if name not in COMMENTS]
    while words and words[-1] == ";":
        words.pop()
    return hashlib.sha256("\x00".join(words).encode()).hexdigest()


def revision(normalised: Iterable[tuple[str, str]]) -> str:
    """Return the schema revision: 12 hex digits over (name, normalised hash) of the scripts in their order.

    Without scripts it is "empty".
    """
    lines = [f"{name} {digest}\n" for name, digest in normalised]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12] if lines else "empty"


def _directives(path: str, text: str) -> dict[str, str]:
    """Return the headers and their values. Raises ScriptError for an unknown, misspelt or misplaced header, which would
    otherwise be ignored without notice.
    """
    directives: dict[str, str] = {}
    if "pgstack" not in text.lower():
        return directives
    first = len(text)
    for token in chain.from_iterable(pieces(text, path)):
        if token.name not in COMMENTS:
            first = token.start
            break
        written = text[token.start : token.end]
        match = HEADER.match(written)
        if match is None and NEARLY_A_HEADER.match(written):
            raise _refused(path, text, token.start, "a header is written so:  -- pgstack: no-transaction")
        if match is None:
            continue
        word, value = match["directive"], match["value"]
        if word not in DIRECTIVES:
            raise _refused(path, text, token.start, f"unknown header {word!r}{suggest_nearest(word, DIRECTIVES)}")
        if value and word != "statement-timeout":
            raise _refused(path, text, token.start, f"{word} takes no value; each header has a line of its own")
        directives[word] = value
    for late in LATE_HEADER.finditer(text, first):
        if lexing.is_whole(text[: late.start(1)]):
            raise _refused(path, text, late.start(1), "a header belongs at the top, before the first statement")
    return directives


def _refused(path: str, text: str, place: int, why: str) -> ScriptError:
    line, column = line_and_column(text, place)
    return ScriptError(
        f"{path}:{line}:{column}: {why}\n{excerpt(text, line, column)}\n  allowed: {', '.join(DIRECTIVES)}"
    )


def _seconds(path: str, value: str | None) -> float | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h)", value)
    if match is None:
        raise ScriptError(f"{path}: statement-timeout {value!r} is no duration; write 500ms, 90s, 30min or 2h")
    return float(match[1]) * {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}[match[2]]


def _refuse_transaction_control(path: str, text: str, statement: Statement) -> None:
    words = statement.words(text, 2)
    controls = words[0] in TRANSACTION_CONTROL or words == ["PREPARE", "TRANSACTION"]
    if not controls:
        return
    line, column = line_and_column(text, statement.start)
    raise ScriptError(
        f"{path}:{line}:{column}: {' '.join(words[:1])} inside a script: all pending scripts commit together, "
        "or not at all\n"
        f"{excerpt(text, line, column)}\n"
        "  remove it; or head the script with  -- pgstack: no-transaction : then each statement commits on its own,\n"
        "  and BEGIN … COMMIT in it is one transaction"
    )

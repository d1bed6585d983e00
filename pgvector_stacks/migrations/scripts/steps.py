"""Cuts a no-transaction script into steps. A step is what commits together, with one record. Pure.

A step is one statement, or BEGIN … COMMIT (or ROLLBACK) as the script has it. A temporary object ends with its session,
and a rerun has another session. So the statements from the one that creates a temporary object outside of
BEGIN … COMMIT to the last one that uses it are one step, too. A rerun repeats statements that only set the session
(SET, PREPARE …): see step_settings.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pgvector_stacks.migrations.lexing.lexing import Token, excerpt, line_and_column
from pgvector_stacks.migrations.scripts.script_files import Script

Control = Literal["begin", "commit", "rollback", "savepoint", "rollback to", "release", "unsupported"]
SESSION = frozenset({"SET", "RESET", "PREPARE", "DEALLOCATE", "LISTEN", "UNLISTEN", "LOAD", "DISCARD"})
OF_THE_TRANSACTION = frozenset({"LOCAL", "CONSTRAINTS", "TRANSACTION"})  # SET LOCAL …
SETTING_CALLS = re.compile(
    r"(set_config|setseed|pg_(try_)?advisory_(lock(_shared)?|unlock(_shared|_all)?))", re.IGNORECASE
)
ROWS_ONLY = frozenset({
    "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "VALUES", "TABLE", "ANALYZE", "ANALYSE", "VACUUM", "LOCK",
    "NOTIFY", "CHECKPOINT", "REFRESH", "EXPLAIN", "DECLARE", "FETCH", "MOVE", "CLOSE", "SAVEPOINT", "RELEASE",
    "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "REINDEX",
})  # fmt: skip
TEMPORARY = frozenset({"TEMP", "TEMPORARY"})
BEFORE_TEMP = frozenset({"CREATE", "OR", "REPLACE", "LOCAL", "GLOBAL"})  # after other words TEMP is a name: (temp int)
CONSTANT = frozenset(
    {"SCONST", "ICONST", "FCONST", "TRUE_P", "FALSE_P", "NULL_P", "ASCII_40", "ASCII_41", "ASCII_44", "ASCII_45"}
)
MADE_IN_A_BODY = re.compile(
    r"\bcreate\s+(?:or\s+replace\s+)?(?:local\s+|global\s+)?temp(?:orary)?\s+(?:recursive\s+)?(?:table|view|sequence)"
    r"\s+(?:if\s+not\s+exists\s+)?\"?(\w+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Step:
    """Statements `first` to `last` (0-based) of a script, which commit together."""

    first: int
    last: int
    kind: Literal["statement", "block", "undone block", "temporary"] = "statement"

    @property
    def numbers(self) -> range:
        return range(self.first, self.last + 1)


def split_into_steps(script: Script) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """Return the steps of a script, and a message (with line and advice) for each part that can't be one step."""
    problems: list[str] = []
    steps = _with_temporary(script, _blocks(script, problems), problems)
    return tuple(steps), tuple(problems)


def find_transaction_command(words: Sequence[str]) -> Control | None:
    """Return what the statement that begins with these upper-case words does to the transaction; None for nothing."""
    first, second = words[0], words[1] if len(words) > 1 else ""
    if first == "BEGIN" or (first, second) == ("START", "TRANSACTION"):
        return "begin"
    if (first, second) == ("PREPARE", "TRANSACTION"):
        return "unsupported"
    if first in ("COMMIT", "END", "ROLLBACK", "ABORT"):
        chained = any(pair == ("AND", "CHAIN") for pair in pairwise(words))
        if second == "PREPARED" or chained:
            return "unsupported"
        if first in ("COMMIT", "END"):
            return "commit"
        return "rollback to" if "TO" in words[1:3] else "rollback"
    kinds: dict[str, Control] = {"SAVEPOINT": "savepoint", "RELEASE": "release"}
    return kinds.get(first)


def _blocks(script: Script, problems: list[str]) -> list[Step]:
    steps: list[Step] = []
    begun: int | None = None
    for number in range(len(script.statements)):
        kind = find_transaction_command(first_words(script, number, 6))
        if kind == "unsupported":
            problems.append(
                _format_problem(
                    script, number, "can't be recorded together with what it commits", "write BEGIN; … COMMIT;"
                )
            )
        elif kind == "begin" and begun is not None:
            problems.append(_format_problem(script, number, "inside BEGIN … COMMIT", "end the first one before"))
        elif kind == "begin":
            begun = number
        elif kind is not None and begun is None:
            problems.append(
                _format_problem(script, number, "without BEGIN", "write BEGIN; where its transaction starts")
            )
        elif kind in ("commit", "rollback") and begun is not None:
            steps.append(Step(begun, number, "block" if kind == "commit" else "undone block"))
            begun = None
        elif begun is None:
            steps.append(Step(number, number))
    if begun is not None:
        problems.append(_format_problem(script, begun, "is never ended", "write COMMIT; where its transaction ends"))
    return steps


def _format_problem(script: Script, number: int, what: str, advice: str) -> str:
    line, column = line_and_column(script.text, script.statements[number].start)
    first = " ".join(first_words(script, number, 2 if first_words(script, number)[0] in ("PREPARE", "START") else 1))
    return f"{script.path}:{line}:{column}: {first} {what}\n{excerpt(script.text, line, column)}\n  {advice}"


def _with_temporary(script: Script, units: list[Step], problems: list[str]) -> list[Step]:
    """Return the steps, with those that share a temporary object joined into one."""
    if not re.search(r"temp|declare", script.text, re.IGNORECASE):
        return units
    made_in: dict[str, int] = {}  # by name of a temporary object that exists, the unit that created it
    joined: list[tuple[int, int]] = []
    for place, unit in enumerate(units):
        for number in unit.numbers:
            upper = first_words(script, number)
            used = _mentioned(script, number, made_in) if made_in else set()
            joined += [(made_in[name], place) for name in used if made_in[name] != place]
            if upper[0] in ("DROP", "CLOSE"):
                made_in = {name: where for name, where in made_in.items() if name not in used}
            elif upper[0] == "DISCARD" and upper[1:] and upper[1] in {"ALL", *TEMPORARY}:
                made_in = {}
            for name in _made(script, number, renaming=bool(used)):
                made_in.setdefault(name, place)
        if unit.kind == "undone block":
            made_in = {name: where for name, where in made_in.items() if where != place}
    return _joined(script, units, joined, problems)


def _joined(script: Script, units: list[Step], spans: list[tuple[int, int]], problems: list[str]) -> list[Step]:
    steps: list[Step] = []
    place = 0
    while place < len(units):
        end = place
        for start, stop in sorted(spans):
            if place <= start <= end < stop:
                end = stop
        inside = units[place : end + 1]
        if end > place:
            apart = [unit for unit in inside if unit.kind != "statement" or runs_outside_only(script, unit.first)]
            if apart:
                problems.append(
                    _format_problem(
                        script, inside[0].first, "makes a temporary object that is used across transactions",
                        "a rerun has another session and can't have it: make and use it inside one BEGIN; … COMMIT;\n"
                        "  or make it an ordinary table and drop it at the end",
                    )
                )  # fmt: skip
                steps += inside
            else:
                steps.append(Step(inside[0].first, inside[-1].last, "temporary"))
        else:
            steps += inside
        place = end + 1
    return steps


def _made(script: Script, number: int, *, renaming: bool) -> set[str]:
    """Return the names of temporary objects that the statement creates and that outlive its transaction."""
    tokens = script.statements[number].tokens
    upper = [script.text[token.start : token.end].upper() for token in tokens]
    if upper[0] == "DECLARE" and len(tokens) > 1:
        return {fold_identifier(script.text, tokens[1])} if "HOLD" in upper else set()
    if upper[0] == "DO":
        bodies = (script.text[token.start : token.end] for token in tokens if token.name == "SCONST")
        return {name.lower() for body in bodies for name in MADE_IN_A_BODY.findall(body)}
    if renaming and upper[0] == "ALTER":
        return {
            fold_identifier(script.text, tokens[i + 2])
            for i in range(len(upper) - 2)
            if upper[i : i + 2] == ["RENAME", "TO"]
        }
    if any(upper[i : i + 3] == ["ON", "COMMIT", "DROP"] for i in range(len(upper) - 2)):
        return set()
    names = set()
    for place, word in enumerate(upper):
        begins = upper[0] == "CREATE" and place <= 6
        if word in TEMPORARY and (
            upper[place - 1] == "INTO" or (upper[0] == "CREATE" and {*upper[:place]} <= BEFORE_TEMP)
        ):
            place += 1
            while upper[place] in ("TABLE", "VIEW", "SEQUENCE", "RECURSIVE", "IF", "NOT", "EXISTS"):
                place += 1
            names.add(
                fold_identifier(script.text, tokens[place + 2 if upper[place + 1 : place + 2] == ["."] else place])
            )
        elif word == "PG_TEMP" and upper[place + 1 : place + 2] == ["."] and (begins or upper[place - 1] == "INTO"):
            names.add(fold_identifier(script.text, tokens[place + 2]))
    return names


def _mentioned(script: Script, number: int, names: Iterable[str]) -> set[str]:
    found = set()
    wanted = set(names)
    for token in script.statements[number].tokens:
        if token.name == "SCONST":
            body = script.text[token.start : token.end].lower()
            found |= {name for name in wanted if re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", body)}
        elif (word := fold_identifier(script.text, token)) in wanted:
            found.add(word)
    return found


def fold_identifier(text: str, token: Token) -> str:
    """Return an identifier as the server stores it: without quotes, or in lower case."""
    word = text[token.start : token.end]
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()


def list_identifiers(script: Script, number: int) -> list[str]:
    """Return every identifier in a statement, those in its strings and bodies included."""
    found = set()
    for token in script.statements[number].tokens:
        if token.name == "SCONST":
            found |= set(re.findall(r"\w+", script.text[token.start : token.end].lower()))
        elif (token.name not in ("ICONST", "FCONST") and token.end - token.start > 1) or script.text[
            token.start
        ].isalpha():
            found.add(fold_identifier(script.text, token))
    return sorted(found)


def first_words(script: Script, number: int, count: int = 4) -> list[str]:
    return script.statements[number].words(script.text, count)


def runs_outside_only(script: Script, number: int) -> bool:
    """Return True if the statement's words show that it never runs in a transaction. The server has the last word."""
    upper = first_words(script, number, 40)
    if upper[0] == "VACUUM":
        return True
    return "CONCURRENTLY" in upper and upper[0] in ("CREATE", "DROP", "REINDEX", "ALTER")


def waits_beside_others(script: Script, number: int) -> bool:
    """Return True for CREATE INDEX CONCURRENTLY and the like: no session queues behind it while it waits for a lock."""
    return runs_outside_only(script, number) and first_words(script, number, 1)[0] in ("CREATE", "DROP", "REINDEX")


# COMMIT or ROLLBACK in PL/pgSQL code, in the syntax of PostgreSQL's regular expressions
COMMITS = r"\m(commit|rollback)\M(\s|/\*([^*]|\*+[^*/])*\*+/|--[^\n]*\n)*(and\M|;)"


def may_commit_inside(script: Script, number: int) -> bool:
    """Return True for a statement whose own code may commit if it runs outside of a transaction."""
    return first_words(script, number, 1)[0] in ("DO", "CALL")


def get_statement_text(script: Script, number: int) -> str:
    statement = script.statements[number]
    return script.text[statement.start : statement.end]


def only_sets_the_session(script: Script, number: int) -> bool:
    """Return True for a statement that has no effect outside of its session."""
    upper = first_words(script, number, 6)
    if upper[0] in SESSION:
        return (
            not (upper[0] == "SET" and upper[1:2] and upper[1] in OF_THE_TRANSACTION)
            and find_transaction_command(upper) is None
        )
    if upper[0] != "SELECT":
        return False
    name = 3 if upper[1:3] == ["PG_CATALOG", "."] else 1
    if not SETTING_CALLS.fullmatch("".join(upper[name : name + 1])):
        return False
    depth = 0
    tokens = script.statements[number].tokens
    if [token.name for token in tokens[name + 1 : name + 2]] != ["ASCII_40"]:
        return False
    for place, token in enumerate(tokens):  # the call must be the end of the statement
        depth += (token.name == "ASCII_40") - (token.name == "ASCII_41")
        if depth == 0 and token.name == "ASCII_41":
            return place == len(tokens) - 1
    return False


def is_repeated(script: Script, step: Step) -> bool:
    """Return True for a step that a rerun repeats, so that it needs no record of its own."""
    return (
        step.kind == "statement"
        and only_sets_the_session(script, step.first)
        and not is_computed_setting(script, step.first)
    )


def is_computed_setting(script: Script, number: int) -> bool:
    """Return True for a SELECT set_config(…) whose value is not a constant.

    Repeated, it could compute another value, or have its effects (nextval) a second time.
    """
    upper = first_words(script, number, 6)
    if "SET_CONFIG" not in upper or not only_sets_the_session(script, number):
        return False
    tokens = script.statements[number].tokens
    return not all(token.name in CONSTANT for token in tokens[upper.index("SET_CONFIG") + 1 :])


def changes_schema(script: Script, numbers: Iterable[int]) -> bool:
    """Return False if these statements change only rows or the session."""
    for number in numbers:
        upper = first_words(script, number, 1)
        if upper[0] in ROWS_ONLY or only_sets_the_session(script, number):
            continue
        if upper[0] in ("SELECT", "WITH"):
            own = script.text[script.statements[number].start : script.statements[number].end]
            if not re.search(r"\(|\binto\b", own, re.IGNORECASE) or re.match(
                r"select\s+(pg_catalog\.)?setval\s*\(", own, re.IGNORECASE
            ):
                continue
        return True
    return False

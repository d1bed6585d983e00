"""Decides how a rerun of a no-transaction script gets the settings that finished steps left in the session. Pure.

A rerun repeats the statements that only set the session. What other statements set is read and recorded when their step
commits, and set again from the record: see step_records.py. Only settings that show in the script's own text, DO blocks
included, are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pgvector_stacks.migrations.scripts import acting_code, kept_settings
from pgvector_stacks.migrations.scripts.script_files import Script
from pgvector_stacks.migrations.scripts.steps import (
    Step,
    find_transaction_command,
    first_words,
    fold_identifier,
    is_computed_setting,
    only_sets_the_session,
)

NOT_UNDONE = frozenset({"PREPARE", "DEALLOCATE", "LOAD", "SELECT"})  # a ROLLBACK leaves these as they are
ALL = "ALL"
TRUE = frozenset({"TRUE", "TRU", "TR", "T", "YES", "YE", "Y", "ON", "1"})


def list_settings_left(script: Script, numbers: Iterable[int]) -> list[str]:
    """Return the names of settings that these statements leave in the session, but that a rerun does not set by itself.

    These are set by a set_config in a statement that does more, by a set_config whose value is computed, or by SET or
    RESET in a DO block.
    """
    found: dict[str, None] = {}
    for number in numbers:
        if only_sets_the_session(script, number) and not is_computed_setting(script, number):
            continue
        own = script.text[script.statements[number].start : script.statements[number].end]
        if re.search(r"\b(re)?set(_config)?\b", own, re.IGNORECASE):
            for code in acting_code.find_in_statement(script, script.statements[number]):
                found |= dict.fromkeys(_settings(code, inner=code.text is not script.text))
    return [name for name in found if name not in ("role", "session_authorization")]


def _settings(code: acting_code.Code, *, inner: bool) -> Iterator[str]:
    for place, token in enumerate(code.tokens):
        if inner and token.name in ("SET", "RESET") and code.word(place - 1) in kept_settings.BEFORE_A_STATEMENT:
            at = place + (code.word(place + 1) == "SESSION") + 1
            name = code.name(at)
            if code.word(at + 1) == ".":
                name, at = f"{name}.{code.name(at + 2)}", at + 2
            if token.name == "RESET" or code.word(at + 1) in ("TO", "="):
                yield name
        elif code.name(place) == "set_config" and code.word(place + 1) == "(":
            content = code.content(place + 2)
            if content is not None and code.word(place + 3) == "," and _stays(code, place):
                yield content[0].strip().lower()  # in a nested string a doubled quote reads as a quote and a blank


def _stays(code: acting_code.Code, call: int) -> bool:
    """Return False if the set_config at token `call` sets its value only for the transaction (third argument true)."""
    depth = commas = 0
    for place in range(call + 2, len(code.tokens)):
        word = code.word(place)
        depth += (word in ("(", "[")) - (word in (")", "]"))
        if depth < 0:
            break
        commas += depth == 0 and word == ","
        if commas == 2:
            content = code.content(place + 1)
            return (content[0].strip().upper() if content else code.word(place + 1)) not in TRUE
    return True


def _computed_and_over(script: Script, number: int) -> bool:
    """Return True for a SELECT set_config(…) whose value is computed and ended with its transaction."""
    if not is_computed_setting(script, number):
        return False
    code = acting_code.Code(script.text, 0, script.statements[number].tokens)
    return not _stays(code, next(place for place in range(len(code.tokens)) if code.name(place) == "set_config"))


def list_repeated(
    script: Script, steps: Sequence[Step], finished: int, remembered: Mapping[int, Mapping[str, str]]
) -> list[int | tuple[str, str]]:
    """Return what sets a new session as the first `finished` statements left it, in order.

    An int is a statement to repeat, a pair is a name and a value to set. `remembered`: by the last statement of a step,
    the recorded settings, which replace the statements that computed them.
    """
    found: list[int | tuple[str, str]] = []
    for step in steps:
        if step.first >= finished:
            break
        kept = _kept(script, step, min(step.last + 1, finished))
        found += [
            number for number in kept
            if not (is_computed_setting(script, number)
                    and (step.last in remembered or _computed_and_over(script, number)))
        ]  # fmt: skip
        found += remembered.get(step.last, {}).items()
    return found


def find_fallible(script: Script, numbers: Sequence[int | tuple[str, str]]) -> set[int]:
    """Return the repeated statements that may fail: PREPARE, DEALLOCATE, and a SET that a later SET replaces.

    The objects that such a statement needs may have been dropped since. Without them, the prepared statement that it
    created would fail as well.
    """
    found = set()
    ended: set[str] = set()
    for number in reversed([number for number in numbers if isinstance(number, int)]):
        upper = [word.strip('"').upper() for word in first_words(script, number, 5)]
        if upper[0] in ("PREPARE", "DEALLOCATE"):
            found.add(number)
        elif upper[0] in ("SET", "RESET"):
            rest = upper[2 if upper[1] == "SESSION" and upper[2:3] != ["AUTHORIZATION"] else 1 :]
            name = ".".join([rest[0], *(rest[2:3] if rest[1:2] == ["."] else [])])
            if name in ended or (ALL in ended and name not in ("ROLE", "SESSION")):
                found.add(number)
            ended.add(name)
        elif upper[:2] == ["DISCARD", "ALL"]:
            ended |= {ALL, "ROLE", "SESSION"}
    return found


def _kept(script: Script, step: Step, stop: int) -> list[int]:
    kept: list[int] = []
    marks: list[tuple[str, int]] = []  # savepoints, each with the number of statements kept before it
    for number in range(step.first, stop):
        if only_sets_the_session(script, number):
            kept.append(number)
        elif step.kind in ("block", "undone block"):
            kind = find_transaction_command(first_words(script, number, 6))
            name = fold_identifier(script.text, script.statements[number].tokens[-1])
            if kind == "savepoint":
                marks.append((name, len(kept)))
            elif kind in ("release", "rollback to"):
                place = next((place for place in reversed(range(len(marks))) if marks[place][0] == name), len(marks))
                before = marks[place][1] if place < len(marks) else len(kept)
                if kind == "rollback to":
                    kept = kept[:before] + [later for later in kept[before:] if _survives(script, later)]
                del marks[place + (kind == "rollback to") :]  # ROLLBACK TO keeps its savepoint and ends the later ones
    if step.kind == "undone block":
        kept = [number for number in kept if _survives(script, number)]
    return kept


def _survives(script: Script, number: int) -> bool:
    upper = first_words(script, number, 4)
    return upper[0] in NOT_UNDONE and "SET_CONFIG" not in upper

"""Decides which scripts run. Pure: the rows of the ledger, which say what ran, are an argument.

The state lives in two places: the list in the environment (what should have run, in which order) and the ledger in
the database (what did run). Invariant: what ran is a prefix of what is listed, script by script, by normalised hash.
Anything else is refused with the script's name; nothing is ever guessed.

A repeatable script has no place in that order. It runs after all other scripts, and its place in the list may change.
It runs again after a script that drops something, since that may be an object it created, or renames or moves
something, since that may be an object that it names: its view would stay on the table under the former name. And it
runs again after a script that replaces its function or view. In a fresh database the repeatable script runs last: it
finds each name as the other scripts left it, and what it creates is as it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from pgvector_stacks.common.errors import PlanRefused
from pgvector_stacks.migrations.scripts import dialect, interrupted
from pgvector_stacks.migrations.scripts.script_files import Script, revision

Reason = Literal["new", "repeatable changed", "repeatable again", "baseline"]
NEVER = datetime.max.replace(tzinfo=UTC)
# A repeatable script creates none of the things excluded here, which belong to a table; CASCADE may drop other objects.
DROPS_OR_RENAMES = re.compile(
    r"\bcascade\b|\bdrop\b(?!\s+(?:column|constraint|not|default|identity|expression|attribute)\b)"
    r"|\brename\b(?!\s+constraint\b)|\bset\s+schema\b",
    re.IGNORECASE,
)
REPLACES = re.compile(
    r"\bcreate\s+(?:or\s+replace\s+)?(?:function|procedure|aggregate|(?:recursive\s+)?view|(?:constraint\s+)?trigger)"
    r"\s+(?:[\w$]+\s*\.\s*|\"[^\"]+\"\s*\.\s*)?\"?([\w$]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Applied:
    """A row of the ledger."""

    name: str
    position: int
    sha256: str
    normalised: str
    applied_at: datetime
    applied_by: str
    git_commit: str | None = None
    baseline: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """A script that has to run: its 1-based place in the list, and why it runs."""

    position: int
    script: Script
    reason: Reason


@dataclass(frozen=True, slots=True)
class Group:
    """Scripts that commit together. A no-transaction script is a group of its own, and commits step by step."""

    pending: tuple[Pending, ...]
    transactional: bool


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """The groups in their order, and the schema revision before and after."""

    groups: tuple[Group, ...]
    before: str
    after: str
    baseline: tuple[Pending, ...] = field(default=())
    moved: bool = False
    """a repeatable script is listed elsewhere than in the ledger, which is to have the order of the list"""

    @property
    def pending(self) -> tuple[Pending, ...]:
        return self.baseline + tuple(pending for group in self.groups for pending in group.pending)


def plan(
    scripts: Sequence[Script],
    ledger: Sequence[Applied],
    *,
    where: str,
    baseline: Sequence[str] = (),
    progress: Mapping[str, interrupted.Progress] | None = None,
) -> MigrationPlan:
    """Return the plan: which scripts run, given the listed scripts and the ledger.

    `where`: the stack, for messages. `baseline`: names of scripts to record without running. `progress`:
    how far each no-transaction script came that stopped half-way.
    Raises PlanRefused with every contradiction found.
    """
    applied = {row.name: row for row in ledger}
    listed = {script.name: script for script in scripts}
    problems = [_removed(row, where) for row in ledger if row.name not in listed]
    problems += _out_of_order(scripts, ledger, where)
    problems += [
        _edited(row, where)
        for row in ledger
        if row.name in listed and not listed[row.name].repeatable and listed[row.name].normalised != row.normalised
    ]
    problems += [
        f"pgvector:baseline names {name!r}, which pgvector:scripts does not list"
        for name in baseline
        if name not in listed
    ]
    problems += find_blocked_scripts(
        scripts, {row.name: row.normalised for row in ledger}, progress or {}, baseline, where
    )
    if problems:
        raise PlanRefused("\n".join(problems))
    pending = _pending(scripts, applied, baseline)
    return MigrationPlan(
        groups=_grouped([entry for entry in pending if entry.reason != "baseline"]),
        before=revision((row.name, row.normalised) for row in ledger),
        after=revision((script.name, script.normalised) for script in scripts),
        baseline=tuple(entry for entry in pending if entry.reason == "baseline"),
        moved=[row.name for row in ledger] != [script.name for script in scripts if script.name in applied],
    )


def find_blocked_scripts(
    scripts: Sequence[Script], applied: Mapping[str, str], progress: Mapping[str, interrupted.Progress],
    baseline: Sequence[str], where: str,
) -> list[str]:  # fmt: skip
    """Return why scripts that are to run can't begin or go on. `applied`: by name, the normalised hash of what ran."""
    to_run = [
        script
        for script in scripts
        if script.name not in baseline and (script.name not in applied or script.repeatable)
        and applied.get(script.name) != script.normalised
    ]  # fmt: skip
    found = interrupted.find_problems(scripts, applied, progress, baseline, where)
    return found + [problem for script in to_run if (problem := dialect.explain_refusal(script))]


def sort_by_run_order(scripts: Sequence[Script]) -> list[tuple[int, Script]]:
    """Return the scripts with their 1-based places in the list, sorted: the repeatable ones after all others."""
    return sorted(enumerate(scripts, start=1), key=lambda entry: entry[1].repeatable)


def _pending(scripts: Sequence[Script], applied: Mapping[str, Applied], baseline: Sequence[str]) -> list[Pending]:
    """Return the scripts that run and why, in the order in which they run.

    A repeatable script runs again if a script that drops or renames something, or replaces what it creates, ran later:
    an ordinary one, or a repeatable one listed before it. In a fresh database the repeatable script runs after both.
    """
    pending = []
    # The text of a script is searched only if it runs now, or ran later than the oldest repeatable script that ran.
    oldest = min((applied[each.name].applied_at for each in scripts if each.repeatable and each.name in applied),
                 default=NEVER)  # fmt: skip
    changed: datetime | None = None
    replaced: dict[str, datetime] = {}  # by name of a function, view or trigger, when a script last created it
    for position, script in sort_by_run_order(scripts):
        row = applied.get(script.name)
        made = _names_made(script) if script.repeatable and row is not None else set()
        since = [at for at in (changed, *(replaced.get(name) for name in made)) if at is not None]
        reason = _reason(script, row, baseline, max(since, default=None))
        if reason is not None:
            pending.append(Pending(position, script, reason))
        at = row.applied_at if row is not None and reason is None else NEVER
        if script.name in baseline or at <= oldest:
            continue
        if DROPS_OR_RENAMES.search(script.text):
            changed = max(changed or at, at)
        for name in made or _names_made(script):
            replaced[name] = max(replaced.get(name, at), at)
    return pending


def _names_made(script: Script) -> set[str]:
    """Return the names, without schema and in lower case, that the script may create or replace."""
    return {found.lower() for found in REPLACES.findall(script.text)}


def _reason(script: Script, row: Applied | None, baseline: Sequence[str], changed: datetime | None) -> Reason | None:
    if row is None:
        return "baseline" if script.name in baseline else "new"
    if script.normalised != row.normalised:
        return "repeatable changed"
    return "repeatable again" if script.repeatable and changed is not None and row.applied_at < changed else None


def _grouped(pending: Sequence[Pending]) -> tuple[Group, ...]:
    groups: list[Group] = []
    together: list[Pending] = []
    for entry in pending:
        if not entry.script.no_transaction:
            together.append(entry)
            continue
        if together:
            groups.append(Group(tuple(together), transactional=True))
        together = []
        groups.append(Group((entry,), transactional=False))
    if together:
        groups.append(Group(tuple(together), transactional=True))
    return tuple(groups)


def _out_of_order(scripts: Sequence[Script], ledger: Sequence[Applied], where: str) -> list[str]:
    scripts = [script for script in scripts if not script.repeatable]
    ran = {row.name for row in ledger}
    listed = {script.name for script in scripts}
    last = max((index for index, script in enumerate(scripts) if script.name in ran), default=-1)
    problems = [
        f"sql/{script.name} is new but listed before sql/{scripts[last].name}, which already ran in {where}\n"
        "  move it after the last script that ran: later databases would get another order"
        for script in scripts[: last + 1]
        if script.name not in ran
    ]
    was = [row.name for row in ledger if row.name in listed]
    now = [script.name for script in scripts if script.name in ran]
    for before, after in zip(was, now, strict=True):
        if before != after:
            problems.append(
                f"the order changed: in {where} sql/{before} ran where sql/{after} is listed now\n"
                f"  ran:  {', '.join(was)}\n  put the list back into that order"
            )
            break
    return problems


def _format_time_applied(row: Applied) -> str:
    return f"{row.applied_at:%Y-%m-%d %H:%M}, by {row.applied_by}"


def _edited(row: Applied, where: str) -> str:
    file = f"sql/{row.name}"
    undo = (
        f"git checkout {row.git_commit[:12]} -- {file}"
        if row.git_commit
        else f"by hand: it ran before it was committed; for what was committed since:  git log -p -- {file}"
    )
    return (
        f"{file} was changed after it ran in {where} ({_format_time_applied(row)})\n"
        f"  undo the edit:        {undo}\n"
        '  or add a new script:  pgstack new "what it changes"\n'
        "  or, if it may run again whenever it changes, head it with  -- pgstack: repeatable"
    )


def _removed(row: Applied, where: str) -> str:
    back = f"git checkout {row.git_commit[:12]} -- sql/{row.name}, and " if row.git_commit else ""
    return (
        f"sql/{row.name} ran in {where} ({_format_time_applied(row)}) and is not listed any more\n"
        f'  put it back: {back}list it again; to undo what it did: pgstack new "undo {row.name}"\n'
        f"  or, where the data may go, start again with an empty database:  pgstack reset {where}"
    )

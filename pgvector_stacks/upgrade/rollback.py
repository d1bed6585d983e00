"""Back to the old data directory that an upgrade kept, or done with it.

`ask` leaves a note in the volume; the `up` that follows sees it and does what it asks for: only so a lower major in the
stack file is no mistake. The new directory isn't deleted then, but put aside; `free` deletes what is kept.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.toolbox.interface import Toolbox, must
from pgvector_stacks.upgrade.decision import size
from pgvector_stacks.upgrade.journal import Journal
from pgvector_stacks.upgrade.run import JOURNAL, checkpoint, read_journal

ASKED, ASIDE = "rollback.asked", "docker.rolled-back"
COPY = "verify"  # a folder, see verify.py
State = Literal["asked", "done", ""]


@dataclass(frozen=True, slots=True)
class Kept:
    """A data directory that nobody serves. `bytes` on disk; files that it shares with the new one count here too."""

    path: str
    bytes: int

    def __str__(self) -> str:
        return f"{self.path} ({size(self.bytes)})"


def last(toolbox: Toolbox, new: int) -> Journal:
    """The upgrade whose old directory is there. Raises ServerError where there is none."""
    journal = read_journal(toolbox, new)
    if journal is None or not journal.verified:
        raise ServerError(f"PostgreSQL {new}'s data was not upgraded from anything: there is nothing to go back to")
    if not journal.rollback:
        raise ServerError(
            f"the upgrade from {journal.old} was done by {journal.method}, which gave the way back up\n"
            "  restore a backup into a stack of the old version instead"
        )
    old = toolbox.directory(journal.old)
    if toolbox.sh('test -f "$D/PG_VERSION"', D=old).code != 0:
        raise ServerError(f"{old} is gone: the upgrade from {journal.old} was confirmed")
    return journal


def possible(toolbox: Toolbox, new: int) -> Journal:
    """The upgrade that can be undone; the toolbox has its old version's programs. Raises ServerError where there is
    none, or its old directory isn't as it was.
    """
    journal = last(toolbox, new)
    old = toolbox.directory(journal.old)
    if checkpoint(toolbox, journal.old, old) != journal.old_checkpoint:
        raise ServerError(f"{old} has been served since the upgrade: it isn't the state before it any more")
    return journal


def minutes(journal: Journal, now: datetime | None = None) -> int:
    """Since the upgrade: what was written in them is given up."""
    return round(((now or datetime.now(UTC)) - datetime.fromisoformat(journal.at)).total_seconds() / 60)


def ask(toolbox: Toolbox, journal: Journal) -> None:
    """Raises ServerError."""
    script = 'echo asked >"$F.new"; sync "$F.new"; mv -T "$F.new" "$F"'
    must("noting the rollback", toolbox.sh(script, F=toolbox.beside(journal.new, ASKED)))


def withdraw(toolbox: Toolbox, new: int) -> None:
    """Forget that it was asked for."""
    toolbox.sh('rm -f "$F"', F=toolbox.beside(new, ASKED))


def state(toolbox: Toolbox, old: int, new: int) -> State:
    """Whether a rollback was asked for, or was done by a run that was killed before it could report."""

    def there(path: str) -> bool:
        return toolbox.sh('test -e "$F"', F=path).code == 0

    if there(toolbox.beside(new, ASKED)):
        return "asked"
    served, aside = f"{toolbox.directory(new)}/PG_VERSION", toolbox.beside(new, ASIDE)
    return "done" if there(aside) and not there(served) and there(f"{toolbox.directory(old)}/PG_VERSION") else ""


def carry_out(toolbox: Toolbox, new: int) -> None:
    """Put the new directory aside; no server runs on it. May be repeated. Raises ServerError."""
    script = """
        if [ -d "$NEW" ]; then rm -rf "$ASIDE"; mv -T "$NEW" "$ASIDE"; fi
        rm -f "$JOURNAL"
        sync "$(dirname "$JOURNAL")"
        rm -f "$ASKED"
    """
    done = toolbox.sh(
        script, NEW=toolbox.directory(new), ASIDE=toolbox.beside(new, ASIDE),
        JOURNAL=toolbox.beside(new, JOURNAL), ASKED=toolbox.beside(new, ASKED),
    )  # fmt: skip
    must("putting the new data directory aside", done)


def kept(toolbox: Toolbox, serves: int, majors: tuple[int, ...]) -> list[Kept]:
    """What lies beside the directory that serves. Raises ServerError."""
    paths = [toolbox.directory(major) for major in majors if major != serves]
    paths += [toolbox.beside(major, name) for name in (ASIDE, COPY) for major in majors]
    found = []
    for path in paths:
        said = must(f"looking at {path}", toolbox.sh('if [ -d "$D" ]; then du -sb "$D" | cut -f1; fi', D=path)).strip()
        if said:
            found.append(Kept(path, int(said)))
    return found


def free(toolbox: Toolbox, what: list[Kept]) -> None:
    """Delete them for good. Raises ServerError, before the first of them is gone where one is being compared with."""
    with ExitStack() as locks:
        for each in what:
            taken = f"`pgstack upgrade verify` compares with {each.path}\n  wait for it, or end it; then confirm again"
            locks.enter_context(toolbox.lock(each.path, taken))
        for each in what:
            must(f"deleting {each.path}", toolbox.sh('rm -rf "$D"', D=each.path))

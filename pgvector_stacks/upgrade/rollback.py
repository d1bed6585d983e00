"""Goes back to the old data directory that an upgrade kept, or deletes it.

`request_rollback` writes a file beside the data, and the next `up` carries the rollback out. Without that file, `up`
takes a lower major version in the stack file for a mistake. A rollback doesn't delete the new directory but sets it
aside. `delete_kept` deletes what is kept.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.toolbox.interface import Toolbox, require_success
from pgvector_stacks.upgrade.decision import format_size
from pgvector_stacks.upgrade.journal import Journal
from pgvector_stacks.upgrade.run import JOURNAL, read_checkpoint, read_journal

ASKED, ASIDE = "rollback.asked", "docker.rolled-back"
COPY = "verify"  # the folder of copies, see checks/verify.py
State = Literal["asked", "done", ""]


@dataclass(frozen=True, slots=True)
class KeptDirectory:
    """A kept data directory, which no server uses. `bytes`: its size, with files that the new directory shares."""

    path: str
    bytes: int

    def __str__(self) -> str:
        return f"{self.path} ({format_size(self.bytes)})"


def find_upgrade(toolbox: Toolbox, new: int) -> Journal:
    """Return the last upgrade, if its old directory still exists. Raises ServerError otherwise."""
    journal = read_journal(toolbox, new)
    if journal is None or not journal.verified:
        raise ServerError(f"PostgreSQL {new}'s data was not upgraded from anything: there is nothing to go back to")
    if not journal.rollback:
        raise ServerError(
            f"the upgrade from {journal.old} was done by {journal.method}, which allows no rollback\n"
            "  restore a backup into a stack of the old version instead"
        )
    old = toolbox.directory(journal.old)
    if toolbox.sh('test -f "$D/PG_VERSION"', D=old).code != 0:
        raise ServerError(f"{old} is gone: the upgrade from {journal.old} was confirmed")
    return journal


def find_reversible_upgrade(toolbox: Toolbox, new: int) -> Journal:
    """Return the upgrade that can be undone. The toolbox must have the old version's programs.

    Raises ServerError if there is none, or a server has used its old directory since.
    """
    journal = find_upgrade(toolbox, new)
    old = toolbox.directory(journal.old)
    if read_checkpoint(toolbox, journal.old, old) != journal.old_checkpoint:
        raise ServerError(f"a server has used {old} since the upgrade: it no longer has the state before it")
    return journal


def minutes_since(journal: Journal, now: datetime | None = None) -> int:
    """Return the minutes since the upgrade. A rollback loses what was written in them."""
    return round(((now or datetime.now(UTC)) - datetime.fromisoformat(journal.at)).total_seconds() / 60)


def request_rollback(toolbox: Toolbox, journal: Journal) -> None:
    """Write the request for a rollback. Raises ServerError."""
    script = 'echo asked >"$F.new"; sync "$F.new"; mv -T "$F.new" "$F"'
    require_success("noting the rollback", toolbox.sh(script, F=toolbox.sibling_path(journal.new, ASKED)))


def withdraw_request(toolbox: Toolbox, new: int) -> None:
    """Remove the request for a rollback."""
    toolbox.sh('rm -f "$F"', F=toolbox.sibling_path(new, ASKED))


def read_state(toolbox: Toolbox, old: int, new: int) -> State:
    """Return whether a rollback is requested, or was completed by a run that was killed before it could report it."""

    def there(path: str) -> bool:
        return toolbox.sh('test -e "$F"', F=path).code == 0

    if there(toolbox.sibling_path(new, ASKED)):
        return "asked"
    served, aside = f"{toolbox.directory(new)}/PG_VERSION", toolbox.sibling_path(new, ASIDE)
    return "done" if there(aside) and not there(served) and there(f"{toolbox.directory(old)}/PG_VERSION") else ""


def carry_out(toolbox: Toolbox, new: int) -> None:
    """Set the new directory aside. No server may run on it. Can be repeated after a kill. Raises ServerError."""
    script = """
        if [ -d "$NEW" ]; then rm -rf "$ASIDE"; mv -T "$NEW" "$ASIDE"; fi
        rm -f "$JOURNAL"
        sync "$(dirname "$JOURNAL")"
        rm -f "$ASKED"
    """
    done = toolbox.sh(
        script, NEW=toolbox.directory(new), ASIDE=toolbox.sibling_path(new, ASIDE),
        JOURNAL=toolbox.sibling_path(new, JOURNAL), ASKED=toolbox.sibling_path(new, ASKED),
    )  # fmt: skip
    require_success("putting the new data directory aside", done)


def list_kept(toolbox: Toolbox, serves: int, majors: tuple[int, ...]) -> list[KeptDirectory]:
    """Return the kept directories beside the one that the server uses. Raises ServerError.

    `upgrade verify` may work in one of them meanwhile: what goes away while it is counted counts nothing.
    """
    paths = [toolbox.directory(major) for major in majors if major != serves]
    paths += [toolbox.sibling_path(major, name) for name in (ASIDE, COPY) for major in majors]
    found = []
    for path in paths:
        said = require_success(
            f"looking at {path}", toolbox.sh('if [ -d "$D" ]; then du -sb "$D" 2>/dev/null | cut -f1; fi', D=path)
        ).strip()
        if said:
            found.append(KeptDirectory(path, int(said)))
    return found


def delete_kept(toolbox: Toolbox, what: list[KeptDirectory]) -> None:
    """Delete the kept directories. Raises ServerError, before it deletes any, if `upgrade verify` reads one."""
    with ExitStack() as locks:
        for each in what:
            taken = f"`pgstack upgrade verify` compares with {each.path}\n  wait for it, or end it; then confirm again"
            locks.enter_context(toolbox.lock(each.path, taken))
        for each in what:
            require_success(f"deleting {each.path}", toolbox.sh('rm -rf "$D"', D=each.path))

"""A backup of the upgraded server, once it is open: the first of the new major.

It can't fail the `up`, whose data is upgraded and serves: what goes wrong is a warning. It isn't restored and compared;
that is what a drill is for, in its own time.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from pgvector_stacks.backup import store
from pgvector_stacks.backup.copies.after_backup import prune_and_copy
from pgvector_stacks.backup.copies.remote import RemoteCopies
from pgvector_stacks.backup.create import create
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.toolbox.interface import Report, Server, Toolbox
from pgvector_stacks.upgrade.progress import dump, reporting_progress


@dataclass(frozen=True, slots=True)
class BackupAfter:
    """`into`: the folder of the stack's backups; `database`: the stack's own; `count`: how many are kept, there and in
    the copies of `place`; `key`: it is signed with, "" for none.
    """

    into: Path
    stack: str
    database: str
    count: int
    place: RemoteCopies | None
    key: str = field(default="", repr=False)

    def make(self, at_the_server: AbstractContextManager[tuple[Toolbox, Server]], report: Report, warn: Report) -> None:
        """`at_the_server`: where the new server is reached. Raises nothing."""
        try:
            with at_the_server as (toolbox, server):
                report(f"a backup of PostgreSQL {server.major}, which serves meanwhile")
                with reporting_progress("back up", dump(toolbox, server, self.database), report):
                    create(toolbox, server, self.into, stack=self.stack, database=self.database, key=self.key)
            newest = store.listed(self.into)[-1].folder
            report(f"backup {newest}; to try it out:  pgstack backup drill {self.stack}")
            prune_and_copy(newest, self.count, self.place, report)
        except Exception as error:  # even a bug: the next `up` would find nothing to do
            known = isinstance(error, (PgstackError, OSError))
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            warn(
                f"the upgrade is done, the backup after it is not: {reason.replace(' STACK', f' {self.stack}')}\n"
                f"  make it:  pgstack backup create {self.stack}"
            )

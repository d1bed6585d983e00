"""Creates the first backup of the new major version, once the upgraded server accepts clients.

A failure is a warning and doesn't fail the `up`, because the data is upgraded and the server runs. The backup isn't
restored and compared here: a later drill does that.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from pgvector_stacks.backup.copies.after_backup import prune_and_copy
from pgvector_stacks.backup.copies.remote import RemoteCopies
from pgvector_stacks.backup.create import create
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.toolbox.interface import Report, ServerConnection, Toolbox
from pgvector_stacks.upgrade.progress import measure_dump, reporting_progress


@dataclass(frozen=True, slots=True)
class BackupAfter:
    """The settings of the backup after an upgrade. `into`: the folder of the stack's backups; `database`: the stack's
    own; `count`: how many backups are kept in `into`, and how many copies in `place`; `key`: signs the backup, "" for
    no signature.
    """

    into: Path
    stack: str
    database: str
    count: int
    place: RemoteCopies | None
    key: str = field(default="", repr=False)

    def make(
        self, at_the_server: AbstractContextManager[tuple[Toolbox, ServerConnection]], report: Report, warn: Report
    ) -> None:
        """Create the backup; never raises. `at_the_server`: a toolbox that reaches the new server."""
        try:
            with at_the_server as (toolbox, server):
                report(f"a backup of PostgreSQL {server.major}, which serves meanwhile")
                with reporting_progress("back up", measure_dump(toolbox, server, self.database), report):
                    made = create(toolbox, server, self.into, stack=self.stack, database=self.database, key=self.key)
            folder = self.into / made.folder_name
            report(f"backup {folder}; to try it out:  pgstack backup drill {self.stack}")
            prune_and_copy(folder, self.count, self.place, report)
        except Exception as error:  # even a bug must not fail the `up`, which the next one couldn't repeat
            known = isinstance(error, (PgstackError, OSError))
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            warn(
                f"the upgrade is done, the backup after it is not: {reason.replace(' STACK', f' {self.stack}')}\n"
                f"  make it:  pgstack backup create {self.stack}"
            )

"""Creates a backup before the upgrade, restores it once and compares it, while the old server serves clients.

No new backup is created if a recent drill found an existing backup good. Where backups are copied to another host, the
copy is complete before the upgrade continues.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pgvector_stacks.backup import store
from pgvector_stacks.backup.copies.remote import RemoteCopies
from pgvector_stacks.backup.create import create
from pgvector_stacks.backup.drill import WORK as RESTORED
from pgvector_stacks.backup.drill import drill
from pgvector_stacks.backup.manifest import UNSIGNED, BackupFailed, BackupRefused, Trust, verify
from pgvector_stacks.common import queries
from pgvector_stacks.toolbox.interface import Report, ServerConnection, Toolbox, query_rows
from pgvector_stacks.upgrade.progress import PACE, Pace, measure_directory, measure_dump, reporting_progress


@dataclass(frozen=True, slots=True)
class BackupFirst:
    """The settings of the backup before an upgrade. `into`: the folder of the stack's backups; `database`: the stack's
    own; `max_age_h`: a good drill of at most this many hours replaces a new backup, 0 for always a new one; `place`:
    where its copy goes; `key`: signs the backup, "" for no signature.
    """

    into: Path
    stack: str
    database: str
    max_age_h: float
    place: RemoteCopies | None = None
    key: str = field(default="", repr=False)

    @property
    def trust(self) -> Trust:
        return Trust(self.key) if self.key else UNSIGNED

    def is_recent(self, last_good: datetime | None, now: datetime) -> bool:
        return last_good is not None and now - last_good < timedelta(hours=self.max_age_h)

    def make(
        self,
        at_the_server: AbstractContextManager[tuple[Toolbox, ServerConnection]],
        apart: AbstractContextManager[Toolbox],
        report: Report,
        pace: Pace = PACE,
    ) -> None:
        """Create the backup, or find a recent one, and copy it. Raises PgstackError.

        `at_the_server`: a toolbox that reaches the running server; `apart`: a toolbox for the throw-away server.
        """
        with self._copying():  # fails before the dump, which may take hours, if the host can't be reached
            if self.place is not None:
                self.place.list_copies()
        good = store.list_with_good_drill(self.into, self.key or None)
        last = store.last_drill_time(good)
        if self.is_recent(last, datetime.now(UTC)) and self._is_own(good[-1].folder):
            report(f"no new backup: the last good drill is of {last:%Y-%m-%d %H:%M} UTC (pgvector:drillMaxAgeH)")
            self._copy(good[-1].folder, report)
            return
        with at_the_server as (toolbox, server):
            with reporting_progress("back up", measure_dump(toolbox, server, self.database), report, pace):
                manifest = create(toolbox, server, self.into, stack=self.stack, database=self.database, key=self.key)
            restored = sum(each.bytes - _vector_index_bytes(toolbox, server, each.name) for each in manifest.databases)
        folder = self.into / manifest.folder_name
        report(f"backup {folder}")
        with store.locking_folder(self.into), apart as toolbox:
            data = f"{toolbox.sibling_path(server.major, RESTORED)}/base"
            with reporting_progress("restore the backup", measure_directory(toolbox, data, restored), report, pace):
                # The backup is this server's own, so its superusers are known ones. Objects of other roles are
                # created with the rights of their owners.
                result = drill(toolbox, folder, major=server.major, superusers=True, trust=self.trust)
        if not result.ok:
            problems = "\n".join(f"    {problem.strip()}" for problem in result.problems[:5])
            raise BackupFailed(
                f"the backup {folder.name}, restored into a throw-away server, is not what was backed up: nothing was"
                f" upgraded\n{problems}"
            )
        report(f"restored and compared in {result.seconds:.0f} s: good")
        self._copy(folder, report)

    def _is_own(self, backup: Path) -> bool:
        try:
            verify(backup, trust=self.trust)  # its files too: the backup must work if the upgrade fails
        except BackupRefused:
            return False
        return True

    def _copy(self, backup: Path, report: Report) -> None:
        if self.place is not None:
            with self._copying():
                self.place.send(backup)
                self.place.record_drill(backup)
            report(f"its copy is at {self.place.url}")

    @contextmanager
    def _copying(self) -> Iterator[None]:
        try:
            yield
        except BackupFailed as error:
            raise BackupFailed(
                f"{error}\n  nothing was stopped, nothing upgraded; for an upgrade without a copy elsewhere take"
                " pgvector:backupCopy out"
            ) from None


def _vector_index_bytes(toolbox: Toolbox, server: ServerConnection, database: str) -> int:
    """Return the bytes of the vector indexes, which the drill doesn't build."""
    return int(query_rows(toolbox, server, database, queries.get("vector_index_bytes"))[0]["bytes"])

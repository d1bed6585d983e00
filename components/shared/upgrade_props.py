"""What the inputs of a server say about an upgrade: the method, the backups around it, and whether drift refuses it."""

from __future__ import annotations

from pathlib import Path

from pgvector_stacks.backup.copies.remote import RemoteCopies
from pgvector_stacks.config.environment import get_backups_folder
from pgvector_stacks.upgrade.backup_after import BackupAfter
from pgvector_stacks.upgrade.backup_first import BackupFirst
from pgvector_stacks.upgrade.decision import Method, Reindex
from pgvector_stacks.upgrade.no_drift import NoDrift

from .props import Props


class UpgradeProps(Props):
    """`engine.upgrade_inputs` and `engine.backup_inputs`. States from before upgrades existed have none of them.

    `backup_key`: "" in a preview that does not know it yet.
    """

    stack: str = ""
    database: str = ""
    upgrade_method: Method | None = None
    upgrade_reindex: Reindex = "before"
    upgrade_backup: bool = False
    drill_max_age_h: float = 0
    backup_directory: str | None = None
    backup_keep: int = 1
    backup_copy: str = ""
    backup_key: str = ""
    drift_policy: str = ""

    def no_drift(self, was: UpgradeProps) -> NoDrift | None:
        """Return what the schema must fulfil before an upgrade from `was`; None: nothing."""
        if self.drift_policy != "refuse":
            return None
        return NoDrift(self.stack, was.database or self.database)

    def backup_first(self, was: UpgradeProps) -> BackupFirst | None:
        """Return the backup to create before an upgrade from `was`; None: none."""
        if not self.upgrade_backup:
            return None
        database = was.database or self.database
        return BackupFirst(self._directory, self.stack, database, self.drill_max_age_h, self._copies, self.backup_key)

    def backup_after(self) -> BackupAfter | None:
        """Return the backup to create of the upgraded server; None: none."""
        if not self.upgrade_backup:
            return None
        return BackupAfter(self._directory, self.stack, self.database, self.backup_keep, self._copies, self.backup_key)

    @property
    def _directory(self) -> Path:
        return get_backups_folder(self.backup_directory, self.stack)

    @property
    def _copies(self) -> RemoteCopies | None:
        return RemoteCopies(self.backup_copy, self.stack, self.backup_key) if self.backup_copy else None

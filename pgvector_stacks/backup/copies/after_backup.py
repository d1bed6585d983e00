"""The steps after a new backup: remove the backups that retention doesn't keep, copy the new one to another host."""

from __future__ import annotations

import shutil
from pathlib import Path

from pgvector_stacks.backup import store
from pgvector_stacks.backup.copies import encryption
from pgvector_stacks.backup.copies.remote import RemoteCopies
from pgvector_stacks.backup.retention import DrilledBackup, choose_removals
from pgvector_stacks.toolbox.interface import Report


def prune_and_copy(made: Path, count: int, place: RemoteCopies | None, report: Report) -> None:
    """Remove old backups, then copy the backup `made`, which was just finished, to `place`. `count`: how many stay here
    and there. `made` stays even if other folders have the names of later times.

    Raises BackupFailed.
    """
    with store.locking_folder(made.parent):
        for name in prune(made.parent, count, made=made.name):
            report(f"removed {name}: {count} are kept")
    if place is None:
        return
    place.send(made)
    report(f"copied to {place.url}, encrypted; to open it by hand:  {encryption.decryption_commands(place.stack)}")
    gone = choose_removals(place.list_copies(), count, made=made.name)
    place.remove(gone)
    for name in gone:
        report(f"removed the copy of {name}")


def prune(directory: Path, count: int, *, made: str = "") -> tuple[str, ...]:
    """Remove the backups that retention doesn't keep, except the one named `made`. Return their names.

    The caller must hold the folder's lock.
    """
    backups = store.list_backups(directory)
    names = choose_removals(
        [DrilledBackup(each.name, each.drill.ok if each.drill else None) for each in backups], count, made=made
    )
    for name in names:
        folder = directory / name
        # Renamed first, so that a killed removal leaves no half backup under a backup's name.
        gone = folder.with_name(f"{name}{store.UNFINISHED}")
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        store.drill_file(folder).unlink(missing_ok=True)
    return names

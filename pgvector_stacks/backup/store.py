"""The folder of a stack's backups: lists them, records the results of drills, and locks the folder.

20261124T020000Z/               a finished backup
20261124T020000Z.drill.json     the result of its last drill
20261125T020000Z.unfinished/    in progress, or left by a killed run: the next `create` removes it
.lock                           locked by the process that works in the folder: a command, or the container of scheduled
                                backups (shell/backup_once.sh)
"""

from __future__ import annotations

import fcntl
import hmac
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from pgvector_stacks.backup import manifest, shared_files
from pgvector_stacks.backup.contents import FROZEN
from pgvector_stacks.backup.manifest import STAMP, BackupFailed, BackupRefused

UNFINISHED = ".unfinished"
DRILL = ".drill.json"
FINISHED = re.compile(r"\d{8}T\d{6}Z")


class DrillResult(BaseModel):
    """The result of a drill. `problems`: empty if the backup is good; `at`: start, UTC; `seconds`: duration."""

    model_config = FROZEN

    ok: bool
    at: AwareDatetime
    seconds: float = Field(ge=0, lt=1e9)
    vector_indexes: bool
    problems: tuple[str, ...] = ()
    signature: str = ""

    def proof(self, name: str, key: str) -> str:
        """Return the signature that this record must have if it belongs to the backup of that name."""
        content = {"backup": name} | self.model_dump(mode="json", exclude={"signature"})
        return manifest.sign("pgstack: the record of a drill", content, key)

    def signed(self, name: str, key: str) -> bool:
        return bool(key) and hmac.compare_digest(self.signature.encode(), self.proof(name, key).encode())


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup and the result of its last drill."""

    folder: Path
    drill: DrillResult | None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def started_at(self) -> datetime:
        return datetime.strptime(self.name, STAMP).replace(tzinfo=UTC)


def list_backups(directory: Path) -> list[Backup]:
    """Return the finished backups, oldest first."""
    if not directory.is_dir():
        return []
    folders = sorted(path for path in directory.iterdir() if _is_time(path.name) and path.is_dir())
    return [Backup(folder, read_last_drill(folder)) for folder in folders]


def _is_time(name: str) -> bool:
    if not FINISHED.fullmatch(name):
        return False
    try:
        datetime.strptime(name, STAMP)
    except ValueError:  # the 99th of a month: no backup of ours
        return False
    return True


def find_backup(directory: Path, name: str | None) -> Path:
    """Return the folder of the named backup, or of the newest without a name. Raises BackupRefused if there is none."""
    there = list_backups(directory)
    if name is None and there:
        return there[-1].folder
    for each in there:
        if each.name == name:
            return each.folder
    if not there:
        raise BackupRefused(f"there is no backup in {directory}\n  make one:  pgstack backup create STACK")
    raise BackupRefused(
        f"there is no backup {name!r} in {directory}\n  there are: {', '.join(each.name for each in there[-5:])}"
    )


def drill_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{DRILL}")


def read_last_drill(folder: Path) -> DrillResult | None:
    """Return the result of the backup's last drill; None without a drill, or if its record can't be read."""
    try:
        return DrillResult.model_validate_json(shared_files.read_note(drill_file(folder)))
    except (OSError, ValidationError, ValueError):
        return None


def record_drill(folder: Path, result: DrillResult, key: str = "") -> None:
    """Write the result of a drill beside the backup, atomically. `key`: signs the record, "" for no signature."""
    if key:
        result = result.model_copy(update={"signature": result.proof(folder.name, key)})
    path = drill_file(folder)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(result.model_dump_json(by_alias=True, indent=1) + "\n")  # O_EXCL: follows no link of the container
        shared_files.give_to_folder_owner(file.fileno(), path.parent)
    new.replace(path)


def list_with_good_drill(directory: Path, key: str | None = None) -> list[Backup]:
    """Return the backups of this folder whose last drill was good, oldest first.

    `key`: the stack's; drills whose record isn't signed with this key don't count. None: all drills count.
    """
    return [
        each
        for each in list_backups(directory)
        if each.drill is not None and each.drill.ok and (key is None or each.drill.signed(each.name, key))
    ]


def last_drill_time(backups: Iterable[Backup]) -> datetime | None:
    """Return when one of the backups was last drilled; None if none ever was."""
    return max((each.drill.at for each in backups if each.drill is not None), default=None)


def last_good_drill_time(directory: Path, key: str | None = None) -> datetime | None:
    """Return when the last good drill of a backup here was; None without one. `key`: as for `list_with_good_drill`."""
    return last_drill_time(list_with_good_drill(directory, key))


@contextmanager
def locking_folder(directory: Path) -> Iterator[None]:
    """Lock the folder, and create it if missing. Raises BackupFailed if another process has it locked."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BackupFailed(f"backups can't be kept in {directory}: {error.strerror}") from None
    try:
        shared_files.give_to_folder_owner(lock, directory)  # the container of scheduled backups locks this file too
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFailed(
                f"another `pgstack backup` works in {directory}\n  wait for it, then try again"
            ) from None
        yield
    finally:
        os.close(lock)


def remove_unfinished(directory: Path) -> list[str]:
    """Remove what killed runs left, and return the names. The caller must hold the folder's lock."""
    left = [path for path in directory.iterdir() if path.name.endswith(UNFINISHED)]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in left]


@contextmanager
def staging(finished: Path) -> Iterator[Path]:
    """Yield the path at which to create the backup `finished`; `promote` gives the backup its final name.

    The path is in a private folder beside `finished`, which is removed at the end. Raises OSError.
    """
    folder = finished.with_name(f"{finished.name}{UNFINISHED}")
    try:
        with shared_files.open_private_folder(folder) as inside:
            yield inside / finished.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def promote(made: Path, finished: Path) -> None:
    """Sync the backup to disk, then rename it. A crash leaves a complete backup or none. Raises OSError."""
    for path in [*made.rglob("*"), made]:
        _sync(path)
    if os.geteuid() == 0:  # the container of scheduled backups runs as the folder's owner and must be able to remove it
        there = finished.parent.stat()
        shared_files.change_owner(made, there.st_uid, there.st_gid)
    made.rename(finished)
    _sync(finished.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The folder of a stack's backups: which there are, what their drills found, and one user at a time.

20261124T020000Z/               a finished backup
20261124T020000Z.drill.json     what its last drill found
20261125T020000Z.unfinished/    under way, or left by a killed run: the next `create` removes it
.lock                           held by who works in the folder, the schedule's container too (shell/backup_once.sh)
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

from pydantic import BaseModel, ValidationError

from pgvector_stacks.backup import manifest, shared_files
from pgvector_stacks.backup.contents import FROZEN
from pgvector_stacks.backup.manifest import BackupFailed, BackupRefused

UNFINISHED = ".unfinished"
DRILL = ".drill.json"
STAMP = "%Y%m%dT%H%M%SZ"
FINISHED = re.compile(r"\d{8}T\d{6}Z")


class DrillResult(BaseModel):
    """What a drill found: `problems` is empty where the backup is good. `at`: its start, UTC; `seconds` to restore."""

    model_config = FROZEN

    ok: bool
    at: datetime
    seconds: float
    vector_indexes: bool
    problems: tuple[str, ...] = ()
    signature: str = ""

    def proof(self, name: str, key: str) -> str:
        """The signature that it must have as the record of the backup of that name."""
        content = {"backup": name} | self.model_dump(mode="json", exclude={"signature"})
        return manifest.signature("pgstack: the record of a drill", content, key)

    def signed(self, name: str, key: str) -> bool:
        return bool(key) and hmac.compare_digest(self.signature.encode(), self.proof(name, key).encode())


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup and its last drill."""

    folder: Path
    drill: DrillResult | None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def started_at(self) -> datetime:
        return datetime.strptime(self.name, STAMP).replace(tzinfo=UTC)


def listed(directory: Path) -> list[Backup]:
    """Finished backups, the oldest first."""
    if not directory.is_dir():
        return []
    folders = sorted(path for path in directory.iterdir() if FINISHED.fullmatch(path.name) and path.is_dir())
    return [Backup(folder, last_drill(folder)) for folder in folders]


def chosen(directory: Path, name: str | None) -> Path:
    """The backup of that name, else the newest. Raises BackupRefused where there is none."""
    there = listed(directory)
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


def last_drill(folder: Path) -> DrillResult | None:
    """None where there was none, or its note can't be read."""
    try:
        return DrillResult.model_validate_json(shared_files.note(drill_file(folder)))
    except (OSError, ValidationError, ValueError):
        return None


def note_drill(folder: Path, result: DrillResult, key: str = "") -> None:
    """Replaced as a whole. `key`: it is signed with, "" for none."""
    if key:
        result = result.model_copy(update={"signature": result.proof(folder.name, key)})
    path = drill_file(folder)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(result.model_dump_json(by_alias=True, indent=1) + "\n")  # never through a link of the container's
        shared_files.give_to_owner(file.fileno(), path.parent)
    new.replace(path)


def good(directory: Path, key: str | None = None) -> list[Backup]:
    """The backups of this folder whose last drill found them good, the oldest first.

    `key`: of the stack; drills whose record isn't signed with it don't count. None: all do.
    """
    return [
        each
        for each in listed(directory)
        if each.drill is not None and each.drill.ok and (key is None or each.drill.signed(each.name, key))
    ]


def last_drilled(backups: Iterable[Backup]) -> datetime | None:
    """When one of them was last drilled; None where none ever was."""
    return max((each.drill.at for each in backups if each.drill is not None), default=None)


def last_good_drill(directory: Path, key: str | None = None) -> datetime | None:
    """When one of `good` was last restored and found good; None where none ever was."""
    return last_drilled(good(directory, key))


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """The folder, made where it isn't there, for us alone. Raises BackupFailed where another run works in it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BackupFailed(f"backups can't be kept in {directory}: {error.strerror}") from None
    try:
        shared_files.give_to_owner(lock, directory)  # the container of the schedule takes it too
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
    """What killed runs left; their names. To be called by who is alone in the folder."""
    left = [path for path in directory.iterdir() if path.name.endswith(UNFINISHED)]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in left]


@contextmanager
def unfinished(finished: Path) -> Iterator[Path]:
    """The path at which the backup `finished` is to be made, which is there only once `settle` gave it its name.

    It lies in a folder of ours beside it, in which nobody else gets at it. Raises OSError.
    """
    folder = finished.with_name(f"{finished.name}{UNFINISHED}")
    try:
        with shared_files.private(folder) as inside:
            yield inside / finished.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settle(made: Path, finished: Path) -> None:
    """On the disk before it has its name: a crash leaves a whole backup or none. Raises OSError."""
    for path in [*made.rglob("*"), made]:
        _sync(path)
    if os.geteuid() == 0:  # it is the folder's owner's, as whom the schedule's container reads and removes it
        there = finished.parent.stat()
        shared_files.give(made, there.st_uid, there.st_gid)
    made.rename(finished)
    _sync(finished.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

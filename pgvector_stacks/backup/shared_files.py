"""Reads and hands over files in a folder where another user writes: the container of scheduled backups.

Invariant: whatever lies in the folder, and whatever becomes of its names meanwhile, nothing outside of it is read,
written or given away, and nobody waits: a link isn't followed, a pipe isn't read.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

SMALL, LARGE = 1 << 20, 1 << 28  # bytes: of a note, of a manifest
OPENED = "/proc/self/fd"  # by such a path an open folder is reached whatever its name leads to by now


@contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """A plain file. Raises OSError, FileNotFoundError among it; also for a link and whatever else is no plain file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no plain file", str(path))
        yield file


def content_of(path: Path, most: int = LARGE) -> bytes:
    """Raises OSError, also for more than `most` bytes."""
    with reading(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, "too large", str(path))
        return file.read(most)


def note(path: Path) -> str:
    """The text of a short one. Raises OSError."""
    return content_of(path, SMALL).decode(errors="replace")


def give(path: Path, uid: int, gid: int) -> None:
    """A folder and what is in it, itself last. Raises OSError. On NFS root is nobody, and so are its files."""
    for _, folders, files, descriptor in os.fwalk(path, follow_symlinks=False):
        for name in (*files, *folders):
            if os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_uid != uid:
                os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
    if path.lstat().st_uid != uid:
        os.chown(path, uid, gid, follow_symlinks=False)


def close_to_others(path: Path) -> None:
    """A folder and what is in it is for its owner alone. Raises OSError."""
    for _, _, files, descriptor in os.fwalk(path, follow_symlinks=False):
        os.fchmod(descriptor, 0o700)
        for name in files:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
            try:
                os.fchmod(file, 0o600)
            finally:
                os.close(file)


def give_to_owner(descriptor: int, folder: Path) -> None:
    """A file that root has made in a folder becomes its owner's. `descriptor`: of the file."""
    there = folder.stat()
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid != there.st_uid:
        os.fchown(descriptor, there.st_uid, there.st_gid)


def _makes_files_of_roots(folder: Path) -> bool:
    """False on NFS, where all of root's files may be the folder's owner's."""
    path = folder / f".{secrets.token_hex(8)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        path.unlink(missing_ok=True)
        return os.fstat(descriptor).st_uid == 0
    finally:
        os.close(descriptor)


@contextmanager
def private(folder: Path) -> Iterator[Path]:
    """Make `folder` and reach it by a path that another user can't turn elsewhere, as long as this lasts.

    Raises OSError. Where its parent is our own, nobody else can: the path is the plain one then.
    """
    folder.mkdir(mode=0o700)
    parent = folder.parent.stat()
    if os.geteuid() != 0 or parent.st_uid == 0 or not Path(OPENED).is_dir():
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid == parent.st_uid and _makes_files_of_roots(folder.parent):
            raise OSError(errno.EINVAL, "somebody put another folder there", str(folder))
        yield Path(OPENED) / str(descriptor)
    finally:
        os.close(descriptor)

"""Reads files, and changes their owner, in a folder where another user writes: the container of scheduled backups.

Invariant: whatever is in the folder, and however another user renames files meanwhile, nothing outside the folder is
read, written or given to another owner, and no call blocks. Links aren't followed, and pipes aren't read.
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

SMALL, LARGE = 1 << 20, 1 << 28  # the most bytes of a note, and of a manifest
OPENED = "/proc/self/fd"  # a path below it reaches an open folder even after the folder's name points elsewhere


@contextmanager
def open_regular_file(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading. Raises OSError, also for links and everything else that isn't a regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no plain file", str(path))
        yield file


def read_bytes(path: Path, most: int = LARGE) -> bytes:
    """Return the bytes of a regular file. Raises OSError, also for more than `most` bytes."""
    with open_regular_file(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, "too large", str(path))
        return file.read(most)


def read_note(path: Path) -> str:
    """Return the text of a small file. Raises OSError."""
    return read_bytes(path, SMALL).decode(errors="replace")


def change_owner(path: Path, uid: int, gid: int) -> None:
    """Give a folder's contents, and then the folder, to another owner. Raises OSError.

    Files that have this owner already are skipped, because NFS may forbid the call to root.
    """
    for _, folders, files, descriptor in os.fwalk(path, follow_symlinks=False):
        for name in (*files, *folders):
            if os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_uid != uid:
                os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
    if path.lstat().st_uid != uid:
        os.chown(path, uid, gid, follow_symlinks=False)


def close_to_others(path: Path) -> None:
    """Let only the owner read and write a folder and its contents. Raises OSError."""
    for _, _, files, descriptor in os.fwalk(path, follow_symlinks=False):
        os.fchmod(descriptor, 0o700)
        for name in files:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
            try:
                os.fchmod(file, 0o600)
            finally:
                os.close(file)


def give_to_folder_owner(descriptor: int, folder: Path) -> None:
    """Give a file that root created in a folder to the folder's owner. `descriptor`: of the open file."""
    there = folder.stat()
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid != there.st_uid:
        os.fchown(descriptor, there.st_uid, there.st_gid)


def _creates_files_as_root(folder: Path) -> bool:
    """Return whether files that root creates here belong to root. On NFS they may belong to the folder's owner."""
    path = folder / f".{secrets.token_hex(8)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        path.unlink(missing_ok=True)
        return os.fstat(descriptor).st_uid == 0
    finally:
        os.close(descriptor)


@contextmanager
def open_private_folder(folder: Path) -> Iterator[Path]:
    """Create `folder` and yield a path to it that another user can't redirect.

    Yields the plain path if the parent is our own, because nobody else can rename the folder then. Raises OSError.
    """
    folder.mkdir(mode=0o700)
    parent = folder.parent.stat()
    if os.geteuid() != 0 or parent.st_uid == 0 or not Path(OPENED).is_dir():
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid == parent.st_uid and _creates_files_as_root(folder.parent):
            raise OSError(errno.EINVAL, "somebody put another folder there", str(folder))
        yield Path(OPENED) / str(descriptor)
    finally:
        os.close(descriptor)

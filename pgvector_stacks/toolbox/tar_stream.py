"""Packs and unpacks folders as tar streams for the Docker API, without holding a whole archive in memory."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from pgvector_stacks.common.errors import ServerError

CHUNK = 1 << 20


class ChunkReader(io.RawIOBase):
    """A file object that reads from an iterable of chunks, once."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        count = min(len(view), len(self._rest))
        view[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def unpack(chunks: Iterable[bytes], into: Path) -> None:
    """Unpack the archive of one folder into `into`, which must not exist. Only the owner can read the files.

    Raises ServerError if the archive ends early or holds anything but plain files and folders; OSError if the disk is
    full.
    """
    into.mkdir(mode=0o700)
    try:
        with tarfile.open(fileobj=io.BufferedReader(ChunkReader(chunks), CHUNK), mode="r|") as archive:
            for entry in archive:
                inside = PurePosixPath(*PurePosixPath(entry.name).parts[1:])
                if ".." in inside.parts or inside.is_absolute() or not (entry.isfile() or entry.isdir()):
                    raise ServerError(f"the throw-away container sent something else than a file: {entry.name}")
                if entry.isdir():
                    (into / inside).mkdir(mode=0o700, exist_ok=True)
                    continue
                source = archive.extractfile(entry)
                assert source is not None
                with open(os.open(into / inside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
                    shutil.copyfileobj(source, file, CHUNK)
    except tarfile.TarError as error:
        raise ServerError(f"what the throw-away container sent ended early: {error}") from None


def pack(folder: Path, owner: tuple[int, int] | None = None) -> Iterator[bytes]:
    """Return the chunks of an archive of the folder, under its own name. Raises OSError for an unreadable file.

    `owner`: the UID and GID for the files in the archive; None keeps their own.
    """

    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        if owner is not None:
            entry.uid, entry.gid = owner
            entry.uname = entry.gname = ""  # names would take precedence over numbers
        return entry

    def write(pipe: BinaryIO) -> None:
        with tarfile.open(fileobj=pipe, mode="w|") as archive:
            archive.add(folder, folder.name, filter=owned)

    return stream_chunks(write)


def stream_chunks(write: Callable[[BinaryIO], object]) -> Iterator[bytes]:
    """Call `write` with a file, in a thread, and yield what it writes as chunks. Raises what `write` raises."""
    reading, writing = os.pipe()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with open(writing, "wb") as pipe:  # noqa: PTH123
                write(pipe)
        except BrokenPipeError:
            pass  # the reader stopped, and raises its own error
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    with cast(BinaryIO, open(reading, "rb", buffering=0)) as pipe:  # noqa: PTH123
        while chunk := pipe.read(CHUNK):
            yield chunk
    thread.join()
    if failed:
        raise failed[0]

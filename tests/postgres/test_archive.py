"""Folders as tar streams: what goes in comes out, and what is cut off or no plain file is refused."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.toolbox.tar_stream import pack, unpack


def a_folder(root: Path) -> Path:
    folder = root / "2026 a"
    (folder / "deep er").mkdir(parents=True)
    (folder / "empty").write_bytes(b"")
    (folder / "deep er" / "large").write_bytes(bytes(range(256)) * 20000)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("chunk", [1000, 10**7])
def test_what_goes_in_comes_out(tmp_path: Path, chunk: int) -> None:
    folder = a_folder(tmp_path)
    stream = b"".join(pack(folder))
    unpack((stream[at : at + chunk] for at in range(0, len(stream), chunk)), tmp_path / "b")
    assert files(tmp_path / "b") == files(folder)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "b").rglob("*"))


def test_one_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    stream = b"".join(pack(a_folder(tmp_path)))
    for number, share in enumerate((0.2, 0.5, 0.9)):
        with pytest.raises(ServerError, match="ended early"):
            unpack([stream[: int(len(stream) * share)]], tmp_path / str(number))


def _link(archive: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo("a/link")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive.addfile(entry)


def _outside(archive: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo("a/../../outside")
    entry.size = 1
    archive.addfile(entry, io.BytesIO(b"x"))


@pytest.mark.parametrize("put", [_link, _outside])
def test_only_plain_files_inside_are_taken(tmp_path: Path, put: Callable[[tarfile.TarFile], None]) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        put(archive)
    with pytest.raises(ServerError, match="something else than a file"):
        unpack([packed.getvalue()], tmp_path / "b")
    assert not (tmp_path / "outside").exists()


def test_nothing_of_it_lies_in_memory(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    largest = 0

    def watched() -> Iterator[bytes]:
        nonlocal largest
        for chunk in itertools.islice(pack(folder), 50):
            largest = max(largest, len(chunk))
            yield chunk

    for _ in watched():
        pass
    assert largest <= 1 << 20

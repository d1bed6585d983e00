"""What a test does where the machine lacks what it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.images.build import CannotBuild, ensure


def lacking(what: str) -> NoReturn:
    """Skip by name; in CI that is a failure, since .ci/run installs and starts what a machine can have."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}: .ci/run should have seen to it")
    pytest.skip(what)


def needs_root(what: str) -> None:
    if os.geteuid() != 0:
        lacking(f"{what} needs root")


@contextmanager
def small_file_system(folder: Path, size: str) -> Iterator[None]:
    """`folder`, which is there, is a file system of its own meanwhile, `size` as `mount -t tmpfs` takes it."""
    needs_root("mounting a small disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lacking(f"mounting a small disk isn't allowed here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def loop_disk(size_mb: int, make: str, *options: str) -> Iterator[Path]:
    """A folder that is a file system of its own, in a sparse file. `make`: mkfs.ext4, mkfs.xfs, …"""
    needs_root("mounting a disk")
    folder = Path(tempfile.mkdtemp(prefix="pgstack-test-disk-"))
    place, image = folder / "mounted", folder / "image"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(size_mb << 20)
    try:
        if shutil.which(make) is None:
            lacking(f"no {make} on this machine")
        subprocess.run([make, "-q", *options, image], check=True)
        done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lacking(f"no loop device, or no such file system: {done.stderr.strip()}")
        yield place
    finally:
        # a container or server that is just going may still hold it
        for _ in range(20):
            if not os.path.ismount(place) or subprocess.run(["umount", place], check=False).returncode == 0:
                break
            time.sleep(0.5)
        assert not os.path.ismount(place), f"{place} is still in use"
        shutil.rmtree(folder)


def needed_image(name: str) -> str:
    """`name`, of an image that is here or was built now."""
    try:
        return ensure(name)
    except CannotBuild as error:
        lacking(str(error))

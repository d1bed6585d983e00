"""A pytest plugin: temporary folders, with them the tests' servers and checkouts, lie in memory where there is room.

Nothing tests whether a disk keeps what it was given: processes are killed here, machines aren't. A data directory is
copied ten times as fast, and nobody waits for an fsync. What needs a file system of a certain kind mounts one.
A TMPDIR that is set stays.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
NEEDED = 3 * 2**30  # of two workers, with the images that tests of full disks mount


def in_memory() -> Path | None:
    """A folder of this user's, None where there is no room."""
    try:
        if os.environ.get("TMPDIR") or shutil.disk_usage(MEMORY).free < NEEDED:
            return None
        folder = MEMORY / f"pgstack-tests-{os.geteuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return None
    return folder if folder.stat().st_uid == os.geteuid() and not folder.is_symlink() else None


if (folder := in_memory()) is not None:
    os.environ["TMPDIR"] = str(folder)  # also of the programs that tests start
    tempfile.tempdir = None

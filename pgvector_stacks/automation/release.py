"""Gets a published archive of the Pulumi CLI and unpacks it, if it is the very file whose SHA-256 is committed.

The toolchain runs it as a process of its own: `python release.py URL SHA256 FOLDER`. Nothing that was fetched is run or
unpacked before its checksum is compared. Standard library alone.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import tarfile
import urllib.request
from pathlib import Path

TIMEOUT_S = 60.0  # for each answer of the site
MOST_BYTES = 1 << 30
MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def archive(version: str) -> str:
    """The file's name for this machine: `pulumi-v3.259.0-linux-x64.tar.gz`."""
    machine = platform.machine().lower()
    return f"pulumi-v{version}-{platform.system().lower()}-{MACHINES.get(machine, machine)}.tar.gz"


def checksum(table: str, name: str) -> str | None:
    """What a table as `sha256sum` writes it says of a file; None where it doesn't name it."""
    rows = (line.split() for line in table.splitlines() if line and not line.startswith("#"))
    return next((row[0] for row in rows if row[1:] == [name]), None)


def fetch(url: str, sha256: str, folder: Path) -> None:
    """Leaves `folder/bin` with the CLI and what belongs to it.

    Raises OSError where it can't be fetched, ValueError where it is another file than the one that is expected.
    """
    folder.mkdir(parents=True)
    packed, found = folder / "archive.tar.gz", hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, packed.open("wb") as file:
        size = 0
        while chunk := answer.read(1 << 20):
            size += len(chunk)
            if size > MOST_BYTES:
                raise ValueError(f"{url} is larger than {MOST_BYTES >> 20} MiB")
            found.update(chunk)
            file.write(chunk)
    if found.hexdigest() != sha256:
        raise ValueError(f"{url} is not the published file: its SHA-256 is {found.hexdigest()}, expected is {sha256}")
    with tarfile.open(packed) as tar:
        tar.extractall(folder / "unpacked", filter="data")
    packed.unlink()
    made = folder / "unpacked" / "pulumi"
    (made / "bin" if (made / "bin").is_dir() else made).replace(folder / "bin")
    shutil.rmtree(folder / "unpacked")


if __name__ == "__main__":
    try:
        fetch(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    except (OSError, ValueError, tarfile.TarError) as error:
        sys.exit(str(error))

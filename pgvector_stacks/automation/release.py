"""Downloads a published archive of the Pulumi CLI and unpacks it, if its SHA-256 equals the committed one.

The toolchain runs this file as a separate process: `python release.py URL SHA256 FOLDER`. It compares the checksum
before it unpacks anything, and imports only the standard library.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import tarfile
import urllib.request
from pathlib import Path

TIMEOUT_S = 60.0  # for the connection and for each read
MOST_BYTES = 1 << 30
MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def get_archive_name(version: str) -> str:
    """Return the name of the archive for this machine: `pulumi-v3.259.0-linux-x64.tar.gz`."""
    machine = platform.machine().lower()
    return f"pulumi-v{version}-{platform.system().lower()}-{MACHINES.get(machine, machine)}.tar.gz"


def find_checksum(table: str, name: str) -> str | None:
    """Return the checksum of a file from a table in the format of `sha256sum`; None if the table lacks the file."""
    rows = (line.split() for line in table.splitlines() if line and not line.startswith("#"))
    return next((row[0] for row in rows if row[1:] == [name]), None)


def fetch(url: str, sha256: str, folder: Path) -> None:
    """Download the archive and unpack the CLI and its companion programs into `folder/bin`.

    Raises OSError if the download fails, ValueError if the file is not the expected one.
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

"""Lines of the embedded server's pg_hba.conf that let anybody on this machine in without a password.

initdb writes such ones unless it is told otherwise, and an upgrade didn't tell it: a server upgraded by an earlier
release has them. Pure, but for the two functions that read and write the file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

NAME = "pg_hba.conf"
OPEN = re.compile(r"^(?P<who>\s*(?:local|host\w*)\s[^#\n]*?\s)trust(?P<rest>\s*(?:#.*)?)$", re.MULTILINE)


def closed(text: str) -> str:
    """With SCRAM wherever nothing was asked.

    >>> closed("local all all trust")
    'local all all scram-sha-256'
    """
    return OPEN.sub(r"\g<who>scram-sha-256\g<rest>", text)


def is_open(directory: Path) -> bool:
    """Of a data directory; one without the file is none."""
    path = directory / NAME
    return path.is_file() and OPEN.search(path.read_text()) is not None


def close(directory: Path) -> bool:
    """True where it was open; a running server is to be told. The file is replaced as a whole."""
    if not is_open(directory):
        return False
    path = directory / NAME
    unfinished = directory / f"{NAME}.pgstack"
    unfinished.touch(mode=0o600)
    unfinished.write_text(closed(path.read_text()))
    found = path.stat()
    unfinished.chmod(found.st_mode)
    if unfinished.stat().st_uid != found.st_uid:
        os.chown(unfinished, found.st_uid, found.st_gid)
    unfinished.replace(path)
    return True

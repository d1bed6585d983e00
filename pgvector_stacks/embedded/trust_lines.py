"""Finds and replaces `trust` lines in the embedded server's pg_hba.conf. They admit any local user without a password.

By default initdb writes such lines. Upgrades of earlier releases ran initdb with its defaults, so servers upgraded by
them have `trust` lines. Only `has_trust_lines` and `replace_trust_lines` read or write files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

NAME = "pg_hba.conf"
TRUST_LINE = re.compile(r"^(?P<who>\s*(?:local|host\w*)\s[^#\n]*?\s)trust(?P<rest>\s*(?:#.*)?)$", re.MULTILINE)


def replace_trust(text: str) -> str:
    """Return the text with `scram-sha-256` in place of `trust`.

    >>> replace_trust("local all all trust")
    'local all all scram-sha-256'
    """
    return TRUST_LINE.sub(r"\g<who>scram-sha-256\g<rest>", text)


def has_trust_lines(directory: Path) -> bool:
    """True if the data directory's pg_hba.conf has a `trust` line; False if there is no pg_hba.conf."""
    path = directory / NAME
    return path.is_file() and TRUST_LINE.search(path.read_text()) is not None


def replace_trust_lines(directory: Path) -> bool:
    """Replace the `trust` lines of a data directory's pg_hba.conf, atomically. Return True if there were any.

    Then the caller must make a running server reload its configuration.
    """
    if not has_trust_lines(directory):
        return False
    path = directory / NAME
    unfinished = directory / f"{NAME}.pgstack"
    unfinished.touch(mode=0o600)
    unfinished.write_text(replace_trust(path.read_text()))
    found = path.stat()
    unfinished.chmod(found.st_mode)
    if unfinished.stat().st_uid != found.st_uid:
        os.chown(unfinished, found.st_uid, found.st_gid)
    unfinished.replace(path)
    return True

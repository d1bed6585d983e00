"""Remembers facts about a script's text by the hash of its bytes, so that reading a thousand scripts again takes
milliseconds instead of a second. The cache holds no text and decides nothing. If it is missing or damaged, all scripts
are read again.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path

# Part of the file: another pglast may cut other tokens, another format may have other facts.
FORMAT = f"3, pglast {version('pglast')}"

Facts = tuple[str, bool, bool, float | None]  # normalised, no_transaction, repeatable, statement_timeout_s


class ScriptCache:
    """Facts by SHA-256, kept in one file. With `None` as file, nothing is remembered."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.known: dict[str, Facts] = {}
        self.grown = False
        try:
            found = json.loads(file.read_text()) if file else {}
            if found.get("format") == FORMAT:
                self.known = {sha256: tuple(facts) for sha256, facts in found["facts"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            self.known = {}

    def get(self, sha256: str) -> Facts | None:
        return self.known.get(sha256)

    def put(self, sha256: str, facts: Facts) -> None:
        self.known[sha256] = facts
        self.grown = True

    def save(self) -> None:
        """Write the file if facts were added. A folder that can't be written to is not an error."""
        if not self.grown or self.file is None:
            return
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = self.file.with_name(f"{self.file.name}.{os.getpid()}")
            made.write_text(json.dumps({"format": FORMAT, "facts": self.known}))
            made.replace(self.file)
        except OSError:
            return

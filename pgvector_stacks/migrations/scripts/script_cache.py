"""Remembers what was found out about a script's text, by the hash of its bytes: reading a thousand scripts again
takes milliseconds instead of a second. Holds no text and decides nothing; without it, or with a damaged one, all is
read again.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path

# Another scanner may see other tokens; another format other facts.
FORMAT = f"3, pglast {version('pglast')}"

Facts = tuple[str, bool, bool, float | None]  # normalised, no_transaction, repeatable, statement_timeout_s


class ScriptCache:
    """Facts by SHA-256, in one file. `None` as file: nothing is remembered."""

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
        """Write what was learnt; a folder that can't be written to is no error."""
        if not self.grown or self.file is None:
            return
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = self.file.with_name(f"{self.file.name}.{os.getpid()}")
            made.write_text(json.dumps({"format": FORMAT, "facts": self.known}))
            made.replace(self.file)
        except OSError:
            return

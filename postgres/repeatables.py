"""Says which repeatable scripts make what depends on when they ran.

A repeatable script runs when it is new or changed, behind all others, and not because others ran. So what it does to
all objects that there are, or to those still to come, is another thing in a database that grew than in a fresh one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from postgres.scripts import Script
from postgres.session import words_of

EVERY = re.compile(
    r"\bon\s+all\s+(?:tables|sequences|functions|procedures|routines)\s+in\s+schema\b|\balter\s+default\s+privileges\b",
    re.IGNORECASE,
)


def warnings(scripts: Iterable[Script]) -> list[str]:
    """A line for each script that says something of all objects, or of those to come. Pure."""
    found = ((script, EVERY.search(words_of(script.text))) for script in scripts if script.repeatable)
    return [
        f"{script.path}: {' '.join(match[0].split()).upper()}: a repeatable script doesn't run again when others ran,\n"
        "  so in a fresh database, where it runs last, this would be another thing. Say it in a script without the\n"
        "  header; ALTER DEFAULT PRIVILEGES there holds for all that its later scripts make"
        for script, match in found
        if match
    ]

"""Says which repeatable scripts make what depends on when they ran.

A repeatable script runs when it is new or changed, behind all others, and not because others ran. So what it does to
all objects that there are, or to those still to come, is another thing in a database that grew than in a fresh one. So
are all columns of a view: PostgreSQL writes them down when the view is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pgvector_stacks.migrations.scripts.effects import words_of
from pgvector_stacks.migrations.scripts.script_files import Script

EVERY = re.compile(
    r"\bon\s+all\s+(?:tables|sequences|functions|procedures|routines)\s+in\s+schema\b|\balter\s+default\s+privileges\b",
    re.IGNORECASE,
)
ALL_COLUMNS = re.compile(r"\bview\b[^;]*?\b(select\s+(?:distinct\s+)?(?:\w+\s*\.\s*)*\*|table\s+\w)", re.IGNORECASE)
CATALOG = re.compile(
    r"\b(?:information_schema|pg_(?:class|tables|views|matviews|namespace|proc|attribute))\b", re.IGNORECASE
)
EXECUTES = re.compile(r"\bexecute\b", re.IGNORECASE)


def warnings(scripts: Iterable[Script]) -> list[str]:
    """A line for each script that says something of all objects or columns, or of those to come. Pure."""
    lines = []
    for script in scripts:
        found = _found(script) if script.repeatable else None
        if found is not None:
            what, remedy = found
            lines.append(
                f"{script.path}: {what}: a repeatable script doesn't run again when others ran,\n"
                f"  so in a fresh database, where it runs last, this would be another thing. {remedy}"
            )
    return lines


def _found(script: Script) -> tuple[str, str] | None:
    """What depends on when the script ran, and what to write instead."""
    text = words_of(script.text)
    if match := EVERY.search(text):
        return " ".join(match[0].split()).upper(), (
            "Say it in a script without the\n"
            "  header; ALTER DEFAULT PRIVILEGES there holds for all that its later scripts make"
        )
    if match := ALL_COLUMNS.search(text):
        return f"{' '.join(match[1].split())} in a view", "Name the columns"
    for statement in script.statements:
        body = script.text[statement.start : statement.end]
        if statement.tokens[0].name == "DO" and EXECUTES.search(body) and (match := CATALOG.search(body)):
            return f"a loop over {match[0]}", "Say it in a script without\n  the header, for each object that is made"
    return None

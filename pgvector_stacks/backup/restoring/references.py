"""Which tables a dump's foreign keys refer to. Pure.

A key is checked as the owner of the table that it refers to, by code of whoever made the key: a cast of its column's
type. So the login that makes them may refer to those tables of superusers that the dump's own keys name (what runs
then ran in the live database as well), and to no others.

Source: how pg_dump writes a foreign key (dumpConstraint in pg_dump.c of PostgreSQL 15 to 18).
"""

from __future__ import annotations

import re

# What a name could hold, or a comment, is never taken for SQL: each of them is one piece.
PIECES = re.compile(r"""--[^\n]*|"(?:[^"]|"")*"|'(?:[^']|'')*'|[^"'-]+|-""")
NAME = r"(?:\x01\d+\x01|[a-z_][a-z0-9_]*)"
KEY = re.compile(rf"FOREIGN KEY \((?:{NAME}(?:, )?|PERIOD )+\) REFERENCES (?P<schema>{NAME})\.(?P<table>{NAME})\(")


def targets(text: str) -> set[tuple[str, str]]:
    """(schema, table) of each key in what pg_restore writes of a dump's foreign keys.

    >>> sorted(targets('ALTER TABLE ONLY a.b\\n    ADD CONSTRAINT k FOREIGN KEY (i, "J") REFERENCES "S".t(x, y);\\n'))
    [('S', 't')]
    >>> targets('ADD CONSTRAINT "FOREIGN KEY (i) REFERENCES a.b(" CHECK (i > 0); -- FOREIGN KEY (i) REFERENCES a.b(')
    set()
    """
    names: list[str] = []
    shown: list[str] = []
    for piece in PIECES.findall(text.replace("\x01", " ")):
        if piece.startswith('"'):
            shown.append(f"\x01{len(names)}\x01")
            names.append(piece[1:-1].replace('""', '"'))
        elif not piece.startswith(("--", "'")):
            shown.append(piece)

    def name(word: str) -> str:
        return names[int(word.strip("\x01"))] if word.startswith("\x01") else word

    return {(name(found["schema"]), name(found["table"])) for found in KEY.finditer("".join(shown))}

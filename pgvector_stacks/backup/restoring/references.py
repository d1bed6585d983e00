"""Finds the tables that a dump's foreign keys refer to. Pure.

PostgreSQL checks a foreign key with the rights of the referenced table's owner. The check may run code of the key's
creator: a cast of the column's type. So the login that creates the keys may refer to a superuser's table only if a key
of the dump names that table. The code that runs then also ran in the live database.

Source: how pg_dump writes a foreign key (dumpConstraint in pg_dump.c of PostgreSQL 15 to 18).
"""

from __future__ import annotations

import re

# Each quoted name, literal and comment is one piece, so text inside them is never parsed as SQL.
PIECES = re.compile(r"""--[^\n]*|"(?:[^"]|"")*"|'(?:[^']|'')*'|[^"'-]+|-""")
NAME = r"(?:\x01\d+\x01|[a-z_][a-z0-9_]*)"
KEY = re.compile(rf"FOREIGN KEY \((?:{NAME}(?:, )?|PERIOD )+\) REFERENCES (?P<schema>{NAME})\.(?P<table>{NAME})\(")


def find_referenced_tables(text: str) -> set[tuple[str, str]]:
    """Return (schema, table) that each foreign key in pg_restore's SQL refers to.

    >>> find_referenced_tables('ALTER TABLE a.b\\n  ADD CONSTRAINT k FOREIGN KEY (i, "J") REFERENCES "S".t(x, y);\\n')
    {('S', 't')}
    >>> key = "FOREIGN KEY (i) REFERENCES a.b("
    >>> find_referenced_tables(f'ADD CONSTRAINT "{key}" CHECK (i > 0); -- {key}')
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

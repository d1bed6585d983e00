"""The catalog questions, each in a file of `common/queries/` named after what it answers."""

from functools import cache
from pathlib import Path
from typing import LiteralString

FOLDER = Path(__file__).parent


@cache
def get(name: str) -> LiteralString:
    """The text of `common/queries/<name>.sql`.

    >>> "pg_extension" in get("extensions")
    True
    """
    return (FOLDER / f"{name}.sql").read_text()

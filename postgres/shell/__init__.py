"""Shell scripts that run in throw-away containers, one file each, named after what they do."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def get(*names: str) -> str:
    """The text of the scripts, one after the other; it is run with `sh -ec`."""
    return "\n".join((Path(__file__).parent / f"{name}.sh").read_text(encoding="utf-8") for name in names)

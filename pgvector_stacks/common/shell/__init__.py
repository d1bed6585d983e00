"""Scripts that run beside a server, where there is no Python: one file each, named after what it does.

The header of each says where it runs, who calls it, and why the Docker SDK alone can't do it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def get(*names: str) -> str:
    """The text of the scripts, one after the other; it is run with `sh -ec`."""
    return "\n".join(read_text(f"{name}.sh") for name in names)


def read_text(file: str) -> str:
    """The text of one file."""
    return (Path(__file__).parent / file).read_text(encoding="utf-8")

"""A pytest plugin: the tests have a project of their own, `tests/project`. That of the checkout is its user's.

Loaded before any other module of the product (`-p` in pyproject.toml), since those take the folders by name.
"""

from __future__ import annotations

from pathlib import Path

from pgvector_stacks.config import environment

PROJECT = Path(__file__).parent / "project"
COMMITTED = environment.STACKS  # those of the checkout

environment.STACKS = PROJECT / "stacks"
environment.SQL = PROJECT / "sql"

"""Which backups may go. Pure.

Invariant: the newest `keep` stay; the newest whose drill was good stays, however old; and where no drill ever was good,
so does the newest that no drill has found bad. What goes is older than all `keep`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished backup. `good`: what its last drill found, None where there was none."""

    name: str
    good: bool | None


def doomed(backups: Sequence[Kept], keep: int) -> tuple[str, ...]:
    """The names of those that go, the oldest first. `backups`: the oldest first; `keep` at least 1."""
    stay = {each.name for each in backups[-max(1, keep) :]}
    for verdict in (True, None):
        newest = next((each.name for each in reversed(backups) if each.good is verdict), None)
        if newest is not None:
            stay.add(newest)
            break
    return tuple(each.name for each in backups if each.name not in stay)

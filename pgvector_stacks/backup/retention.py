"""Decides which backups retention removes. Pure.

Invariant: the newest `keep` backups stay. The newest backup with a good drill stays, however old. If no drill was ever
good, the newest backup that was never drilled stays. Every removed backup is older than the newest `keep`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DrilledBackup:
    """A finished backup. `good`: whether its last drill succeeded, None without a drill."""

    name: str
    good: bool | None


def choose_removals(backups: Sequence[DrilledBackup], keep: int, *, made: str = "") -> tuple[str, ...]:
    """Return the names of the backups to remove, oldest first.

    `backups`: oldest first; `keep`: below 1 counts as 1; `made`: the name of one that stays in any case.
    """
    stay = {made, *(each.name for each in backups[-max(1, keep) :])}
    for verdict in (True, None):
        newest = next((each.name for each in reversed(backups) if each.good is verdict), None)
        if newest is not None:
            stay.add(newest)
            break
    return tuple(each.name for each in backups if each.name not in stay)

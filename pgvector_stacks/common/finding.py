"""What was looked at and found, with its remedy: preflight, `doctor` and `status` speak in these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and the command or step that mends it ("" where nothing is wrong).

    `serious` False: worth a warning, and no reason to stop.
    """

    what: str
    found: str
    remedy: str = ""
    serious: bool = True

    @property
    def good(self) -> bool:
        return not self.remedy

    def __str__(self) -> str:
        return f"{self.what}: {self.found}" + (f"\n  {self.remedy}" if self.remedy else "")

"""The result of a check, with a remedy: preflight, `doctor` and `status` report such findings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, what was found, and the command or step that fixes it ("" if nothing is wrong).

    `serious`: False for a warning that is no reason to stop.
    """

    what: str
    found: str
    remedy: str = ""
    serious: bool = True

    @property
    def is_ok(self) -> bool:
        return not self.remedy

    def __str__(self) -> str:
        return f"{self.what}: {self.found}" + (f"\n  {self.remedy}" if self.remedy else "")

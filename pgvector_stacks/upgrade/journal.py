"""Where an upgrade was when it ended, kept beside the new data directory; and what the next run makes of it. Pure.

A directory has its final name only after the journal says `verified`, so a new directory without one is not ours.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.upgrade.decision import Method


class Journal(BaseModel):
    """`*_checkpoint`: the last checkpoint of each directory when the new one was verified: any start moves it.

    `irreversible`: written before the new server is started on linked files; the old one must not be started since.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    old: int
    new: int
    method: Method
    step: str = ""
    superuser: str = "postgres"
    old_image: str = ""  # the old server's, by its id; "" where it had none
    irreversible: bool = False
    verified: bool = False
    old_checkpoint: str = ""
    new_checkpoint: str = ""
    identifier: str = ""  # the new directory's
    drifted: dict[str, list[dict[str, str]]] = {}  # by database, see recorded_schema.py
    downtime_s: float = 0.0
    at: str = ""

    @property
    def rollback(self) -> bool:
        return self.method != "link"


Next = Literal["start over", "go on", "finish"]


def next_step(
    journal: Journal | None, *, old_checkpoint: str, new_checkpoint: str, unfinished: bool = False
) -> Next:  # fmt: skip
    """What to do with what is there. `*_checkpoint`: as they are now; "" where there is no directory to start, "?"
    where a server runs on it. `unfinished`: whether there is a new directory without its name.

    finish: the new server was, or may have been, started on linked files: what it has is the only data there is.

    Raises ServerError where both have been written to since: nobody but the operator can know which one counts.
    """
    if not new_checkpoint:
        return "finish" if journal is not None and journal.irreversible and unfinished else "start over"
    if journal is None or not journal.verified:
        raise ServerError(
            "there is a data directory of the new version already that no upgrade made\n"
            "  look at it, and remove it or move it away"
        )
    if old_checkpoint == journal.old_checkpoint or not old_checkpoint:
        return "go on"
    if new_checkpoint == journal.new_checkpoint:
        return "start over"  # the old server was started since and the new one never was
    raise ServerError(
        f"both PostgreSQL {journal.old} and {journal.new} have been written to since the upgrade: which one counts?\n"
        f"  compare them, and move the one that doesn't out of the way; then `up` again"
    )

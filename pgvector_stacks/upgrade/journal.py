"""The journal of an upgrade, kept beside the new data directory, and the next run's decision from it. Pure.

A directory gets its final name only after the journal says `verified`. So no upgrade created a new directory that has
no such journal.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.upgrade.decision import Method


class Journal(BaseModel):
    """The progress of an upgrade. `*_checkpoint`: each directory's last checkpoint when the new one was verified. Every
    start of a server changes it.

    `irreversible`: the new server may have started on linked files, so the old server must not start any more. Written
    before that start.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    old: int
    new: int
    method: Method
    step: str = ""
    superuser: str = "postgres"
    old_image: str = ""  # the id of the old server's image; "" without one
    irreversible: bool = False
    verified: bool = False
    old_checkpoint: str = ""
    new_checkpoint: str = ""
    identifier: str = ""  # the new directory's system identifier
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
    """Decide how the next run continues. `*_checkpoint`: the present ones, "" without a directory that can start, "?"
    if a server runs on it. `unfinished`: whether there is a new directory without its final name.

    start over: upgrade from the old directory. go on: the upgrade is finished, so continue after it. finish: the new
    server may have started on linked files, so the unfinished directory has the only data. Verify and rename it.

    Raises ServerError if both directories were written to since: only the operator can know which one counts.
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

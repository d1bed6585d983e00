"""How far a long step is, for who watches it: bytes done, of about how many, the time left at the present rate.

What is said, and when, is decided by pure functions. A thread looks how large the growing directory is, or how far the
server is with a dump: the same for both engines, whichever tool copies. It says nothing of a short step, looks seldom
enough to cost the copy nothing, can fail nothing, and ends with the step.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass

from pgvector_stacks.common import queries
from pgvector_stacks.toolbox.interface import Report, Server, Toolbox, rows
from pgvector_stacks.upgrade.decision import size

MINUTE_S = 60.0
Look = Callable[[], tuple[int, int | None]]  # bytes done, of about how many; None: who knows
LOOKS_COST = 0.05  # of the time, at most: a directory may have very many files


@dataclass(frozen=True, slots=True)
class Pace:
    """When lines are due, in seconds from a step's start: the first after `first_s`; the next ones `every_s` apart, and
    a tenth of the time gone by where that is more, so that hours don't fill a log.
    """

    first_s: float = 5.0
    every_s: float = 10.0

    def next_s(self, told_s: float | None) -> float:
        """When the next one is due. `told_s`: when the last one was, None without one."""
        return self.first_s if told_s is None else told_s + max(self.every_s, told_s / 10)


PACE = Pace()


def words(what: str, done: int, total: int | None, elapsed_s: float) -> str:
    """`make the standby: 1.2 of 4.1 GB, about 40 s left`. `total`: about how many bytes it will be, None: who knows.

    More than an estimate is no mistake: then nothing is said of it any more.
    """
    amount = size(done) if done else "nothing"
    if total is None or done >= total:
        return f"{what}: {amount} so far"
    whole = size(total)
    if amount.split(" ")[-1] == whole.split(" ")[-1]:
        amount = amount.split(" ")[0]
    left = f", about {duration(elapsed_s * (total - done) / done)} left" if done else ""
    return f"{what}: {amount} of {whole}{left}"


def duration(seconds: float) -> str:
    """Rounded as one says it.

    >>> [duration(seconds) for seconds in (0.2, 37, 95, 3500, 8000, 500000)]
    ['1 s', '37 s', '95 s', '58 min', '2.2 h', '139 h']
    """
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 100 * 60:
        return f"{round(seconds / 60)} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{round(hours)} h"


@contextmanager
def reporting_progress(what: str, look: Look, report: Report, pace: Pace = PACE) -> Iterator[None]:
    """Tell of it meanwhile."""
    over = threading.Event()
    thread = threading.Thread(
        target=copy_context().run, args=(_tell, what, look, report, pace, over), name=f"progress of {what}", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _tell(what: str, look: Look, report: Report, pace: Pace, over: threading.Event) -> None:
    began, told_s, rest_s, most = time.monotonic(), None, 0.0, 0
    while not over.wait(max(rest_s, began + pace.next_s(told_s) - time.monotonic())):
        looked = time.monotonic()
        try:  # what only tells may fail nothing
            done, total = look()
        except Exception:
            done, total = -1, None
        told_s = time.monotonic() - began
        rest_s = (time.monotonic() - looked) / LOOKS_COST
        if done < most or over.is_set():
            continue  # less than before: it is copied, and cleared away or looked through now
        most = done
        with suppress(Exception):
            report(words(what, done, total, told_s))


def directory(toolbox: Toolbox, path: str, total: int) -> Look:
    """A directory that grows to about `total` bytes: 0 before it is there. Files may vanish meanwhile."""

    def look() -> tuple[int, int]:
        said = toolbox.sh('du -sk "$D" 2>/dev/null | cut -f1', timeout_s=MINUTE_S, D=path).output.strip()
        return 1024 * int(said or 0), total

    return look


def dump(toolbox: Toolbox, server: Server, database: str) -> Look:
    """A pg_dump of a database: bytes of its tables, since nobody knows how small a dump will be."""

    def look() -> tuple[int, int]:
        # a table that somebody waits to change is no reason to wait
        (found,) = rows(toolbox, server, database, queries.get("dump_progress"), first="SET lock_timeout = '1s';")
        return int(found["done"]), int(found["total"])

    return look

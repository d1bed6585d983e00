"""Reports the progress of a long step: bytes done, the estimated total, and the time left at the present rate.

Pure functions decide what to report, and when. A thread measures the size of a growing directory, or how far a dump is:
the same for both engines, whichever tool copies. The thread reports nothing for a short step, measures so rarely that
it doesn't slow the copy down, never fails the step, and ends with the step.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass

from pgvector_stacks.common import queries
from pgvector_stacks.toolbox.interface import Report, ServerConnection, Toolbox, query_rows
from pgvector_stacks.upgrade.decision import format_size

MINUTE_S = 60.0
Measure = Callable[[], tuple[int, int | None]]  # bytes done, and the estimated total or None
LOOKS_COST = 0.05  # the largest share of the time spent measuring: a directory may have very many files


@dataclass(frozen=True, slots=True)
class Pace:
    """When the lines of a step are due. The first is due after `first_s`. The next ones are `every_s` apart, or a tenth
    of the elapsed time if that is longer, so that a step of hours doesn't fill the log.
    """

    first_s: float = 5.0
    every_s: float = 10.0

    def next_s(self, told_s: float | None) -> float:
        """Return when the next line is due, in seconds since the step's start. `told_s`: the same of the last line."""
        return self.first_s if told_s is None else told_s + max(self.every_s, told_s / 10)


PACE = Pace()


def progress_line(what: str, done: int, total: int | None, elapsed_s: float) -> str:
    """Return a line of progress: `make the standby: 1.2 of 4.1 GB, about 40 s left`. `total`: estimate, None without.

    Once `done` exceeds the estimate, the line leaves the estimate out.
    """
    amount = format_size(done) if done else "nothing"
    if total is None or done >= total:
        return f"{what}: {amount} so far"
    whole = format_size(total)
    if amount.split(" ")[-1] == whole.split(" ")[-1]:
        amount = amount.split(" ")[0]
    left = f", about {format_duration(elapsed_s * (total - done) / done)} left" if done else ""
    return f"{what}: {amount} of {whole}{left}"


def format_duration(seconds: float) -> str:
    """Return a duration, rounded for people.

    >>> [format_duration(seconds) for seconds in (0.2, 37, 95, 3500, 8000, 500000)]
    ['1 s', '37 s', '95 s', '58 min', '2.2 h', '139 h']
    """
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 100 * 60:
        return f"{round(seconds / 60)} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{round(hours)} h"


@contextmanager
def reporting_progress(what: str, look: Measure, report: Report, pace: Pace = PACE) -> Iterator[None]:
    """Report the progress of the step `what` while the context is open."""
    over = threading.Event()
    thread = threading.Thread(
        target=copy_context().run,
        args=(_report_until_over, what, look, report, pace, over),
        name=f"progress of {what}",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _report_until_over(what: str, look: Measure, report: Report, pace: Pace, over: threading.Event) -> None:
    began, told_s, rest_s, most = time.monotonic(), None, 0.0, 0
    while not over.wait(max(rest_s, began + pace.next_s(told_s) - time.monotonic())):
        looked = time.monotonic()
        try:
            done, total = look()
        except Exception:  # whatever went wrong: a report of progress must never fail the step
            done, total = -1, None
        told_s = time.monotonic() - began
        rest_s = (time.monotonic() - looked) / LOOKS_COST
        if done < most or over.is_set():
            continue  # smaller than before: the copy is complete, and is now checked or removed
        most = done
        with suppress(Exception):
            report(progress_line(what, done, total, told_s))


def measure_directory(toolbox: Toolbox, path: str, total: int) -> Measure:
    """Measure a directory that grows to about `total` bytes: 0 before it exists. Files may disappear meanwhile."""

    def look() -> tuple[int, int]:
        said = toolbox.sh('du -sk "$D" 2>/dev/null | cut -f1', timeout_s=MINUTE_S, D=path).output.strip()
        return 1024 * int(said or 0), total

    return look


def measure_dump(toolbox: Toolbox, server: ServerConnection, database: str) -> Measure:
    """Measure a pg_dump of a database in bytes of its tables, because the size of the dump can't be known."""

    def look() -> tuple[int, int]:
        # Don't wait for a table that another session waits to change.
        (found,) = query_rows(toolbox, server, database, queries.get("dump_progress"), first="SET lock_timeout = '1s';")
        return int(found["done"]), int(found["total"])

    return look

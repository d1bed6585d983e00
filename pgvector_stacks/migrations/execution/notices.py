"""Shows what the server says while a script runs: warnings always, notices where they were asked for.

One of pgvector's notices is shown always: that an index build left the memory, from where on it takes many times as
long. Equal messages are counted, and of a script that says a thousand different ones the first are shown.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import Connection
from psycopg.errors import Diagnostic

from pgvector_stacks.common.plain_text import quoted

VERBOSE = "PGSTACK_VERBOSE"
MOST = 20  # different messages of one script
BUILD_LEFT_MEMORY = "graph no longer fits into maintenance_work_mem"
REMEDY = (
    "the build takes many times as long from here on: `pgstack plan-memory` says what it needs,\n"
    "  pgvector:memoryMb in the stack file gives it"
)


def requested(environ: Mapping[str, str]) -> bool:
    """True where notices are to be shown, too."""
    return environ.get(VERBOSE, "") not in ("", "0")


class Notices:
    """What one connection says. `say` gets one message each, with the script's name before it."""

    def __init__(self, say: Callable[[str], object], *, verbose: bool) -> None:
        self.say, self.verbose = say, verbose
        self.script = ""
        self.heard: Counter[str] = Counter()

    def begin(self, script: str) -> None:
        """What comes from now on is this script's (its path)."""
        if script != self.script:
            self.end()
            self.script = script

    def end(self) -> None:
        """Say how often what was heard more than once was, and how much was not shown."""
        for text, times in list(self.heard.items())[:MOST]:
            if times > 1:
                self.say(f"{text.splitlines()[0]} ({times} times)")
        more = sum(list(self.heard.values())[MOST:])
        if more:
            self.say(f"{self._where}{more} more messages, not shown")
        self.heard.clear()

    def __call__(self, message: Diagnostic) -> None:
        severity = message.severity_nonlocalized or message.severity or "NOTICE"
        primary = message.message_primary or ""
        slow_build = BUILD_LEFT_MEMORY in primary
        if severity != "WARNING" and not slow_build and not self.verbose:
            return
        lines = [f"{self._where}{severity.lower()}: {quoted(primary)}"]
        lines += [f"  detail: {quoted(message.message_detail)}"] if message.message_detail else []
        if slow_build:
            lines.append(f"  {REMEDY}")
        elif message.message_hint:
            lines.append(f"  hint: {quoted(message.message_hint)}")
        text = "\n".join(lines)
        self.heard[text] += 1
        if self.heard[text] == 1 and len(self.heard) <= MOST:
            self.say(text)

    @property
    def _where(self) -> str:
        return f"{self.script}: " if self.script else ""


LISTENING: WeakKeyDictionary[Connection[Any], Notices] = WeakKeyDictionary()


@contextmanager
def listening(connection: Connection[Any], say: Callable[[str], object]) -> Iterator[None]:
    """Say what this connection's server says meanwhile."""
    found = LISTENING[connection] = Notices(say, verbose=requested(os.environ))
    connection.add_notice_handler(found)
    try:
        yield
    finally:
        found.end()


def begin(connection: Connection[Any], script: str) -> None:
    """What this connection says from now on is the script's. Where nobody listens: nothing."""
    if found := LISTENING.get(connection):
        found.begin(script)

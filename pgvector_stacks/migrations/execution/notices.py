"""Shows the server's messages while a script runs: warnings always, notices if the user asked for them.

One notice of pgvector is always shown: an index build no longer fits into memory, and takes many times as long from
there on. Equal messages are shown once and counted. If a script has too many different messages, only the first ones
are shown.
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

from pgvector_stacks.common.plain_text import quote_lines

VERBOSE = "PGSTACK_VERBOSE"
MOST = 20  # different messages shown per script
BUILD_LEFT_MEMORY = "graph no longer fits into maintenance_work_mem"
REMEDY = (
    "the build takes many times as long from here on: `pgstack plan-memory` says what it needs,\n"
    "  pgvector:memoryMb in the stack file gives it"
)


def are_notices_requested(environ: Mapping[str, str]) -> bool:
    """Return True if the environment asks for notices, too."""
    return environ.get(VERBOSE, "") not in ("", "0")


class Notices:
    """Handles the messages of one connection. `say` gets each message, prefixed with the script's path."""

    def __init__(self, say: Callable[[str], object], *, verbose: bool) -> None:
        self.say, self.verbose = say, verbose
        self.script = ""
        self.heard: Counter[str] = Counter()

    def begin(self, script: str) -> None:
        """Attribute messages from now on to this script, given by its path."""
        if script != self.script:
            self.end()
            self.script = script

    def end(self) -> None:
        """Report how often each repeated message came, and how many messages were not shown."""
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
        lines = [f"{self._where}{severity.lower()}: {quote_lines(primary)}"]
        lines += [f"  detail: {quote_lines(message.message_detail)}"] if message.message_detail else []
        if slow_build:
            lines.append(f"  {REMEDY}")
        elif message.message_hint:
            lines.append(f"  hint: {quote_lines(message.message_hint)}")
        text = "\n".join(lines)
        self.heard[text] += 1
        if self.heard[text] == 1 and len(self.heard) <= MOST:
            self.say(text)

    @property
    def _where(self) -> str:
        return f"{self.script}: " if self.script else ""


LISTENING: WeakKeyDictionary[Connection[Any], Notices] = WeakKeyDictionary()


@contextmanager
def forwarding_notices(connection: Connection[Any], say: Callable[[str], object]) -> Iterator[None]:
    """Pass the server's messages on this connection to `say` within this context."""
    found = LISTENING[connection] = Notices(say, verbose=are_notices_requested(os.environ))
    connection.add_notice_handler(found)
    try:
        yield
    finally:
        found.end()


def begin(connection: Connection[Any], script: str) -> None:
    """Attribute this connection's messages from now on to the script. Does nothing outside of `forwarding_notices`."""
    if found := LISTENING.get(connection):
        found.begin(script)

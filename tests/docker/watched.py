"""An `up` in the background whose words are read as they come, so that something can happen at the right moment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.docker.conftest import DockerStack
from tests.engine.checkout import session_members


class Up:
    """`pgstack up` of a stack, in a session of its own."""

    def __init__(self, stack: DockerStack) -> None:
        self.process: subprocess.Popen[str] = stack.start("up", stack.stack)
        self.lines: list[tuple[float, str]] = []  # when it came, what
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line))

    def until(self, pattern: str, *, number: int = 1, timeout_s: float = 300.0) -> bool:
        """True once the pattern came for the `number`th time, False where the `up` ended before."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            ended = not self._reader.is_alive()
            if sum(1 for _, line in list(self.lines) if re.search(pattern, line)) >= number:
                return True
            if ended:
                return False
            time.sleep(0.02)
        raise AssertionError(f"{pattern!r} did not come within {timeout_s} s:\n{self.said}")

    def end(self, timeout_s: float = 300.0) -> int:
        """Its exit code."""
        code = self.process.wait(timeout=timeout_s)
        self._reader.join(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    @property
    def said(self) -> str:
        return "".join(line for _, line in list(self.lines))

    def kill(self, victim: str, but: str = "") -> list[int]:
        """SIGKILL for what has `victim` in its command line; the process ids. One that ended by itself is none."""
        hit = []
        for process, command in session_members(self.process.pid):
            if victim in command and not (but and but in command):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    hit.append(process)
        return hit


class Most:
    """The most of something that was seen at once, looked at all the time from another thread."""

    def __init__(self) -> None:
        self.seen = 0


@contextmanager
def most(count: Callable[[], int], *, every_s: float = 0.2) -> Iterator[Most]:
    found, stop = Most(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            found.seen = max(found.seen, count())
            stop.wait(every_s)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join(timeout=30)

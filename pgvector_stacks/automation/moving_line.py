"""One line that shows that a long step lives."""

from __future__ import annotations

import shutil
import time
from typing import TextIO


class MovingLine:
    """One line with the time passed: rewritten on a terminal, elsewhere written every 15 seconds."""

    def __init__(self, stream: TextIO, every_s: float = 15.0) -> None:
        self.stream, self.every_s = stream, every_s
        self.started = self.last = time.monotonic()

    def show(self, text: str) -> None:
        """Shows the text in place of the last one; an empty text leaves a terminal's line empty."""
        now = time.monotonic()
        text = f"{text}, {int(now - self.started) // 60}:{int(now - self.started) % 60:02}" if text else ""
        if self.stream.isatty():
            self.stream.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        elif text and now - self.last >= self.every_s:
            self.last = now
            self.stream.write(f"{text}\n")
        self.stream.flush()

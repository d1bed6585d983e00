"""A line that shows the progress of a long step."""

from __future__ import annotations

import shutil
import time
from typing import TextIO


class MovingLine:
    """A line with the elapsed time: rewritten in place on a terminal, elsewhere printed every `every_s` seconds."""

    def __init__(self, stream: TextIO, every_s: float = 15.0) -> None:
        self.stream, self.every_s = stream, every_s
        self.started = self.last = time.monotonic()

    def show(self, text: str) -> None:
        """Replace the current text. An empty text clears the line on a terminal."""
        now = time.monotonic()
        text = f"{text}, {int(now - self.started) // 60}:{int(now - self.started) % 60:02}" if text else ""
        if self.stream.isatty():
            self.stream.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        elif text and now - self.last >= self.every_s:
            self.last = now
            self.stream.write(f"{text}\n")
        self.stream.flush()

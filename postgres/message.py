"""What a no-transaction script sends at once: part of the file between words of ours; errors as places in the file."""

from __future__ import annotations

from dataclasses import dataclass, replace

from postgres.diagnostics import ServerMessage
from postgres.scripts import Script


@dataclass(frozen=True, slots=True)
class Message:
    """What goes out at once: `text[start:end]` of the script between words of ours.

    `leading`: the results that come before the first of the script's statements `first` to `last`.
    """

    start: int
    end: int
    first: int
    last: int
    prefix: str = ""
    suffix: str = ""
    leading: int = 0

    def told(self, script: Script, message: ServerMessage, done: int) -> tuple[ServerMessage, int]:
        """The server's error as one of the file: its position and the number of the statement."""
        index = self.first + max(0, done - self.leading)
        if message.position is not None:
            place = self.start + message.position - 1 - len(self.prefix)
            if place < self.start:  # in the words before
                message = replace(message, position=None)
            elif place > self.end:  # the last statement doesn't end
                message = replace(message, text="syntax error at end of input", position=self.end + 1)
            else:
                message = replace(message, position=place + 1)
        elif index > self.last:
            message = replace(message, hint="", context="a constraint that was deferred to the end of the transaction")
        return message, min(index, self.last)

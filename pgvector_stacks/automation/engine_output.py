"""What pgstack shows of the engine's output: each message once, and an error in our words alone.

The engine prints a message beside the resource's row, again below "Diagnostics", and an error of the program once more
as "unhandled"; it names the resource that asked, not what is wrong. Here a note is shown when it comes, and an error
at the end, where it is read. Lines go in and lines come out: nothing is printed here.
"""

from __future__ import annotations

import re

from pulumi.automation import events

COLOUR = re.compile(r"\x1b\[[\d;]*m")
ROW = re.compile(r"^ (?:[-+~=<>]+ *| {3})(\S+:\S+) (\S+)")
# what stands behind a row, the resource's latest message or how many it has
MESSAGE = re.compile(r"[; ]*\b(error|warning|info): (.*)$")
COUNTS = re.compile(r"(; )? *\d+ (error|warning|message)s?(; \d+ (error|warning|message)s?)*$")
SECONDS = re.compile(r" \([\d.]+s\)")
# rows of resources that are only looked at
QUIET = re.compile(r"^( [~ ] {2}\S+:\S+ \S+( \**refreshing.*| refresh( \([\d.]+s\))?| running.*)?|@ .*|\s*)$")
ERRORED = re.compile(r"^\s*[1-9]\d* errored\b")
# where the engine's plan lies, which is gone when it is read; and, after a `down`, a command that takes the stack file
# away as well
MISLEADING = re.compile(
    r"^(Update plan written to|Run `pulumi up --plan=|The resources in the stack have been deleted|"
    r"If you want to remove the stack completely)"
)
LOCKED = re.compile(r"^error: the stack is currently locked|^\s+file://.*: created by ")  # `deploy` says it
RESOURCE = re.compile(r"^ {2}(\S+:\S+) \((\S+)\):$")  # below "Diagnostics:", with its messages below it
BEGINNING = re.compile(r"^ {4}(error|warning|info|debug): (.*)$")
# what the engine puts in front of a text of ours
FRAME = re.compile(r"^(an unhandled error occurred: |pulumi-python:dynamic/\S+ resource '[^']*' has a problem: )")
OURS = ("pulumi:pulumi:Stack", "pulumi-python:dynamic/pgvector:")
CONSEQUENCE = re.compile(r"^(update|preview|destroy|refresh) failed$")  # of an error that is told as well


class Verdict:
    """Whether an operation of the engine failed, by its events and by what it printed.

    The engine's exit code is a third witness. Any of them is enough: an `up` with a failed step is no success.
    """

    def __init__(self) -> None:
        self.failed = False

    def event(self, event: events.EngineEvent) -> None:
        message = event.diagnostic_event
        error = message is not None and message.severity == "error" and not message.ephemeral
        if event.res_op_failed_event is not None or error:
            self.failed = True

    def line(self, line: str) -> None:
        if ERRORED.match(COLOUR.sub("", line)):
            self.failed = True


class EngineOutput:
    """Takes the engine's lines one by one; `shown` says what to print now, `rest` what at the end."""

    def __init__(self) -> None:
        self._notes: set[str] = set()
        self._rows: set[str] = set()
        self._inside = False  # below "Diagnostics:"
        self._resource = ""
        self._block: list[str] = []  # one message, its lines as they came
        self._errors: list[str] = []

    def shown(self, line: str) -> list[str]:
        """What to print now, colours kept."""
        plain = COLOUR.sub("", line)
        if self._inside and (not plain or plain.startswith("    ")):
            ended = self._end_block() if BEGINNING.match(plain) else []
            self._block.append(line)
            return ended
        ended = self._end_block()
        if resource := RESOURCE.match(plain):
            self._resource = _named(resource)
            return ended
        self._inside = plain == "Diagnostics:"
        if self._inside or any(hidden.match(plain) for hidden in (MISLEADING, LOCKED)):
            return ended
        return ended + (self._of_row(line, plain) if ROW.match(plain) else [] if QUIET.match(plain) else [line])

    def rest(self) -> list[str]:
        """What is left to print when the engine has ended: the errors, each once, first come first."""
        note = self._end_block()
        causes = [error for error in dict.fromkeys(self._errors) if not CONSEQUENCE.match(error)]
        return note + [f"error: {error}" for error in causes or self._errors]

    def _of_row(self, line: str, plain: str) -> list[str]:
        """A row without its messages, where no row before said the same; and a note that is new."""
        message, resource = MESSAGE.search(plain), ROW.match(plain)
        row = COUNTS.sub("", MESSAGE.sub("", plain)).rstrip()
        note: list[str] = []
        if message is not None and resource is not None and message[1] != "error" and message[2] not in self._notes:
            self._notes.add(message[2])
            note = [f"    {message[1]}: {_named(resource)}{message[2]}"]
        without_time = SECONDS.sub("", row)
        if QUIET.match(row) or without_time in self._rows:
            return note
        self._rows.add(without_time)
        return ([line] if row == plain else [row]) + note

    def _end_block(self) -> list[str]:
        """The message that ends here: an error is kept for the end; a note is shown unless its row showed it all."""
        block, self._block = self._block, []
        while block and not block[-1].strip():
            block.pop()
        plain = [COLOUR.sub("", line) for line in block]
        beginning = BEGINNING.match(plain[0]) if plain else None
        if beginning is None:
            return block
        if beginning[1] == "error":
            text = FRAME.sub("", beginning[2])
            rest = "".join(f"\n{line.removeprefix('    ')}" for line in plain[1:])
            self._errors.append(self._resource + text + rest)
            return []
        if beginning[2] in self._notes and len(block) == 1:
            return []
        self._notes.add(beginning[2])
        return [f"    {beginning[1]}: {self._resource}{beginning[2]}", *block[1:]]


def _named(resource: re.Match[str]) -> str:
    """The resource in front of a message of another plugin's; ours say what they are about."""
    return "" if resource[1].startswith(OURS) else f"{resource[1]} {resource[2]}: "

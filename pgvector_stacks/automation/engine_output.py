"""Filters the output of Pulumi's engine, so that each message appears once and errors appear without Pulumi's framing.

Pulumi prints a message in the resource's row and again below "Diagnostics". It prints an error of the program once more
as "unhandled", and names the resource that reported it, not the cause. This module shows a note as soon as it arrives
and the errors at the end, where people read them. It maps lines to lines and prints nothing itself.
"""

from __future__ import annotations

import re

from pulumi.automation import events

COLOUR = re.compile(r"\x1b\[[\d;]*m")
ROW = re.compile(r"^ (?:[-+~=<>]+ *| {3})(\S+:\S+) (\S+)")
# the end of a row: the resource's latest message, or the number of its messages
MESSAGE = re.compile(r"[; ]*\b(error|warning|info): (.*)$")
COUNTS = re.compile(r"(; )? *\d+ (error|warning|message)s?(; \d+ (error|warning|message)s?)*$")
SECONDS = re.compile(r" \([\d.]+s\)")
# rows of resources that Pulumi only reads
QUIET = re.compile(r"^( [~ ] {2}\S+:\S+ \S+( \**refreshing.*| refresh( \([\d.]+s\))?| running.*)?|@ .*|\s*)$")
ERRORED = re.compile(r"^\s*[1-9]\d* errored\b")
# the path of Pulumi's plan, a temporary file that is already deleted when the user reads this; and, after a `down`, the
# advice to run a command that also deletes the stack file
MISLEADING = re.compile(
    r"^(Update plan written to|Run `pulumi up --plan=|The resources in the stack have been deleted|"
    r"If you want to remove the stack completely)"
)
LOCKED = re.compile(r"^error: the stack is currently locked|^\s+file://.*: created by ")  # `deploy` reports this itself
RESOURCE = re.compile(r"^ {2}(\S+:\S+) \((\S+)\):$")  # a heading below "Diagnostics:"; the resource's messages follow
BEGINNING = re.compile(r"^ {4}(error|warning|info|debug): (.*)$")
# what Pulumi prints before our error message
FRAME = re.compile(r"^(an unhandled error occurred: |pulumi-python:dynamic/\S+ resource '[^']*' has a problem: )")
OURS = ("pulumi:pulumi:Stack", "pulumi-python:dynamic/pgvector:")
CONSEQUENCE = re.compile(r"^(update|preview|destroy|refresh) failed$")  # follows from another error, which is shown


class Verdict:
    """Whether an operation of Pulumi's engine failed, judged by its events and by its output.

    The caller also checks Pulumi's exit code. Any one sign is enough: an `up` with a failed step has failed.
    """

    def __init__(self) -> None:
        self.failed = False

    def event(self, event: events.EngineEvent) -> None:
        """Take the next event of Pulumi's engine."""
        message = event.diagnostic_event
        error = message is not None and message.severity == "error" and not message.ephemeral
        if event.res_op_failed_event is not None or error:
            self.failed = True

    def line(self, line: str) -> None:
        """Take the next line of output."""
        if ERRORED.match(COLOUR.sub("", line)):
            self.failed = True


class EngineOutput:
    """Filters Pulumi's output line by line: `shown` returns what to print now, `rest` what to print at the end."""

    def __init__(self) -> None:
        self._notes: set[str] = set()
        self._rows: set[str] = set()
        self._inside = False  # below "Diagnostics:"
        self._resource = ""
        self._block: list[str] = []  # one message, its lines as they came
        self._errors: list[str] = []

    def shown(self, line: str) -> list[str]:
        """Take the next line and return what to print now, with colours."""
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
        """Return what to print after Pulumi has ended: the errors, each once, in their order."""
        note = self._end_block()
        causes = [error for error in dict.fromkeys(self._errors) if not CONSEQUENCE.match(error)]
        return note + [f"error: {error}" for error in causes or self._errors]

    def _of_row(self, line: str, plain: str) -> list[str]:
        """Return the row without its messages, unless it repeats an earlier row; then its note, if that is new."""
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
        """End the current message. Keep an error for the end; return a note, unless its row has shown all of it."""
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
    """Return the resource's name as a prefix of its message; "" for our providers, whose messages name the subject."""
    return "" if resource[1].startswith(OURS) else f"{resource[1]} {resource[2]}: "

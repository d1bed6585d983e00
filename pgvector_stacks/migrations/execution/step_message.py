"""What a no-transaction script sends at once: part of the file between words of ours; errors as places in the file."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pgvector_stacks.common.errors import SqlFailed
from pgvector_stacks.migrations.execution.sql_errors import ServerMessage
from pgvector_stacks.migrations.scripts.script_files import Script
from pgvector_stacks.migrations.scripts.steps import Step

SYNTAX_ERROR = "42601"
NOT_IN_A_BLOCK = "  it can't be one transaction with the statements around it: take it out of BEGIN … COMMIT"
NOT_BESIDE_TEMPORARY = (
    "  it can't be one transaction with the statements around it, which share a temporary object:\n"
    "  make that an ordinary table and drop it at the end"
)


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
            elif place > self.end:
                message = found_behind(message, self.end)
            else:
                message = replace(message, position=place + 1)
        elif index > self.last:
            message = replace(message, hint="", context="a constraint that was deferred to the end of the transaction")
        return message, min(index, self.last)


def found_behind(message: ServerMessage, end: int) -> ServerMessage:
    """An error that the server places behind `end` (0-based), where what is sent of the script ends.

    A syntax error there is a last statement that doesn't end; another is one of a text that was prepared before.
    """
    if message.sqlstate != SYNTAX_ERROR:
        return replace(message, position=None)
    return replace(message, text="syntax error at end of input", position=end + 1)


def of_step(script: Script, text: str, step: Step, finished: int) -> Message:
    """The statements of a step behind BEGIN; those of a block that an older version ran one by one are left out.

    `text`: the script as it is sent; `finished`: how many of its statements ran.
    """
    found, resumed = script.statements, max(step.first, finished)
    if step.kind in ("statement", "temporary"):
        return Message(found[step.first].start, found[step.last].end, step.first, step.last, "BEGIN;", leading=1)
    if step.kind == "undone block" and resumed == step.first:
        return Message(found[step.first].start, found[step.last].end, step.first, step.last)
    begin = text[found[step.first].start : found[step.first].end]
    inner = range(max(step.first + 1, resumed), step.last)
    end = "\n;ROLLBACK" if step.kind == "undone block" else ""
    if not inner:
        return Message(found[step.last].start, found[step.last].start, step.last, step.last, f"{begin}\n;", end, 1)
    return Message(found[inner[0]].start, found[inner[-1]].end, inner[0], inner[-1], f"{begin}\n;", end, 1)


def not_in_a_block(error: SqlFailed, step: Step) -> SqlFailed:
    """The error with other advice: the statement is in a step of several, in a no-transaction script."""
    advice = NOT_BESIDE_TEMPORARY if step.kind == "temporary" else NOT_IN_A_BLOCK
    told, recorded = (
        "\n".join([line for line in text.split("\n") if "pgstack: no-transaction" not in line] + [advice])
        for text in (str(error), error.recorded)
    )
    return SqlFailed(told, sqlstate=error.sqlstate, script=error.script, line=error.line, recorded=recorded)

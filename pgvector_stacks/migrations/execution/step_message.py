"""Builds the messages of a no-transaction script (a part of the file, wrapped in SQL of ours) and relates the server's
errors to places in the file.
"""

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
class StepMessage:
    """One message to the server: `text[start:end]` of the script, between `prefix` and `suffix`, which are SQL of ours.

    `first`, `last`: the numbers of the script's statements in it. `leading`: how many results come before the result of
    statement `first`.
    """

    start: int
    end: int
    first: int
    last: int
    prefix: str = ""
    suffix: str = ""
    leading: int = 0

    def locate_error(self, script: Script, message: ServerMessage, done: int) -> tuple[ServerMessage, int]:
        """Return the server's error with its position in the file, and the number of the statement that failed.

        `done`: how many results arrived before the error.
        """
        index = self.first + max(0, done - self.leading)
        if message.position is not None:
            place = self.start + message.position - 1 - len(self.prefix)
            if place < self.start:  # the position is in the prefix
                message = replace(message, position=None)
            elif place > self.end:
                message = correct_position(message, self.end)
            else:
                message = replace(message, position=place + 1)
        elif index > self.last:
            message = replace(message, hint="", context="a constraint that was deferred to the end of the transaction")
        return message, min(index, self.last)


def correct_position(message: ServerMessage, end: int) -> ServerMessage:
    """Correct the position of an error that the server places after `end` (0-based), the end of the script's part.

    A syntax error there means that the last statement is incomplete. Any other error is about the text of a statement
    that was prepared before, so it has no position in this message.
    """
    if message.sqlstate != SYNTAX_ERROR:
        return replace(message, position=None)
    return replace(message, text="syntax error at end of input", position=end + 1)


def build_step_message(script: Script, text: str, step: Step, finished: int) -> StepMessage:
    """Return the message that runs a step in a transaction, without the statements that ran before.

    An older version of pgstack ran the statements of a block one by one, so a part of a block may have run. `text`: the
    script as it is sent. `finished`: how many of its statements ran.
    """
    found, resumed = script.statements, max(step.first, finished)
    if step.kind in ("statement", "temporary"):
        return StepMessage(found[step.first].start, found[step.last].end, step.first, step.last, "BEGIN;", leading=1)
    if step.kind == "undone block" and resumed == step.first:
        return StepMessage(found[step.first].start, found[step.last].end, step.first, step.last)
    begin = text[found[step.first].start : found[step.first].end]
    inner = range(max(step.first + 1, resumed), step.last)
    end = "\n;ROLLBACK" if step.kind == "undone block" else ""
    if not inner:
        return StepMessage(found[step.last].start, found[step.last].start, step.last, step.last, f"{begin}\n;", end, 1)
    return StepMessage(found[inner[0]].start, found[inner[-1]].end, inner[0], inner[-1], f"{begin}\n;", end, 1)


def advise_own_step(error: SqlFailed, step: Step) -> SqlFailed:
    """Return the error with advice for a statement that is one of several in its step."""
    advice = NOT_BESIDE_TEMPORARY if step.kind == "temporary" else NOT_IN_A_BLOCK
    shown, recorded = (
        "\n".join([line for line in text.split("\n") if "pgstack: no-transaction" not in line] + [advice])
        for text in (str(error), error.recorded)
    )
    return SqlFailed(shown, sqlstate=error.sqlstate, script=error.script, line=error.line, recorded=recorded)

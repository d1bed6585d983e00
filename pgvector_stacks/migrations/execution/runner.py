"""Sends scripts over the owner's connection: one message per script, one transaction per group.

A whole script is sent as one simple query, so that a script costs one round trip and the server's error position is the
position in the file. The number of results before an error shows which statement failed. This module does not decide
what runs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import Connection, generators, pq
from psycopg.pq import DiagnosticField, ExecStatus

from pgvector_stacks.common import row_values
from pgvector_stacks.common.errors import SqlFailed, ValidationFailed
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.migrations.execution import notices
from pgvector_stacks.migrations.execution.script_session import Session
from pgvector_stacks.migrations.execution.sql_errors import ServerMessage, explain
from pgvector_stacks.migrations.execution.step_message import correct_position
from pgvector_stacks.migrations.lexing.lexing import Statement, line_and_column
from pgvector_stacks.migrations.scripts import resets
from pgvector_stacks.migrations.scripts.planning import Pending
from pgvector_stacks.migrations.scripts.script_files import Script

Rows = list[tuple[str, ...]]
GOOD = {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.EMPTY_QUERY, ExecStatus.SINGLE_TUPLE}
COPYING = {ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH}
# Between the script and the statements that end its session: the line break ends a comment, the semicolon a statement.
SCRIPT_END = "\n;"
KEPT_COLUMN = b"pgstack_look"  # name of the first column of an answer that is kept


@dataclass(frozen=True, slots=True)
class ScriptRun:
    """A script that ran, with the number of its statements as counted by the server, and its duration."""

    pending: Pending
    statements: int
    duration_ms: int


def run_in_one_transaction(
    session: Session, pending: Sequence[Pending], report: Callable[[Pending], None]
) -> list[ScriptRun]:
    """Run transactional scripts in the connection's open transaction, without a commit. Raises SqlFailed.

    Call `session.begin` before.
    """
    ran = []
    for entry in pending:
        report(entry)
        started = time.monotonic()
        count = run_script(session, entry.script)
        ran.append(ScriptRun(entry, count, round((time.monotonic() - started) * 1000)))
    session.finish()
    return ran


def run_script(session: Session, script: Script) -> int:
    """Run one script in the open transaction, end its session, and return the number of its statements.

    A violated deferred constraint is an error of this script. Raises SqlFailed.
    """
    connection = session.connection
    noisy = session.before(script)
    if script.statement_timeout_s is not None:
        connection.execute(f"SET LOCAL statement_timeout = {round(script.statement_timeout_s * 1000)}".encode())
    if connection.info.transaction_status == pq.TransactionStatus.IDLE:
        connection.execute("SELECT")  # psycopg opens the transaction with the first statement it sees
    end, checks = session.tail(noisy)
    text, added = session.text(script)
    count, answers = send(connection, script, text + SCRIPT_END + ";".join(end), checks=checks, added=added)
    if connection.info.transaction_status != pq.TransactionStatus.INTRANS:
        raise SqlFailed(f"{script.path}: ended the transaction it runs in", script=script.name)
    session.follow(script, noisy, answers)
    return count - len(end) - sum(one.answers for one in added)


def send(
    connection: Connection[Any],
    script: Script,
    text: str,
    *,
    first: int = 0,
    checks: int | None = None,
    added: Sequence[resets.AddedStatement] = (),
) -> tuple[int, list[Rows]]:
    """Send `text` as one message, and return the number of results and the answers whose first column is LOOK.

    `first`: the number of the script's statement that `text` begins with. `checks`: which statement after the script
    checks deferred constraints. `added`: the statements that were added to the script. Raises SqlFailed.
    """
    done, failed, answers = exchange(connection, script, text)
    if failed is not None:
        if failed.position is not None:
            failed = replace(failed, position=resets.position_in_script(failed.position, added))
        raise explain(script, *_locate_error(script, failed, resets.number_in_script(first + done, added), checks))
    return done, answers


def exchange(connection: Connection[Any], script: Script, text: str) -> tuple[int, ServerMessage | None, list[Rows]]:
    """Send `text`, which is of the script, as one message, and wait for its results.

    Return the number of good results, the error of the first bad one or None, and the answers whose first column is
    LOOK. A COPY that needs data is an error, and closes the connection. Raises SqlFailed if the connection is lost.
    """
    notices.begin(connection, script.path)
    wire = connection.pgconn
    try:
        wire.send_query(text.encode())
        done, failed, answers = connection.wait(_outcome(wire))
    except psycopg.OperationalError as error:
        raise explain_lost_connection(script, error) from None
    if failed is not None and failed.status in COPYING:
        connection.close()
        return done, ServerMessage("COPY needs a client that sends or takes the data"), answers
    message = None if failed is None else _message(failed)
    if wire.status != pq.ConnStatus.OK:
        raise explain_lost_connection(script, message.text if message else "the connection was lost")
    return done, message, answers


def _outcome(wire: Any) -> Generator[Any, Any, tuple[int, Any, list[Rows]]]:
    """Return the number of good results, the first bad one, and the answers with LOOK. Don't wait for a COPY to end."""
    yield from generators.send(wire)
    done, failed = 0, None
    answers: list[Rows] = []
    while (result := (yield from generators.fetch(wire))) is not None:
        if result.status in GOOD:
            done += 1
            if result.status == ExecStatus.TUPLES_OK and result.nfields > 1 and result.fname(0) == KEPT_COLUMN:
                answers.append(_texts(result))
        elif failed is None:
            failed = result
            if result.status in COPYING:
                break
    return done, failed, answers


def _texts(result: Any) -> Rows:
    return [
        tuple((result.get_value(row, column) or b"").decode() for column in range(result.nfields))
        for row in range(result.ntuples)
    ]


def _locate_error(script: Script, message: ServerMessage, index: int, checks: int | None) -> tuple[ServerMessage, int]:
    """Return the error and its statement's number. An error in SQL after the script counts for its last statement."""
    end = len(script.text)
    if message.position is not None and message.position > end:
        return correct_position(message, end), index
    last = len(script.statements) - 1
    if message.position is None and index > last:
        deferred = checks is not None and index == last + 1 + checks
        context = "a constraint that was deferred to the end of the script" if deferred else "the end of its session"
        return replace(message, hint="", context=context), last
    return message, index


def explain_lost_connection(script: Script, reason: object) -> SqlFailed:
    """Return the error for a lost connection to the server."""
    words = one_line(" ".join(str(reason).split()))
    return SqlFailed(
        f"{script.path}: the server went away while the scripts ran: {words}\n"
        "  what was not committed is undone. See why:  pgstack doctor STACK;  then `up` again",
        script=script.name,
    )


def pad_to_position(script: Script, statement: Statement) -> str:
    """Return the statement with blanks for all text before it, so that the server's positions are those of the file."""
    before = re.sub(r"[^\n]", " ", script.text[: statement.start])
    return before + script.text[statement.start : statement.end]


def run_verify_script(connection: Connection[Any], script: Script, *, most_rows: int = 5) -> None:
    """Run a verify script and roll back its effects. Every row that a query returns is a mistake.

    Raises ValidationFailed with the rows, or SqlFailed.
    """
    notices.begin(connection, script.path)
    connection.execute("SAVEPOINT pgstack_verify")
    connection.execute("SET LOCAL row_security = off")  # rows that FORCE ROW LEVEL SECURITY would hide are an error
    wire = connection.pgconn
    for number, statement in enumerate(script.statements):
        # the extended protocol takes only one statement per message, so that a script can't end our savepoint
        wire.send_query_params(pad_to_position(script, statement).encode(), None)
        for result in connection.wait(generators.execute(wire)):
            if result.status not in GOOD:
                raise explain(script, _message(result), number)
            if result.status == ExecStatus.TUPLES_OK and result.ntuples:
                shown, recorded = (
                    _rows(script, number, result, most_rows, show=show) for show in (row_values.are_shown(), False)
                )
                raise ValidationFailed(shown, recorded=recorded)
    connection.execute("ROLLBACK TO SAVEPOINT pgstack_verify")


def _rows(script: Script, number: int, result: Any, most: int, *, show: bool) -> str:
    """Return the rows of a verify script as text. `show`: include their values, not only the names of the columns."""
    line, _ = line_and_column(script.text, script.statements[number].start)
    names = [(result.fname(column) or b"?").decode() for column in range(result.nfields)]
    lines = [f"{script.path}:{line}: found {result.ntuples} row(s) that should not be there"]
    if not show:
        return "\n".join([*lines, f"  {one_line(', '.join(names))}  {row_values.WITHHELD}"])
    for row in range(min(most, result.ntuples)):
        values = [(result.get_value(row, column) or b"NULL").decode() for column in range(result.nfields)]
        lines.append("  " + one_line(", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))))
    return "\n".join(lines)


def _message(result: Any) -> ServerMessage:
    def part(field: DiagnosticField) -> str:
        return (result.error_field(field) or b"").decode(errors="replace")

    position = part(DiagnosticField.STATEMENT_POSITION)
    return ServerMessage(
        text=part(DiagnosticField.MESSAGE_PRIMARY) or result.error_message.decode(errors="replace").strip(),
        sqlstate=part(DiagnosticField.SQLSTATE),
        detail=part(DiagnosticField.MESSAGE_DETAIL),
        hint=part(DiagnosticField.MESSAGE_HINT),
        context=part(DiagnosticField.CONTEXT),
        position=int(position) if position else None,
    )

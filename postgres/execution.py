"""Sends scripts over the owner's connection: one message a script, one transaction a group.

A whole script goes out as one simple query, so there is one round trip a script and the server's error position is
the position in the file. The results that arrived before an error tell which statement failed. Nothing here decides
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

from postgres import notices
from postgres.diagnostics import ServerMessage, explain
from postgres.errors import SqlFailed, ValidationFailed
from postgres.lexing import Statement, line_and_column
from postgres.planning import Pending, statement_hash
from postgres.scripts import Script

GOOD = {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.EMPTY_QUERY, ExecStatus.SINGLE_TUPLE}
COPYING = {ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH}
# 25001: can't run inside a transaction block; 2D000: a procedure wants to commit
NEEDS_NO_TRANSACTION = frozenset({"25001", "2D000"})
# What a script may leave behind: settings (pg_dump empties search_path) and deferred constraints. No role: it has none.
# It goes out behind the script, in the same message. The line break ends a comment, the semicolon a statement.
TIDY = "\n;RESET ALL;SET CONSTRAINTS ALL IMMEDIATE"
TIDYING = 2  # statements


@dataclass(frozen=True, slots=True)
class Ran:
    """A script that ran: how many statements the server counted, and how long it took."""

    pending: Pending
    statements: int
    duration_ms: int


def run_together(
    connection: Connection[Any], pending: Sequence[Pending], report: Callable[[Pending], None]
) -> list[Ran]:
    """Run transactional scripts in the connection's open transaction. Commits nothing. Raises SqlFailed."""
    ran = []
    for entry in pending:
        report(entry)
        started = time.monotonic()
        count = run(connection, entry.script)
        ran.append(Ran(entry, count, round((time.monotonic() - started) * 1000)))
    return ran


def run(connection: Connection[Any], script: Script) -> int:
    """Run one script in the open transaction, tidy up behind it, return the number of its statements.

    A deferred constraint that it violated is its error. Raises SqlFailed.
    """
    if script.statement_timeout_s is not None:
        connection.execute(f"SET LOCAL statement_timeout = {round(script.statement_timeout_s * 1000)}".encode())
    if connection.info.transaction_status == pq.TransactionStatus.IDLE:
        connection.execute("SELECT")  # psycopg opens the transaction with the first statement it sees
    count = send(connection, script, script.text + TIDY) - TIDYING
    if connection.info.transaction_status != pq.TransactionStatus.INTRANS:
        raise SqlFailed(f"{script.path}: ended the transaction it runs in", script=script.name)
    return count


def send(connection: Connection[Any], script: Script, text: str, *, first: int = 0) -> int:
    """Send `text` (statements from number `first` of `script`) as one message; count the results, keep none.

    Raises SqlFailed.
    """
    notices.begin(connection, script.path)
    wire = connection.pgconn
    try:
        wire.send_query(text.encode())
        done, failed = connection.wait(_outcome(wire))
    except psycopg.OperationalError as error:
        raise gone(script, error) from None
    if failed is not None and failed.status in COPYING:
        connection.close()
        raise explain(script, ServerMessage("COPY needs a client that sends or takes the data"), first + done)
    if wire.status != pq.ConnStatus.OK:
        raise gone(script, _message(failed).text if failed is not None else "the connection was lost")
    if failed is not None:
        raise explain(script, *_told_of(script, _message(failed), first + done))
    return done


def _outcome(wire: Any) -> Generator[Any, Any, tuple[int, Any]]:
    """How many results were good, and the first that was not; none is kept. COPY is not waited for."""
    yield from generators.send(wire)
    done, failed = 0, None
    while (result := (yield from generators.fetch(wire))) is not None:
        if result.status in GOOD:
            done += 1
        elif failed is None:
            failed = result
            if result.status in COPYING:
                break
    return done, failed


def _told_of(script: Script, message: ServerMessage, index: int) -> tuple[ServerMessage, int]:
    """The error as one of the script's own also where it came in what is sent behind it."""
    end = len(script.text)
    if message.position is not None and message.position > end:  # the last statement doesn't end
        return replace(message, text="syntax error at end of input", position=end + 1), index
    last = len(script.statements) - 1
    if message.position is None and index > last:
        return replace(message, hint="", context="a constraint that was deferred to the end of the script"), last
    return message, index


def gone(script: Script, reason: object) -> SqlFailed:
    """The server went away: what is not in the ledger was not kept."""
    words = " ".join(str(reason).split())
    return SqlFailed(
        f"{script.path}: the server went away while the scripts ran: {words}\n"
        "  what was not committed is undone. See why:  pgstack doctor STACK;  then `up` again",
        script=script.name,
    )


def run_apart(connection: Connection[Any], entry: Pending, finished: int, report: Callable[[Pending], None]) -> Ran:
    """Run a no-transaction script statement by statement, from number `finished` (0-based) on; each one recorded.

    A statement that may run in a transaction commits together with its record. One that may not (CREATE INDEX
    CONCURRENTLY, VACUUM) is recorded as started before and as done after; an index that a killed run left INVALID
    is dropped first. Raises SqlFailed.
    """
    script = entry.script
    report(entry)
    started = time.monotonic()
    connection.rollback()
    connection.autocommit = True
    try:
        if script.statement_timeout_s is not None:
            connection.execute(f"SET statement_timeout = {round(script.statement_timeout_s * 1000)}".encode())
        for number in range(finished, len(script.statements)):
            _run_one(connection, script, number)
        connection.execute(b"RESET ALL")
    finally:
        if not connection.closed:
            connection.autocommit = False
    return Ran(entry, len(script.statements), round((time.monotonic() - started) * 1000))


def _run_one(connection: Connection[Any], script: Script, number: int) -> None:
    statement = script.statements[number]
    text = in_place(script, statement)
    if _finished_before_a_crash(connection, script, number):
        return _record(connection, script, number, "done")
    try:
        with connection.transaction():
            _record(connection, script, number, "done")
            send(connection, script, text, first=number)
        return None
    except SqlFailed as error:
        if error.sqlstate not in NEEDS_NO_TRANSACTION or connection.closed:
            raise
    _record(connection, script, number, "started")
    send(connection, script, text, first=number)
    return _record(connection, script, number, "done")


def in_place(script: Script, statement: Statement) -> str:
    """The statement behind blanks, so that the server's positions are those of the file."""
    before = re.sub(r"[^\n]", " ", script.text[: statement.start])
    return before + script.text[statement.start : statement.end]


def _record(connection: Connection[Any], script: Script, number: int, state: str) -> None:
    connection.execute(
        "INSERT INTO pgstack.statement (script, number, normalised, state) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (script, number) DO UPDATE SET state = excluded.state, normalised = excluded.normalised,"
        " at = clock_timestamp()",
        (script.name, number, statement_hash(script, number), state),
    )


def _finished_before_a_crash(connection: Connection[Any], script: Script, number: int) -> bool:
    """True where CREATE INDEX CONCURRENTLY was started, finished, and its record lost. An INVALID one is dropped."""
    index = concurrent_index(script, number)
    was_started = connection.execute(
        "SELECT state = 'started' FROM pgstack.statement WHERE script = %s AND number = %s", (script.name, number)
    ).fetchone()
    if index is None or was_started is None or not was_started[0]:
        return False
    found = connection.execute(
        "SELECT x.indisvalid, x.indexrelid::regclass::text FROM pg_index x WHERE x.indexrelid = to_regclass(%s)",
        (index,),
    ).fetchone()
    if found is None:
        return False
    if found[0]:
        return True
    connection.execute(f"DROP INDEX CONCURRENTLY {found[1]}".encode())
    return False


def concurrent_index(script: Script, number: int) -> str | None:
    """The index's name, as written and in its table's schema, if the statement is CREATE INDEX CONCURRENTLY name …"""
    tokens = script.statements[number].tokens
    words = [script.text[token.start : token.end] for token in tokens]
    upper = [word.upper() for word in words]
    if upper[0] != "CREATE" or "CONCURRENTLY" not in upper[:4] or "ON" not in upper:
        return None
    place = upper.index("CONCURRENTLY") + 1
    if upper[place : place + 3] == ["IF", "NOT", "EXISTS"]:
        place += 3
    if upper[place] == "ON":
        return None
    table = upper.index("ON") + 1
    table += upper[table] == "ONLY"
    schema = f"{words[table]}." if table + 1 < len(words) and words[table + 1] == "." else ""
    return schema + words[place]


def check(connection: Connection[Any], script: Script, *, most_rows: int = 5) -> None:
    """Run a verify script and undo all it did. Every row a query returns is something wrong.

    Raises ValidationFailed with the rows, or SqlFailed.
    """
    notices.begin(connection, script.path)
    connection.execute("SAVEPOINT pgstack_verify")
    wire = connection.pgconn
    for number, statement in enumerate(script.statements):
        wire.send_query(in_place(script, statement).encode())
        for result in connection.wait(generators.execute(wire)):
            if result.status not in GOOD:
                raise explain(script, _message(result), number)
            if result.status == ExecStatus.TUPLES_OK and result.ntuples:
                raise ValidationFailed(_rows(script, number, result, most_rows))
    connection.execute("ROLLBACK TO SAVEPOINT pgstack_verify")


def _rows(script: Script, number: int, result: Any, most: int) -> str:
    line, _ = line_and_column(script.text, script.statements[number].start)
    names = [(result.fname(column) or b"?").decode() for column in range(result.nfields)]
    lines = [f"{script.path}:{line}: found {result.ntuples} row(s) that should not be there"]
    for row in range(min(most, result.ntuples)):
        values = [(result.get_value(row, column) or b"NULL").decode() for column in range(result.nfields)]
        lines.append("  " + ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True)))
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

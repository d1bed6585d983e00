"""Runs no-transaction scripts step by step: steps.py says what a step is.

Invariant: each statement has its effect exactly once, in the session that the script describes, however often the
script is stopped or its rest edited. A step that may run in a transaction commits together with its record and the
objects it created. A statement that may not (CREATE INDEX CONCURRENTLY, VACUUM) is recorded as started, with a note of
what exists, and afterwards as done. What a killed statement left is dropped before the statement runs again. A DO or
CALL that commits inside is recorded as started, too; if it may have committed, only a person lets it begin again. Locks
are waited for as in other scripts.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import psycopg
from psycopg import Connection, pq

from pgvector_stacks.common.errors import SqlFailed
from pgvector_stacks.connections.connection import wrap_server_error
from pgvector_stacks.connections.lock_retry import RETRIABLE, Locks
from pgvector_stacks.migrations.execution import commits_inside, index_leftovers, ledger_writer, step_records
from pgvector_stacks.migrations.execution.ledger_writer import Write
from pgvector_stacks.migrations.execution.runner import ScriptRun, explain_lost_connection
from pgvector_stacks.migrations.execution.step_message import StepMessage, advise_own_step, build_step_message
from pgvector_stacks.migrations.execution.step_sending import send, waiting_longer
from pgvector_stacks.migrations.lexing.lexing import line_and_column
from pgvector_stacks.migrations.scripts import interrupted, kept_settings, step_settings, steps
from pgvector_stacks.migrations.scripts.interrupted import StartedStatement, statement_hash
from pgvector_stacks.migrations.scripts.planning import Pending
from pgvector_stacks.migrations.scripts.script_files import Script
from pgvector_stacks.migrations.scripts.steps import Step

# 25001: the statement can't run in a transaction block; 2D000: a procedure tries to commit in one
NEEDS_NO_TRANSACTION = frozenset({"25001", "2D000"})
CAREFUL = re.compile(r"read[\s_]+only|\b(role|authorization)\b", re.IGNORECASE)
LOCK_TIMEOUT = "55P03"
# To record its objects, the whole schema is read after each step, until that has taken 5 s and a tenth of the run time.
NOTING_S, NOTING_SHARE = 5.0, 0.1
Noted = tuple[Mapping[str, Sequence[int]], list[Write]]  # by role, OIDs held back; the writes that record the schema
# The arguments: a connection in a transaction, and the offset where the script's rest begins
NoteObjects = Callable[[Connection[Any], int], Noted]


def run(
    owner: Connection[Any], records: Connection[Any], entry: Pending, *, locks: Locks | None = None,
    note_objects: NoteObjects = lambda *_: ({}, []), opening: Mapping[str, str] | None = None,
    reconnected: Callable[[], Connection[Any]] | None = None,
) -> ScriptRun:  # fmt: skip
    """Run a no-transaction script from where it stopped. `owner`: the scripts' connection, which is reset afterwards.

    `records`: another connection to the same database, which may write `pgstack.statement` and which no script uses.
    `note_objects`: returns what is held back and the writes that record the schema; called in an open transaction.
    `opening`: the settings of database and role when the script began, for its reruns. `reconnected`: opens `records`
    again. Raises SqlFailed.
    """
    began = time.monotonic()
    owner.rollback()
    owner.autocommit = True
    work = _Run(owner, records, entry.script, locks or Locks(), note_objects, opening or {}, reconnected)
    try:
        work.run_all()
    except SqlFailed as error:
        with suppress(psycopg.Error):
            work.record_at_stop()
        if work.rest_start:
            line, _ = line_and_column(entry.script.text, work.rest_start)
            goes_on = "" if work.has_committed else "; the next `up` continues after it"
            raise error.with_line(f"everything up to line {line} is done and stays{goes_on}") from None
        raise
    owner.execute("DISCARD ALL")
    owner.autocommit = False
    return ScriptRun(entry, len(entry.script.statements), round((time.monotonic() - began) * 1000))


@dataclass
class _Run:
    owner: Connection[Any]
    records: Connection[Any]
    script: Script
    locks: Locks
    note_objects: NoteObjects
    opening: Mapping[str, str]
    reconnected: Callable[[], Connection[Any]] | None
    unrecorded: list[int] = field(default_factory=list)  # statements that only set the session, since the last record
    started: dict[int, StartedStatement] = field(default_factory=dict)
    finished: int = 0
    lock_timeout_s: float = 0.0
    careful: bool = False  # the script may set another role or make a transaction read only
    began: float = field(default_factory=time.monotonic)
    noting_s: float = 0.0
    not_noted: bool = False
    rest_start: int = 0  # the offset where the script's rest begins
    repeatable: bool = True  # the failed statement may be tried again
    has_committed: bool = False  # the failed statement has, or may have
    held: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @cached_property
    def text(self) -> str:
        """The script as it is sent, of the same length as the file's text."""
        return kept_settings.protect_limits(self.script, self.locks.timeout_s * 1000)

    def run_all(self) -> None:
        cut, _ = steps.split_into_steps(self.script)
        self.careful = CAREFUL.search(self.script.text) is not None
        how_far = interrupted.read_finished(self.records).get(self.script.name, interrupted.Progress())
        self.finished = len(how_far.done)
        self.not_noted = self.finished > 0
        self.started = {entry.number: entry for entry in how_far.started}
        if self.script.statement_timeout_s is not None:
            timeout = round(self.script.statement_timeout_s * 1000)
            self.owner.execute(f"SET statement_timeout = {timeout}".encode())
        self.restore_settings(cut)
        self.forget_edited(cut)
        for step in cut:
            if step.last < self.finished:
                self.rest_start = self.end_of(step)
                continue
            if steps.is_repeated(self.script, step):
                self.retry_on_locks(self.run_unrecorded, step.first)
                self.unrecorded.append(step.first)
            else:
                self.retry_on_locks(self.run_step, step)
                self.unrecorded.clear()
                self.rest_start = self.end_of(step)

    def restore_settings(self, cut: Sequence[Step]) -> None:
        """Give the session the settings that the finished steps left."""
        remembered = interrupted.read_session_settings(self.records, self.script.name)
        setting = step_settings.list_repeated(self.script, cut, self.finished, remembered)
        may_fail = step_settings.find_fallible(self.script, setting)
        for entry in setting:
            if isinstance(entry, tuple):
                self.owner.execute("SELECT pg_catalog.set_config(%s, %s, false)", entry)
                continue
            try:
                self.retry_on_locks(self.run_unrecorded, entry)
            except SqlFailed as error:
                if self.owner.closed or error.sqlstate in RETRIABLE or entry not in may_fail:
                    raise

    def end_of(self, step: Step) -> int:
        return self.script.statements[step.last].end

    def retry_on_locks(self, action: Callable[..., None], *values: Any) -> None:
        """Run `action`. If a lock is not granted, pause and run it again, until `wait_s` seconds were spent waiting."""
        waited, pause = 0.0, 0.2
        while True:
            began, self.lock_timeout_s = time.monotonic(), self.locks.timeout_s
            try:
                return action(*values)
            except (psycopg.Error, SqlFailed) as error:
                self.undo()
                lost = self.owner.closed or self.records.closed
                if lost or error.sqlstate not in RETRIABLE or (error.sqlstate != LOCK_TIMEOUT and not self.repeatable):
                    if isinstance(error, SqlFailed):
                        raise error from None
                    raise explain_lost_connection(self.script, error) if lost else wrap_server_error(error) from None
                waited += min(time.monotonic() - began, max(self.lock_timeout_s, 1.0))
                if waited + pause > self.locks.wait_s or not self.repeatable:
                    raise self.locks.not_given(error, self.locks.wait_s) if self.locks.not_given else error from None
            self.locks.report(f"waits for a lock; again in {pause:.1f} s")
            time.sleep(pause * random.uniform(0.8, 1.2))
            waited += pause
            pause = min(pause * 2, 5.0)

    def run_step(self, step: Step) -> None:
        """Run one step and record it."""
        number = step.first
        known = number in self.started or commits_inside.is_found(self.owner, self.script, number)
        if known and step.kind == "statement":
            return self.run_outside_transaction(number)
        try:
            return self.run_in_transaction(step)
        except SqlFailed as error:
            if error.sqlstate not in NEEDS_NO_TRANSACTION or self.owner.closed:
                raise
            if step.kind != "statement":
                raise advise_own_step(error, step) from None
        self.undo()
        ledger_writer.unstage(self.records, self.owner)
        return self.run_outside_transaction(number)

    def run_in_transaction(self, step: Step) -> None:
        """Run a step in a transaction, with its record and the objects it created."""
        message = build_step_message(self.script, self.text, step, self.finished)
        if step.kind == "undone block":
            self.send(message)
            return self.record_apart(step, objects=False)
        noting = steps.changes_schema(self.script, step.numbers) and self.may_note()
        sets = step_settings.list_settings_left(self.script, step.numbers)
        self.stage_writes(self.build_record(step))  # before it begins: a REPEATABLE READ transaction must see this
        land = f"{step_records.build_landing_call(sets)};COMMIT"
        if not self.careful and not noting:
            self.send(replace(message, suffix=f"\n;{land}"))
            return self.mark_not_noted(step)
        self.send(message)
        end = replace(message, start=message.end, leading=-len(step.numbers))
        if self.careful:
            if self.owner.execute("SHOW transaction_read_only").fetchone() == ("on",):
                self.send(replace(end, prefix="COMMIT"))  # a read-only step changed nothing outside of its session
                return self.record_apart(step, objects=False)
            self.send(replace(end, prefix="SET CONSTRAINTS ALL IMMEDIATE;SET LOCAL ROLE NONE"))
        if noting and self.owner.execute("SHOW transaction_isolation").fetchone() == ("read committed",):
            writes = self.note(self.owner, self.end_of(step))
            self.stage_writes(self.build_record(step, noted=True), *writes)
            return self.send(replace(end, prefix=land))
        self.send(replace(end, prefix=land))
        return self.mark_not_noted(step)

    def stage_writes(self, *writes: Write) -> None:
        """Leave what the step's transaction may write: a step that misuses it can only record itself as done."""
        ledger_writer.stage(self.records, self.owner, writes, within=None)

    def mark_not_noted(self, step: Step) -> None:
        """Remember whether the step may have created objects of which only the names in its text are recorded."""
        changes = any(steps.changes_schema(self.script, [number]) for number in self.list_unrecorded(step))
        self.not_noted = self.not_noted or changes

    def may_note(self) -> bool:
        """Return False once reading the schema has taken too long; then only the names in each step are recorded."""
        return self.noting_s < max(NOTING_S, NOTING_SHARE * (time.monotonic() - self.began))

    def note(self, connection: Connection[Any], rest_start: int) -> list[Write]:
        """Return the Writes that record the schema as the open transaction sees it. `rest_start`: see `_Run`."""
        began = time.monotonic()
        self.held, writes = self.note_objects(connection, rest_start)
        self.noting_s += time.monotonic() - began
        if self.not_noted:
            self.not_noted = False
            return [step_records.delete_noted_names(self.script), *writes]
        return writes

    def run_outside_transaction(self, number: int) -> None:
        """Run a statement outside of a transaction and record it. First drop what an earlier attempt of it left."""
        step = Step(number, number)
        if steps.may_commit_inside(self.script, number):
            return self.run_committing(step)
        if (before := self.started.get(number)) is not None:
            noted = before.note
            if noted is None:
                noted = index_leftovers.build_note_by_name(self.owner, self.script, number)
            own = index_leftovers.read_statement_state(self.records, noted)
            if own.finished and not index_leftovers.is_there(self.owner, self.script, number, noted):
                return self.record_apart(step)
            self.drop(own, number)
            if own.to_finalize:
                return self.finalize(step)
        noted = index_leftovers.build_note(self.owner, self.script, number)
        self.start(number, noted)
        try:
            self.run_with_long_wait(number)
        except SqlFailed as error:
            self.undo()
            if not self.owner.closed and not self.records.closed:
                self.start(number, index_leftovers.add_failed_indexes(self.records, noted))
            raise error from None
        return self.record_apart(step)

    def run_committing(self, step: Step) -> None:
        """Run a DO or CALL that may commit. It begins once: only a person knows how far it came, if it ends early."""
        number, before = step.first, self.unrecorded
        with self.records.transaction():
            if before:  # a record without a gap, to which a person adds that the statement is done
                self.write(step_records.record_settings_before(self.script, before, self.opening))
            self.start(number, commits_inside.build_note(self.script, number))
        try:
            self.run_with_long_wait(number)
        except SqlFailed as error:
            self.repeatable = not self.has_committed
            if self.has_committed:
                raise error.with_line(commits_inside.explain_commit(self.script, number)) from None
            if not self.records.closed:
                for each in (*before, number):
                    self.write(step_records.build_record_deletion(self.script, each))
                del self.started[number]
            raise
        self.record_apart(step)

    def finalize(self, step: Step) -> None:
        """Run the second half of DETACH PARTITION CONCURRENTLY."""
        statement = self.script.statements[step.first]
        self.send(StepMessage(statement.start, statement.tokens[-1].start, step.first, step.first, suffix="FINALIZE"))
        self.record_apart(step)

    def run_with_long_wait(self, number: int) -> None:
        """Run a statement. It waits longer for locks if no session queues behind it, or if it must not run twice."""
        longer = steps.waits_beside_others(self.script, number) or steps.may_commit_inside(self.script, number)
        waiting = waiting_longer(self.owner, self.locks) if longer else nullcontext(self.locks.timeout_s)
        with waiting as self.lock_timeout_s:
            self.run_unrecorded(number)

    def run_unrecorded(self, number: int) -> None:
        """Run a statement outside of our transactions, without a record."""
        statement = self.script.statements[number]
        message = StepMessage(statement.start, statement.end, number, number)
        if not steps.may_commit_inside(self.script, number):
            return self.send(message)
        before = commits_inside.count_transactions(self.owner)
        try:
            self.send(message)
        except SqlFailed:
            self.has_committed = commits_inside.has_committed(self.owner, before)
            raise

    def send(self, message: StepMessage) -> None:
        send(self.owner, self.script, self.text, message)

    def undo(self) -> None:
        if not self.owner.closed and self.owner.info.transaction_status != pq.TransactionStatus.IDLE:
            self.not_noted = True
            self.owner.execute("ROLLBACK")

    def start(self, number: int, noted: dict[str, Any]) -> None:
        self.write(step_records.record_start(self.script, number, noted))
        self.started[number] = StartedStatement(number, statement_hash(self.script, number), noted)

    def drop(self, own: index_leftovers.StatementState, number: int, *, valid_too: bool = False) -> None:
        line, _ = line_and_column(self.script.text, self.script.statements[number].start)
        timeout_s = self.locks.timeout_s
        index_leftovers.drop(self.records, own, self.script, line, lock_timeout_s=timeout_s, valid_too=valid_too)

    def forget_edited(self, cut: Sequence[Step]) -> None:
        """Drop what begun statements left that were edited since. A statement that only moved keeps its record."""
        single = {step.first for step in cut if step.kind == "statement"}
        for number, entry in list(self.started.items()):
            if number in single and statement_hash(self.script, number) == entry.normalised:
                continue
            place = next((n for n in sorted(single) if self.has_moved_to(n, entry)), None)
            if place is not None:
                self.write(step_records.record_renumbering(self.script, number, place))
                self.started[place] = replace(self.started.pop(number), number=place)
                continue
            near = min(number, len(self.script.statements) - 1)
            own = index_leftovers.read_statement_state(self.records, entry.note)
            named = bool(entry.note and entry.note.get("name"))  # an unnamed index may belong to another statement
            self.retry_on_locks(partial(self.drop, valid_too=named), own, near)
            self.write(step_records.build_record_deletion(self.script, number))
            del self.started[number]

    def has_moved_to(self, number: int, entry: StartedStatement) -> bool:
        free = number >= self.finished and number not in self.started
        return free and statement_hash(self.script, number) == entry.normalised

    def build_record(self, step: Step, *, noted: bool = False, over: bool = False) -> Write:
        """Return the Write that records a step, with the unrecorded statements before it."""
        names = step_settings.list_settings_left(self.script, step.numbers) if over else ()
        left = step_records.read_settings_left(self.owner, names)
        return step_records.record_done(
            self.script, self.list_unrecorded(step), last=step.last, noted=noted, held=self.held, over=over,
            opening=self.opening, left=left,
        )  # fmt: skip

    def list_unrecorded(self, step: Step) -> list[int]:
        return [*self.unrecorded, *(number for number in step.numbers if number >= self.finished)]

    def record_apart(self, step: Step, *, objects: bool = True) -> None:
        """Record a step on the connection `records`, after the step has run."""
        noting = objects and steps.changes_schema(self.script, step.numbers) and self.may_note()
        done = self.build_record(step, noted=not objects, over=True)
        try:
            self.write(done)
        except psycopg.OperationalError:
            if self.records.closed and self.reconnected:  # without a record, the statement would run again
                with self.reconnected() as records:
                    records.execute(done[0].encode(), done[1])
            raise
        if objects:
            self.mark_not_noted(step)
        if noting:
            try:
                self.record_schema(self.end_of(step))
            except psycopg.errors.LockNotAvailable:  # don't wait: until the next time, the noted names show the objects
                self.not_noted = True
        for number in step.numbers:
            self.started.pop(number, None)

    def record_at_stop(self) -> None:
        """Record the objects of finished steps that are not recorded yet, when the script stops."""
        if self.not_noted and not self.records.closed:
            self.record_schema(self.rest_start)

    def record_schema(self, rest_start: int) -> None:
        """Record the schema and what is held back, on the connection `records`. Raises LockNotAvailable."""
        with self.records.transaction():
            self.records.execute(f"SET LOCAL lock_timeout = {round(self.locks.timeout_s * 1000)}".encode())
            for write in self.note(self.records, rest_start):
                self.write(write)
            if self.held:
                self.write(step_records.record_held_back(self.script, self.held))

    def write(self, write: Write) -> None:
        self.records.execute(write[0].encode(), write[1])

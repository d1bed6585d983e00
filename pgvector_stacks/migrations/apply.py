"""Brings a database up to the listed scripts, in these steps:

1. The administrator takes the lock (by polling, so that no other session queues behind the request) and creates the
   roles, the database, the ledger and the extensions.
2. The plan is made from the ledger, under that lock.
3. `up` checks that the database has what each baseline script would create.
4. Each group runs on the owner's own connection. Its scripts, the recorded schema and the ledger rows commit together.
   In the last group the verify scripts run before the commit.
5. Each success and each failure is recorded as an event.

A failure leaves the database as the last committed group left it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
from psycopg import Connection

from pgvector_stacks.common import queries
from pgvector_stacks.common.difference import Difference
from pgvector_stacks.common.errors import PgstackError, SqlFailed
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address, connect, format_server_message, server_version
from pgvector_stacks.connections.lock_retry import RETRIABLE, Locks, lock_not_given, retry_on_locks
from pgvector_stacks.connections.role_limits import RoleLimits
from pgvector_stacks.connections.up_lock import hold_up_lock
from pgvector_stacks.inspection import (
    backup_role,
    changes_meanwhile,
    database_drift,
    ledger_drift,
    raised_rights,
    role_drift,
    schema_drift,
)
from pgvector_stacks.migrations import baseline, ledger, takeover
from pgvector_stacks.migrations.execution import ledger_writer, no_transaction, owner_session, runner
from pgvector_stacks.migrations.execution.script_session import Session
from pgvector_stacks.migrations.scripts import interrupted, repeatable_warnings, row_security
from pgvector_stacks.migrations.scripts.planning import Group, MigrationPlan, Pending, plan
from pgvector_stacks.migrations.scripts.script_files import Script


@dataclass(frozen=True, slots=True)
class Request:
    """The wanted state of a database. Times are in seconds; `stack` is used in messages only."""

    stack: str
    scripts: tuple[Script, ...]
    verify: tuple[Script, ...] = ()
    baseline: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    statement_timeout_s: float = 300.0
    lock_timeout_s: float = 2.0
    lock_wait_s: float = 30.0
    build_memory_mb: int = 0
    """maintenance_work_mem of the scripts, in MiB, which run one after the other; 0: the server's own"""
    app_password: str = field(default="", repr=False)
    readonly_password: str = field(default="", repr=False)
    backup_password: str = field(default="", repr=False)  # "": no backups are scheduled
    limits: RoleLimits | None = None  # the limits of the roles app and readonly, None for no limits
    adopted: bool = False  # pgstack did not create the database: see migrations/takeover.py


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an `up`: the database's revision now, the scripts that ran, and the versions found."""

    revision: str
    ran: tuple[str, ...]
    server_version: str
    pgvector_version: str


def apply(
    address: Address,
    request: Request,
    report: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run the pending scripts of `request`. `address`: how the administrator connects to the target database.

    `report` gets a line for each step, `warn` the server's messages while the scripts run.
    Raises PlanRefused, SqlFailed, ValidationFailed or ConnectionFailed. Nothing of the failing group is kept then.
    """
    with hold_up_lock(address, request.lock_wait_s) as cluster:
        passwords = {roles.APP: request.app_password, roles.READONLY: request.readonly_password}
        database_drift.repair(cluster, address.database)
        if request.adopted:
            takeover.make_room(cluster, address, report)
        # first revoke memberships: ensure_cluster does not grant a right that a role has through one
        role_drift.repair(cluster, request.limits)
        roles.ensure_cluster(cluster, address.database, {role: word for role, word in passwords.items() if word})
        role_drift.repair(cluster, request.limits)  # again, for roles that were just created
        database_drift.close_neighbours(cluster, address.database)
        raised_rights.revoke_raised(cluster, address.database)  # on the lock
        if request.backup_password:
            backup_role.ensure(cluster, request.backup_password)
        else:
            backup_role.remove(cluster)
        with connect(address, wait_s=5) as admin:
            interrupted.end_orphans(admin)
            ledger_drift.ensure_ledger(admin)
            raised_rights.revoke_raised(admin, address.database)
            if request.backup_password:
                backup_role.close_functions(admin)
            ledger_writer.clear(admin)
            _put_right(admin, request.lock_timeout_s, report)
            pgvector = roles.ensure_extensions(admin, ("vector", *request.extensions))
            if request.adopted:
                takeover.take_over(admin, request.lock_wait_s, report, ledger.add_event)
            try:
                made = plan(
                    request.scripts, ledger.read_ledger(admin), where=request.stack, baseline=request.baseline,
                    progress=interrupted.read_finished(admin),
                )  # fmt: skip
                _carry_out(cluster, admin, address, request, made, pgvector, report, warn)
                # a script may have changed these settings and rights: repair them now, not in the next `up`
                database_drift.repair(cluster, address.database)
                roles.ensure_database_rights(cluster, address.database)
            except PgstackError as error:
                ledger.record_failure(address, error)
                raise
            finally:
                with suppress(psycopg.OperationalError):
                    ledger_writer.clear(admin)  # a failed script did not use what was left for it
            return Outcome(
                revision=made.after,
                ran=tuple(pending.script.name for pending in made.pending),
                server_version=server_version(admin),
                pgvector_version=pgvector,
            )


def _put_right(admin: Connection[Any], lock_timeout_s: float, report: Callable[[str], None]) -> None:
    """Rewrite an older record of the schema in today's format, and grant our roles the rights that they lost.

    `lock_timeout_s` keeps other sessions from queueing behind us. If a table stays locked, the next `up` does the work.
    """
    admin.execute("SELECT set_config('lock_timeout', %s, false)", (f"{round(lock_timeout_s * 1000)}ms",))
    try:
        schema_drift.modernise(admin)
        for line in role_drift.give_back(admin, schema_drift.find_drift(admin)):
            report(line)
    except psycopg.errors.LockNotAvailable:
        report("another transaction holds a lock: the next `up` looks whether roles of the stack lost rights")
    finally:
        if not admin.closed:
            admin.execute("RESET lock_timeout")


def _carry_out(
    cluster: Connection[Any],
    admin: Connection[Any],
    address: Address,
    request: Request,
    made: MigrationPlan,
    pgvector: str,
    report: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    adopted: frozenset[tuple[str, str]] = frozenset()
    if made.baseline:
        adopted = baseline.check(
            cluster, address, request.scripts, made.baseline, request.extensions,
            lock_wait_s=request.lock_wait_s, report=report,
        )  # fmt: skip
    groups = made.groups or ((Group((), transactional=True),) if made.baseline or made.moved else ())
    if not groups:
        _verify_alone(cluster, admin, address, request, report, warn)
        return
    session: Session | None = None
    with ExitStack() as opened:
        pending = [entry.script for group in groups for entry in group.pending]
        new = {entry.script.name for entry in made.pending if entry.reason in ("new", "baseline")}
        ran = [script for script in request.scripts if script.name not in new]
        hidden = row_security.warn_of_hidden_rows(admin, pending)
        for line in (
            *repeatable_warnings.warn_of_order_dependence(pending),
            *repeatable_warnings.warn_of_uses(pending, request.scripts),
            *repeatable_warnings.warn_of_rights_on_all(pending, ran),
            *hidden,
        ):
            warn(line)
        for number, group in enumerate(groups):
            commit = Commit(
                request=request,
                pgvector=pgvector,
                baseline=made.baseline if number == 0 else (),
                verify=request.verify if number == len(groups) - 1 else (),
                revision=made.after,
                adopted=adopted,
            )
            if session is None or session.holds:  # a new connection gets the database settings that the last group set
                session = owner_session.reopen_session(opened, cluster, address, _options(request), warn)
            if group.transactional:
                _together(session, admin, group, commit, report)
            else:
                _apart(session, admin, group, commit, report, partial(connect, address))
        for line in row_security.warn_of_hidden_rows(admin, pending, ran=True):
            if line not in hidden:  # a script of this `up` restricted the table before another script read it
                warn(line)
        changed = [entry.script for entry in made.pending if entry.reason == "repeatable changed"]
        for line in repeatable_warnings.warn_of_former_parameters(admin, changed, request.scripts):
            warn(line)


def _verify_alone(
    cluster: Connection[Any],
    admin: Connection[Any],
    address: Address,
    request: Request,
    report: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Run the verify scripts, some of which may be new, when no script is pending.

    Raises ValidationFailed or SqlFailed.
    """
    if not request.verify:
        return
    with ExitStack() as opened:
        owner = owner_session.reopen_session(opened, cluster, address, _options(request), warn).connection

        def attempt() -> None:
            for script in request.verify:
                runner.run_verify_script(owner, script)

        try:
            retry_on_locks(attempt, owner, admin, request.lock_wait_s, report)
        finally:
            owner.rollback()


def _options(request: Request) -> str:
    """Return the startup options of the owner's connection. They override what the database sets."""
    return (
        f"-c statement_timeout={round(request.statement_timeout_s * 1000)}"
        f" -c lock_timeout={round(request.lock_timeout_s * 1000)}"
        " -c role=none"  # only schema_owner has access to the ledger and the recorded schema
        " -c standard_conforming_strings=on"  # our scanner reads strings this way
        + (f" -c maintenance_work_mem={request.build_memory_mb}MB" if request.build_memory_mb else "")
    )


@dataclass(frozen=True, slots=True)
class Commit:
    """The work that commits together with a group's scripts."""

    request: Request
    pgvector: str
    baseline: tuple[Pending, ...]
    verify: tuple[Script, ...]
    revision: str
    adopted: frozenset[tuple[str, str]]

    def drifted(self, owner: Connection[Any]) -> tuple[Difference, ...]:
        """Return the drift before the scripts run, without the objects that baseline scripts account for."""
        with owner.transaction(force_rollback=True):
            owner.execute("SET LOCAL statement_timeout = 0")  # the environment's statement_timeout is for scripts
            differences = schema_drift.compare(owner)
        return tuple(found for found in differences if (found.kind, found.identity) not in self.adopted)


def _together(
    session: Session, admin: Connection[Any], group: Group, commit: Commit, report: Callable[[str], None]
) -> None:
    """Run a group in one transaction. If a lock is not granted in time, roll all of it back and try again.

    A savepoint would keep the locks already held during the wait, and readers would queue behind them.
    """
    owner = session.connection

    def attempt() -> None:
        with owner.transaction(force_rollback=True):
            since = changes_meanwhile.read_snapshot(owner)
        drifted = commit.drifted(owner)  # inside the retry: another session's DDL may lock what this reads
        session.begin()
        began = ledger_writer.transaction(owner)
        ran = runner.run_in_one_transaction(session, group.pending, lambda entry: report(f"runs {entry.script.path}"))
        commit_group(admin, owner, ran, commit, drifted, began, since)

    retry_on_locks(attempt, owner, admin, commit.request.lock_wait_s, report)


def _apart(
    session: Session, admin: Connection[Any], group: Group, commit: Commit, report: Callable[[str], None],
    reconnected: Callable[[], Connection[Any]],
) -> None:  # fmt: skip
    owner = session.connection
    (entry,) = group.pending
    report(f"runs {entry.script.path}")
    request = commit.request
    name = entry.script.name

    def look() -> tuple[Difference, ...]:
        drifted = commit.drifted(owner)
        session.begin(interrupted.read_opening_settings(owner, name))
        session.held = interrupted.read_held_back(owner, name)
        if done := interrupted.read_finished(owner).get(name, interrupted.Progress()).done:
            rest_start = entry.script.statements[len(done) - 1].end
            session.follow_earlier_steps(entry.script, rest_start, interrupted.read_noted_names(owner, entry.script))
        owner.commit()  # keep, after this transaction, the database and role settings that `begin` applied
        return drifted

    drifted = retry_on_locks(look, owner, admin, request.lock_wait_s, report)
    kept = "what ran before it stays, and `up` goes on with it"
    locks = Locks(
        timeout_s=request.lock_timeout_s,
        wait_s=request.lock_wait_s,
        not_given=lambda error, waited_s: lock_not_given(admin, error, waited_s, kept),
        report=report,
    )

    def note_objects(connection: Connection[Any], rest_start: int) -> no_transaction.Noted:
        held = session.follow_step(entry.script, rest_start)
        return held, schema_drift.record_changes(connection, drifted, entry.script.name)

    ran = no_transaction.run(
        owner, admin, entry, locks=locks, note_objects=note_objects, opening=session.seen, reconnected=reconnected
    )

    def finish() -> None:
        session.follow_apart(entry.script)
        commit_group(admin, owner, [ran], commit, drifted, ledger_writer.transaction(owner))

    retry_on_locks(finish, owner, admin, request.lock_wait_s, report, kept)


def commit_group(
    admin: Connection[Any], owner: Connection[Any], ran: list[runner.ScriptRun], commit: Commit,
    drifted: tuple[Difference, ...], began: str, since: str = "",
) -> None:  # fmt: skip
    """Run the verify scripts, record the schema, write the ledger and commit. Raises ValidationFailed or SqlFailed."""
    if gone := roles.explain_lost_extensions(owner, ("vector", *commit.request.extensions)):
        raise SqlFailed(gone)
    for script in commit.verify:
        runner.run_verify_script(owner, script)
    try:
        if since:
            drifted = changes_meanwhile.add_changes(owner, drifted, since)
        writes = schema_drift.record(owner, drifted)
        entries = [*(runner.ScriptRun(entry, 0, 0) for entry in commit.baseline), *ran]
        names = [entry.pending.script.name for entry in entries]
        if names:
            writes.append((queries.get("ledger_insert"), ledger.build_columns(entries, commit.pgvector)))
            writes.append(("DELETE FROM pgstack.statement WHERE script = ANY(%s)", (names,)))
        writes.append((queries.get("ledger_order"), {"names": [script.name for script in commit.request.scripts]}))
        if names:
            shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            writes.append(ledger.build_event("applied", shown, revision=commit.revision))
        ledger_writer.run_staged(admin, owner, writes, began=began)
        owner.commit()
    except psycopg.OperationalError as error:
        if error.sqlstate in RETRIABLE:
            raise
        script = ran[-1].pending.script if ran else commit.request.scripts[-1]
        raise runner.explain_lost_connection(script, error) from None
    except psycopg.Error as error:  # a script made the transaction read only
        if error.sqlstate in RETRIABLE:
            raise
        raise SqlFailed(
            f"the scripts ran, but can't be recorded: {format_server_message(error)} ({error.sqlstate}); all of them"
            " are undone\n"
            "  a script made its transaction read only (SET TRANSACTION READ ONLY): take that out",
            sqlstate=error.sqlstate or "",
        ) from None

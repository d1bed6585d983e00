"""The commands `status`, `verify` and `accept`: they use the database, and deploy nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import psycopg

from pgvector_stacks.automation.deployed import find_output_address, parse_address
from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import PgstackError, PlanRefused, ScriptError, ValidationFailed
from pgvector_stacks.common.plain_text import one_line, quote_lines
from pgvector_stacks.config.environment import SCRIPT_CACHE, SQL, Environment, from_file, list_all_scripts
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import INSPECTION_OPTIONS, Address, connect, wrap_server_error
from pgvector_stacks.connections.up_lock import hold_up_lock
from pgvector_stacks.inspection import (
    backup_role,
    database_drift,
    hba_rules,
    ledger_drift,
    raised_rights,
    role_drift,
    schema_drift,
    validation,
)
from pgvector_stacks.migrations import baseline
from pgvector_stacks.migrations.execution import notices, runner
from pgvector_stacks.migrations.ledger import add_event, read_ledger
from pgvector_stacks.migrations.scripts import interrupted
from pgvector_stacks.migrations.scripts.planning import Applied, Pending, plan
from pgvector_stacks.migrations.scripts.script_files import Script, load, load_verify

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class DatabaseAddresses:
    """A deployed database as its outputs describe it."""

    admin: Address
    passwords: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)  # of the roles that log in

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, Any], via: str = "") -> DatabaseAddresses:
        """Build a Database from a stack's outputs. `via`: the ssh URL through which it is reached, if any."""
        urls = {roles.APP: outputs.get("appUrl"), roles.READONLY: outputs.get("readonlyUrl")}
        passwords = {role: [parse_address(str(url)).password] for role, url in urls.items() if url}
        if word := outputs.get("backupPassword"):
            passwords[roles.BACKUP] = [str(word)]
        return cls(find_output_address(outputs, "adminUrl", via), passwords)


def read_listed_scripts(environment: Environment) -> tuple[Script, ...]:
    """Return the scripts that the stack file lists. Raises ScriptError."""
    return load(SQL, environment.scripts, listed_elsewhere=list_all_scripts(), cache=SCRIPT_CACHE)


def build_status_rows(
    scripts: Sequence[Script], ledger: Sequence[Applied], known: bool = True,
    done: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[tuple[str, str, str]]:  # fmt: skip
    """Return (state, name, detail) per script: applied, pending, edited, changed (repeatable), removed. Pure.

    `known`: False if the list of scripts can't be read: then no script counts as removed. `done`: the finished
    statements of no-transaction scripts that stopped half-way.
    """
    ran = {row.name: row for row in ledger}
    found = []
    for script in scripts:
        row = ran.pop(script.name, None)
        if row is None:
            ended = done.get(script.name)
            part = f"half-way: {len(ended)} of {len(script.statements)} statements are done" if ended else ""
            found.append(("pending", script.name, part))
            continue
        by = one_line(row.applied_by)
        detail = f"{row.applied_at:%Y-%m-%d %H:%M} by {by}{' (baseline)' if row.baseline else ''}"
        if row.normalised == script.normalised:
            found.append(("applied", script.name, detail))
        else:
            found.append(("changed" if script.repeatable else "edited", script.name, detail))
    for row in ran.values():
        by = one_line(row.applied_by)
        found.append(
            ("removed" if known else "applied", one_line(row.name), f"{row.applied_at:%Y-%m-%d %H:%M} by {by}")
        )
    return found


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` finds. `scripts`: as from `build_status_rows`; `last_failure`: when, by whom, what.

    `is_acceptable`: part of the drift can be accepted; `problem`: why the scripts can't run, "" if they can.
    """

    scripts: Sequence[tuple[str, str, str]]
    drift: Sequence[str]
    is_acceptable: bool
    notes: Sequence[str]
    last_failure: tuple[str, str, str] | None
    problem: str

    @property
    def differs(self) -> bool:
        return bool(self.drift or self.problem) or any(state != "applied" for state, _, _ in self.scripts)

    def to_json(self, stack: str) -> dict[str, Any]:
        """Return the content of the JSON document."""
        failure = self.last_failure and dict(zip(("at", "by", "message"), self.last_failure, strict=True))
        return {
            "stack": stack, "differs": self.differs,
            "scripts": [dict(zip(("state", "name", "detail"), row, strict=True)) for row in self.scripts],
            "drift": list(self.drift), "notes": list(self.notes), "last_failure": failure,
            "problem": self.problem or None,
        }  # fmt: skip


def status(database: DatabaseAddresses, stack: str, say: Say) -> bool:
    """Print each script's state, and the drift. Return True if anything is not in order. Raises ConnectionFailed."""
    found = read_status(database, stack)
    show_status(found, stack, say)
    return found.differs


def show_status(found: Status, stack: str, say: Say, *, quiet: bool = False) -> None:
    """Print each script's state, and the drift. `quiet`: only what is not in order."""
    for state, name, detail in found.scripts:
        if not quiet or state != "applied":
            say(f"{state:8} sql/{name}" + (f"  {detail}" if detail else ""))
    for difference in found.drift:
        say(f"drift    {difference}")
    if found.is_acceptable:
        say(f"         put it back by hand, or keep it:  pgstack accept {stack} KIND IDENTITY")
    if not found.drift and not quiet:
        say("drift    none")
    for note in () if quiet else found.notes:
        say(f"note     {note}")
    if found.last_failure:
        at, by, message = found.last_failure
        say(f"last failure, {at} by {one_line(by)}:\n  {quote_lines(message)}")
    if found.problem:
        say(found.problem)


def read_status(database: DatabaseAddresses, stack: str) -> Status:
    """Like `_read_status`, but another session's lock raises PgstackError after some seconds."""
    try:
        return _read_status(database, stack)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
        raise wrap_server_error(error) from None


def _read_status(database: DatabaseAddresses, stack: str) -> Status:
    """Compare scripts and database with the ledger. Raises ConnectionFailed."""
    environment = from_file(stack)
    problem, known = "", True
    try:
        scripts: tuple[Script, ...] = read_listed_scripts(environment)
    except ScriptError as error:
        scripts, problem, known = (), str(error), False
    with connect(database.admin, options=INSPECTION_OPTIONS) as connection:
        ledger = read_ledger(connection)
        found = schema_drift.find_drift_unless_locked(connection)
        wrong_roles = role_drift.find_faults(connection, database.passwords, environment.role_limits)
        wrong_roles += backup_role.find_faults(
            connection, database.passwords.get(roles.BACKUP, ()), wanted=environment.backup is not None
        )
        wrong_roles += ledger_drift.describe_faults(ledger_drift.read_parts(connection))
        rules = hba_rules.find_faults(connection, tls=environment.demands_tls)
        noted = role_drift.find_intended(connection)
        itself = database_drift.read_attributes(connection, database.admin.database)
        raised = raised_rights.find_raised(connection, database.admin.database)
        raised += raised_rights.find_raised_on_lock(database.admin)
        pending: tuple[Pending, ...] = ()
        events = connection.execute("SELECT to_regclass('pgstack.event') IS NOT NULL").fetchone()
        last = connection.execute(queries.get("last_failure")).fetchone() if events and events[0] else None
        progress = interrupted.read_finished(connection)
        try:
            pending = plan(scripts, ledger, where=stack, baseline=environment.baseline, progress=progress).pending
        except PlanRefused as refusal:
            problem = problem or str(refusal)
    if itself is not None:
        wrong_roles += database_drift.describe_faults(itself)
        noted += database_drift.describe_intended(itself)
    wrong_roles += raised_rights.describe_faults(raised)
    noted += raised_rights.describe_intended(raised)
    seen = role_drift.sort_drift(baseline.exclude_pending(found, pending), wrong_roles)
    differences = [*seen.drift, *rules, *(f"{line} (`up` fixes it)" for line in seen.repairable)]
    states = build_status_rows(scripts, ledger, known, {name: how_far.done for name, how_far in progress.items()})
    acceptable = bool(seen.drift) and seen.drift != schema_drift.NOT_KNOWN
    return Status(states, differences, acceptable, noted, last and (last[0], last[1], last[2]), problem)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a verify script or of a check of the validation. `line`: for people."""

    check: str
    good: bool
    found: str
    line: str

    def to_json(self) -> dict[str, Any]:
        return {"check": self.check, "good": self.good, "found": self.found}


def refuse_failed(checks: Sequence[Check], stack: str) -> None:
    """Raise ValidationFailed, with what failed, if anything did."""
    if failed := [each.check for each in checks if not each.good]:
        raise ValidationFailed(f"{stack}: {len(failed)} check(s) failed: {', '.join(failed)}")


def verify(database: DatabaseAddresses, stack: str, say: Say) -> Iterator[Check]:
    """Run all verify scripts and checks, and yield the result of each. `say` gets notices and warnings."""
    environment = from_file(stack)
    with hold_up_lock(database.admin, environment.lock_wait_s) as cluster:
        for script in load_verify(SQL, cache=SCRIPT_CACHE):
            with roles.open_owner_connection(cluster, database.admin, options=INSPECTION_OPTIONS) as owner:
                try:
                    with notices.forwarding_notices(owner, lambda said: say(f"  {said}")):
                        runner.run_verify_script(owner, script)
                    yield Check(script.path, True, "", f"✓ {script.path}")
                except PgstackError as error:
                    yield Check(script.path, False, str(error), f"✗ {error}")
                finally:
                    owner.rollback()
    settings = environment.server_settings
    with connect(database.admin, options=INSPECTION_OPTIONS) as connection:
        demands = validation.ServerRequirements(environment.pgvector_minimum, settings, environment.accepted_recall)
        report = validation.validate(connection, demands)
        for line in roles.find_unreachable_tables(connection):
            say(f"! {one_line(line)}")
    for name, result in report.results.items():
        good, words = name not in report.failures, result.removeprefix("ok: ")
        yield Check(name, good, words, f"{'✓' if good else '✗'} {name}: {words}")


def accept(database: DatabaseAddresses, kind: str, identity: str, say: Say) -> None:
    """Record the live definition of one object that drifted, and of its parts.

    Raises PgstackError if no object of that name has drifted.
    """
    with connect(database.admin, options=INSPECTION_OPTIONS) as connection:
        with connection.transaction():
            taken = schema_drift.accept(connection, kind, identity)
            for difference in taken:
                add_event(connection, "accepted", str(difference))
        for difference in taken:
            say(f"accepted: {difference}")
        if taken:
            return
        names = [f"{difference.kind} {difference.identity}" for difference in schema_drift.find_drift(connection)]
    raise PgstackError(
        f"no drift of {kind} {identity}\n  " + ("drifted: " + ", ".join(names) if names else "nothing drifted")
    )

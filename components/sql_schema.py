"""The ordered SQL scripts as a Pulumi resource. The ledger in the database is the truth; the state is a cache of it.

- `check` reads the scripts, and the ledger if the server answers. It refuses edited, removed and reordered scripts, and
  drift in strict environments. Before a change of the server it asks the server that runs now.
- `diff` is left to Pulumi, which prints the changed keys.
- `create` and `update` run all pending scripts or none, then validate.
- `read` writes what the database has into the inputs. So the next preview shows a restored older database, a hand-made
  change and what `up` repairs (inspection/rerun_reasons).
- `delete` does nothing: removing a resource never drops data.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pulumi
from pulumi.dynamic import CheckResult, CreateResult, ReadResult, UpdateResult

from pgvector_stacks.common.errors import ConnectionFailed, PgstackError, PlanRefused, ValidationFailed
from pgvector_stacks.config import offline
from pgvector_stacks.config.environment import SQL, Environment
from pgvector_stacks.connections.connection import Address, connect, wrap_server_error
from pgvector_stacks.migrations.scripts.script_files import Script, revision

from .shared.props import is_unknown
from .shared.provider import DynamicResource, Provider, build_refusal, hide_tracebacks, select_inputs
from .shared.schema_check import (
    SHORT,
    announce,
    announce_all,
    compare,
    compute_revision,
    format_script_lines,
    has_no_database,
    look_for_drift,
    open_first,
    read_files,
    read_listed_files,
)
from .shared.schema_props import DatabaseProps, MadeProps, RoleLimitProps, SchemaProps, demands_tls, modernise

NO_DRIFT = "none"
MEND = "mend"  # an input that only `read` writes: see inspection/rerun_reasons.py
# Increase it when what create and update do to a database changes: the state doesn't show a change of code.
RUNNER = 2
OUTPUTS = ("schemaRevision", "postgresVersion", "pgvectorVersion", "validation", "ledger")
NOT_KNOWN = "unknown"  # the `ledger` of a database that could not be asked


class SqlSchemaProvider(Provider):
    """Inputs: see `inputs` and `Database`. The scripts are read from disk: their text is in neither inputs nor state.

    `revision` is the revision that the database is to have. `ledger` is the revision that its ledger has: an output. It
    is also an input if `check` finds another one than the state has, so that Pulumi sees a difference.
    """

    name = "sql-schema"
    outputs = OUTPUTS

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        try:
            return CheckResult(_check_inputs(modernise(_olds), news), [])
        except PgstackError as error:
            return build_refusal(news, error)
        except psycopg.Error as error:
            return build_refusal(news, wrap_server_error(error))

    def changes(self, olds: dict[str, Any], news: dict[str, Any]) -> bool:
        olds = modernise(olds)
        return "ledger" in news or olds.get("ledger") != news.get("revision") or super().changes(olds, news)

    @hide_tracebacks
    def create(self, props: dict[str, Any]) -> CreateResult:
        wanted = SchemaProps.from_props(props)
        return CreateResult(f"{wanted.stack}/{wanted.database}", _bring_up(wanted))

    @hide_tracebacks
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_bring_up(SchemaProps.from_props(_news)))

    @hide_tracebacks
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        outs = modernise(props)  # here, in the refresh, so that the preview does not show it as a change
        found = _look(MadeProps.from_props(props))
        if found is not None:
            outs.pop(MEND, None)
            outs |= found
        return ReadResult(id_, outs, select_inputs(outs, OUTPUTS))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Do nothing: the data stays, because removing the resource from the program isn't an order to drop data."""


def _check_inputs(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs with `revision`, `drift` and maybe `ledger`, which come from the files and the database.

    Raises PlanRefused, DriftRefused, ScriptError, ConnectionFailed.
    """
    from pgvector_stacks.inspection import hba_rules, raised_rights, role_drift

    unseen = {"drift": olds.get("drift", NO_DRIFT)}
    if offline.is_offline_requested(os.environ):
        return news | unseen | {"revision": _not_compared(olds, news)}
    changes = is_unknown({key: news.get(key) for key in ("host", "port", "adminPassword", "identity")})
    addresses = _as_it_was(olds, news) if changes else _addresses(news, olds)
    if not addresses:  # there was no server
        return news | unseen | {"revision": compute_revision(_announced(news, olds))}
    if olds.get("database", news["database"]) != news["database"]:
        pulumi.log.warn(f"another database: {news['database']} takes the place of {olds['database']}, which stays")
    try:
        with open_first(addresses) as connection:
            found = compare(connection, news)
            rules = hba_rules.find_faults(connection, tls=demands_tls(news.get("sslmode")))
            notes = role_drift.find_intended(connection)
            notes += raised_rights.describe_intended(raised_rights.find_raised(connection, str(news["database"])))
    except ConnectionFailed as error:
        return news | unseen | _not_asked(error, addresses, olds, news, changes=changes)
    announce(found.pending)
    for difference in (*found.drift, *rules):
        pulumi.log.warn(f"drift: {difference}")
    for note in notes:
        pulumi.log.info(f"note: {note}")
    for word in olds.get(MEND, ()):
        pulumi.log.warn(f"`up` fixes: {word}")
    return news | _to_reach(found.target, found.actual, olds) | {"drift": [*found.drift, *rules] or NO_DRIFT}


def _to_reach(target: str, ledger: str, olds: dict[str, Any]) -> dict[str, Any]:
    """Return the target `revision`, and `ledger` if the state wrongly says that it is reached, as after a restore."""
    believed = olds.get("revision") == target != ledger
    return {"revision": target} | ({"ledger": ledger} if believed else {})


def _as_it_was(olds: dict[str, Any], news: dict[str, Any]) -> list[Address]:
    """Return the old addresses of a server that this `up` changes: the new one isn't known yet. May be empty."""
    if not {"host", "port", "admin", "adminPassword"} <= olds.keys():
        return []
    word = news.get("adminPassword")
    return _addresses(olds | {"database": news["database"]}, {} if is_unknown(word) else {"adminPassword": word})


def _addresses(props: dict[str, Any], others: dict[str, Any]) -> list[Address]:
    return DatabaseProps.from_props(props).addresses(others.get("adminPassword"))


def _not_asked(
    error: ConnectionFailed, addresses: list[Address], olds: dict[str, Any], news: dict[str, Any], *, changes: bool
) -> dict[str, Any]:
    """Log why no ledger was compared, and return the inputs of `_to_reach`. Raises ScriptError."""
    scripts = read_listed_files(news).scripts
    target = compute_revision(scripts)
    if not olds:
        announce_all(scripts, "new, unless the database has it")
        return {"revision": target}
    if has_no_database(addresses):
        database = news["database"]
        if olds.get("database", database) == database:
            pulumi.log.warn(f"the database {database} is gone: `up` makes a new and empty one and runs every script")
        else:
            pulumi.log.warn(f"there is no database {database} yet: `up` makes it, empty, and runs every script")
        announce_all(scripts, "new", baseline=news["baseline"])
        return _to_reach(target, revision(()), olds)
    reason, _, remedy = str(error).partition("\n")
    pulumi.log.warn(
        f"the ledger could not be compared: {reason}"
        + ("\n  which scripts ran is asked once the server serves, and what may not run is refused then"
           if changes else f"\n{remedy}".rstrip())
    )  # fmt: skip
    return {"revision": target} if changes else _to_reach(target, NOT_KNOWN, olds)


def _announced(news: dict[str, Any], olds: dict[str, Any]) -> tuple[Script, ...]:
    """Return the scripts. For a new resource log each script, because Pulumi shows only three lines of their list."""
    scripts = read_listed_files(news).scripts
    if not olds:
        _refuse_what_cannot_begin(scripts, news)
        announce_all(scripts, "new, unless the database has it")
    return scripts


def _not_compared(olds: dict[str, Any], news: dict[str, Any]) -> str:
    """Return the target revision, and log what the state alone says about the scripts. Raises ScriptError."""
    scripts = read_listed_files(news).scripts
    pulumi.log.warn("offline: the ledger was not compared; which scripts ran is what the last `up` left in the state")
    ran = dict(line.split(" ", 1)[1].rsplit("  ", 1) for line in olds.get("scripts", "").splitlines())
    _refuse_what_cannot_begin([script for script in scripts if script.name not in ran], news)
    for script in scripts:
        if script.name not in ran:
            pulumi.log.info(f"to run, by the state: {script.path} (new)")
        elif ran[script.name] != script.normalised[:SHORT]:
            if script.repeatable:
                pulumi.log.info(f"to run, by the state: {script.path} (repeatable changed)")
            else:
                pulumi.log.warn(f"{script.path} was changed after it ran, by the state: `up` refuses that")
    return compute_revision(scripts)


def _refuse_what_cannot_begin(scripts: Sequence[Script], news: dict[str, Any]) -> None:
    """Check scripts that have not run, when there is no ledger to plan with. Raises PlanRefused."""
    from pgvector_stacks.migrations.scripts.planning import find_blocked_scripts

    if problems := find_blocked_scripts(scripts, {}, {}, news["baseline"], news["stack"]):
        raise PlanRefused("\n".join(problems))


def _look(deployed: MadeProps) -> dict[str, Any] | None:
    """Return the ledger's revision, the drift and what `up` repairs; None if the database can't be reached."""
    from pgvector_stacks.inspection import hba_rules, rerun_reasons, role_drift
    from pgvector_stacks.migrations.ledger import read_ledger

    addresses = deployed.addresses()
    made = rerun_reasons.DeployedDatabase(
        addresses[0],
        extensions=deployed.extensions,
        app_password=deployed.app_password,
        readonly_password=deployed.readonly_password,
        backup_password=deployed.backup_password,
        limits=deployed.limits,
    )
    try:
        with open_first(addresses) as connection:
            ledger = read_ledger(connection)
            differences = look_for_drift(connection)
            found: dict[str, Any] = {
                "ledger": revision((row.name, row.normalised) for row in ledger),
                "drift": [
                    *role_drift.sort_drift(differences, ()).drift,
                    *hba_rules.find_faults(connection, tls=demands_tls(deployed.sslmode)),
                ]
                or NO_DRIFT,
            }
            words = rerun_reasons.find_reasons(connection, replace(made, differences=differences or ()))
            return found | ({MEND: list(words)} if words else {})
    except (ConnectionFailed, psycopg.OperationalError):
        return None


def _bring_up(wanted: SchemaProps) -> dict[str, Any]:
    """Run the pending scripts, then validate. Raises what `apply` and `validate` raise."""
    from pgvector_stacks.inspection import validation
    from pgvector_stacks.migrations import apply
    from pgvector_stacks.migrations.ledger import add_event

    (address,) = wanted.addresses()
    files = read_listed_files(wanted.to_props())
    request = apply.Request(
        stack=wanted.stack,
        scripts=files.scripts,
        verify=files.verify,
        baseline=wanted.baseline,
        extensions=wanted.extensions,
        statement_timeout_s=wanted.statement_timeout_s,
        lock_timeout_s=wanted.lock_timeout_s,
        lock_wait_s=wanted.lock_wait_s,
        build_memory_mb=wanted.build_memory_mb,
        app_password=wanted.app_password,
        readonly_password=wanted.readonly_password,
        backup_password=wanted.backup_password,
        adopted=wanted.adopt,
        limits=wanted.limits,
    )
    outcome = apply.apply(address, request, pulumi.log.info, pulumi.log.warn)
    demands = validation.ServerRequirements(wanted.pgvector_minimum, wanted.settings, wanted.accepted_recall)
    with connect(address) as connection:
        report = validation.validate(connection, demands)
        connection.execute("RESET statement_timeout")
        verdict = "; ".join(f"{name}: {why}" for name, why in report.failures.items()) or "every check passed"
        add_event(
            connection,
            "failed" if report.failures else "validated",
            f"validation: {verdict}",
            revision=outcome.revision,
        )
    if report.failures:
        raise ValidationFailed(
            f"the scripts are committed (revision {outcome.revision}), but validation failed:\n  "
            + "\n  ".join(f"{name}: {why}" for name, why in report.failures.items())
            + "\n  fix the cause, then `up` again: only the validation is repeated"
        )
    return wanted.to_props(
        schema_revision=outcome.revision,
        postgres_version=outcome.server_version,
        pgvector_version=outcome.pgvector_version,
        validation=report.results,
        ledger=outcome.revision,
    )


class SqlSchema(DynamicResource, module="pgvector", name="SqlSchema"):
    """The scripts. Outputs: schemaRevision, postgresVersion, pgvectorVersion (str), validation (map: check to result).

    The state also has the output ledger: the revision that the database had when it was last asked.
    """

    schemaRevision: pulumi.Output[str]
    postgresVersion: pulumi.Output[str]
    pgvectorVersion: pulumi.Output[str]
    validation: pulumi.Output[dict[str, str]]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(SqlSchemaProvider(), name, dict.fromkeys(OUTPUTS) | props, opts)


def inputs(environment: Environment) -> dict[str, Any]:
    """Return the inputs that depend only on the environment and the files. Raises ScriptError, SettingRefused."""
    files = read_files(SQL, environment.scripts)
    return (
        {
            "stack": environment.stack,
            "database": environment.database,
            "scripts": format_script_lines(files.scripts),
            "verify": format_script_lines(files.verify),
            "order": list(environment.scripts),
            "baseline": list(environment.baseline),
            "extensions": list(environment.extensions),
            "driftPolicy": environment.drift,
            "statementTimeoutS": environment.statement_timeout_s,
            "lockTimeoutS": environment.lock_timeout_s,
            "lockWaitS": environment.lock_wait_s,
            "pgvectorMinimum": environment.pgvector_minimum,
            "roleLimits": RoleLimitProps.from_limits(environment.role_limits).to_props(),
            "runner": RUNNER,
        }
        | ({"acceptedRecall": list(environment.accepted_recall)} if environment.accepted_recall else {})
        | ({"adopt": True} if environment.adopt_volume else {})
    )

"""The ordered SQL scripts as a tracked resource. Its truth is the ledger in the database; the state is a cache of it.

check: reads the scripts, and the ledger where the server answers (the one that is there, where it is about to change),
and refuses what may not run: edited, removed and reordered scripts, drift in strict environments → diff: left to the
engine, which prints the changed keys → create and update: run what is pending, whole or not at all, then validate →
read: puts what the database really has into the inputs, so that a restored older database, a hand-made change or what
`up` mends (inspection/rerun_reasons) shows in the next preview → delete: nothing; data is never dropped by taking a
resource away.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

from pgvector_stacks.automation.provider_process import install_process_hooks
from pgvector_stacks.common.errors import ConnectionFailed, PgstackError, PlanRefused, ValidationFailed
from pgvector_stacks.config import offline
from pgvector_stacks.config.environment import SCRIPT_CACHE, SQL, Environment, scripts_of_all
from pgvector_stacks.connections.connection import Address, as_pgstack_error, connect
from pgvector_stacks.connections.role_limits import RoleLimits
from pgvector_stacks.migrations.scripts.script_files import Script, load, load_verify, revision

from .shared.provider import DynamicResource, inputs_of, is_unknown, plainly, refused
from .shared.schema_check import (
    SHORT,
    announce,
    announce_all,
    compare,
    has_no_database,
    load_listed,
    look_for_drift,
    opened,
    revision_of,
    script_lines,
)

NO_DRIFT = "none"
MEND = "mend"  # an input that only `read` writes: see inspection/rerun_reasons.py
# Bump it when what create and update do to a database changes: the state doesn't see a change of code.
RUNNER = 2
LISTINGS = ("scripts", "verify")
OUTPUTS = ("schemaRevision", "postgresVersion", "pgvectorVersion", "validation")


class SqlSchemaProvider(ResourceProvider):
    """Inputs: see `SqlSchema`. The scripts are read from disk: their text is in neither inputs nor state."""

    def configure(self, req: Any) -> None:
        install_process_hooks()

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        try:
            return CheckResult(_checked(_olds, news), [])
        except PgstackError as error:
            return refused(news, error)
        except psycopg.Error as error:
            return refused(news, as_pgstack_error(error))

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult()

    @plainly
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(f"{props['stack']}/{props['database']}", _bring_up(props))

    @plainly
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_bring_up(_news))

    @plainly
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        # told here, in the refresh, an older state's form of the listings shows as no change in the preview
        outs = props | {key: _as_lines(props[key]) for key in LISTINGS if key in props}
        found = _look(props)
        if found is not None:
            outs.pop(MEND, None)
            outs |= found
        return ReadResult(id_, outs, inputs_of(outs, OUTPUTS))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """The data stays: taking the resource out of the program is no order to drop it."""


def _checked(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    """The inputs with what the database says added: `ledger` (the revision it is to have) and `drift`.

    Raises PlanRefused, DriftRefused, ScriptError, ConnectionFailed.
    """
    from pgvector_stacks.inspection import hba_rules, raised_rights, role_drift

    unseen = {"drift": olds.get("drift", NO_DRIFT)}
    if offline.requested(os.environ):
        return news | unseen | {"ledger": _not_compared(olds, news)}
    changes = is_unknown({key: news.get(key) for key in ("host", "port", "adminPassword", "identity")})
    addresses = _as_it_was(olds, news) if changes else _addresses(news, olds)
    if not addresses:  # there was none
        return news | unseen | {"ledger": revision_of(_announced(news, olds))}
    if olds.get("database", news["database"]) != news["database"]:
        pulumi.log.warn(f"another database: {news['database']} takes the place of {olds['database']}, which stays")
    try:
        with opened(addresses) as connection:
            found = compare(connection, news)
            rules = hba_rules.find(connection, tls=_demands_tls(news))
            notes = role_drift.notes(connection)
            notes += raised_rights.noted(raised_rights.find(connection, str(news["database"])))
    except ConnectionFailed as error:
        return news | unseen | {"ledger": _not_asked(error, addresses, olds, news, changes=changes)}
    announce(found.pending)
    for difference in (*found.drift, *rules):
        pulumi.log.warn(f"drift: {difference}")
    for note in notes:
        pulumi.log.info(f"note: {note}")
    for word in olds.get(MEND, ()):
        pulumi.log.warn(f"`up` mends: {word}")
    before = str(olds.get("ledger", ""))
    if found.actual == found.target:
        wanted = before if before.startswith(found.target) else found.target
    else:  # also where the state believes that all ran, as after a restore
        wanted = f"{found.target} (the database has {found.actual})" if before == found.target else found.target
    return news | {"ledger": wanted, "drift": [*found.drift, *rules] or NO_DRIFT}


def _as_it_was(olds: dict[str, Any], news: dict[str, Any]) -> list[Address]:
    """Where the server is that this `up` changes: its new address is not known yet. Empty where there was none."""
    if not {"host", "port", "admin", "adminPassword"} <= olds.keys():
        return []
    word = news.get("adminPassword")
    return _addresses(olds | {"database": news["database"]}, {} if is_unknown(word) else {"adminPassword": word})


def _not_asked(
    error: ConnectionFailed, addresses: list[Address], olds: dict[str, Any], news: dict[str, Any], *, changes: bool
) -> str:
    """The revision to be reached, and in words why no ledger was compared. Raises ScriptError."""
    scripts = load_listed(news)
    target = revision_of(scripts)
    if not olds:
        announce_all(scripts, "new, unless the database has it")
        return target
    if has_no_database(addresses):
        database = news["database"]
        if olds.get("database", database) == database:
            pulumi.log.warn(f"the database {database} is gone: `up` makes a new and empty one and runs every script")
        else:
            pulumi.log.warn(f"there is no database {database} yet: `up` makes it, empty, and runs every script")
        announce_all(scripts, "new", baseline=news["baseline"])
        return f"{target} (there is no database {database})"
    reason, _, remedy = str(error).partition("\n")
    pulumi.log.warn(
        f"the ledger could not be compared: {reason}"
        + ("\n  which scripts ran is asked once the server serves, and what may not run is refused then"
           if changes else f"\n{remedy}".rstrip())
    )  # fmt: skip
    return target if changes else f"{target} ({reason})"


def _announced(news: dict[str, Any], olds: dict[str, Any]) -> tuple[Script, ...]:
    """The scripts, each named where there is no ledger to ask yet: of a new resource the engine shows three lines."""
    scripts = load_listed(news)
    if not olds:
        _refuse_what_cannot_begin(scripts, news)
        announce_all(scripts, "new, unless the database has it")
    return scripts


def _not_compared(olds: dict[str, Any], news: dict[str, Any]) -> str:
    """The revision to be reached, with a word on what the state alone can tell. Raises ScriptError."""
    scripts = load_listed(news)
    pulumi.log.warn("offline: the ledger was not compared; which scripts ran is what the last `up` left in the state")
    before = _as_lines(olds.get("scripts", ""))
    ran = dict(line.split(" ", 1)[1].rsplit("  ", 1) for line in before.splitlines())
    _refuse_what_cannot_begin([script for script in scripts if script.name not in ran], news)
    for script in scripts:
        if script.name not in ran:
            pulumi.log.info(f"to run, by the state: {script.path} (new)")
        elif ran[script.name] != script.normalised[:SHORT]:
            if script.repeatable:
                pulumi.log.info(f"to run, by the state: {script.path} (repeatable changed)")
            else:
                pulumi.log.warn(f"{script.path} was changed after it ran, by the state: `up` refuses that")
    return str(olds["ledger"]) if before == news["scripts"] and "ledger" in olds else revision_of(scripts)


def _refuse_what_cannot_begin(scripts: Sequence[Script], news: dict[str, Any]) -> None:
    """For scripts that have not run, where there is no ledger to plan with. Raises PlanRefused."""
    from pgvector_stacks.migrations.scripts.planning import cannot_begin

    if problems := cannot_begin(scripts, {}, {}, news["baseline"], news["stack"]):
        raise PlanRefused("\n".join(problems))


def _addresses(props: dict[str, Any], olds: dict[str, Any]) -> list[Address]:
    """The administrator's address, and with the old password for as long as a new one isn't set yet."""
    place = (props["host"], int(props["port"]), props["database"], props["admin"])
    words = [props["adminPassword"], olds.get("adminPassword")]
    mode, via, certificate = (props.get(key) or "" for key in ("sslmode", "via", "certificate"))
    return [
        Address(*place, word, sslmode=mode, via=via, certificate=certificate) for word in dict.fromkeys(words) if word
    ]


def _demands_tls(props: dict[str, Any]) -> bool:
    return (props.get("sslmode") or "") in ("require", "verify-ca", "verify-full")


def _look(props: dict[str, Any]) -> dict[str, Any] | None:
    """The database's own revision, its drift and what `up` mends, as inputs; None where it can't be reached."""
    from pgvector_stacks.inspection import hba_rules, rerun_reasons, role_drift
    from pgvector_stacks.migrations.ledger import read_ledger

    addresses = _addresses(props, {})
    made = rerun_reasons.Made(
        addresses[0],
        extensions=tuple(props.get("extensions") or ()),
        app_password=props.get("appPassword") or "",
        readonly_password=props.get("readonlyPassword") or "",
        backup_password=props.get("backupPassword") or "",
        limits=RoleLimits.from_inputs(props.get("roleLimits")),
    )
    try:
        with opened(addresses) as connection:
            ledger = read_ledger(connection)
            differences = look_for_drift(connection)
            found: dict[str, Any] = {
                "ledger": revision((row.name, row.normalised) for row in ledger),
                "drift": [
                    *role_drift.as_seen(differences, ()).drift,
                    *hba_rules.find(connection, tls=_demands_tls(props)),
                ]
                or NO_DRIFT,
            }
            words = rerun_reasons.find_reasons(connection, replace(made, differences=differences or ()))
            return found | ({MEND: list(words)} if words else {})
    except (ConnectionFailed, psycopg.OperationalError):
        return None


def _bring_up(props: dict[str, Any]) -> dict[str, Any]:
    """Run, then validate. Raises what `apply` and `validate` raise."""
    from pgvector_stacks.inspection import validation
    from pgvector_stacks.migrations import apply
    from pgvector_stacks.migrations.ledger import add_event

    (address,) = _addresses(props, {})
    request = apply.Request(
        stack=props["stack"],
        scripts=load_listed(props),
        verify=load_verify(SQL),
        baseline=tuple(props["baseline"]),
        extensions=tuple(props["extensions"]),
        statement_timeout_s=props["statementTimeoutS"],
        lock_timeout_s=props["lockTimeoutS"],
        lock_wait_s=props["lockWaitS"],
        build_memory_mb=int(props.get("buildMemoryMb") or 0),
        app_password=props["appPassword"],
        readonly_password=props["readonlyPassword"],
        backup_password=props.get("backupPassword") or "",
        adopted=bool(props.get("adopt")),
        limits=RoleLimits.from_inputs(props.get("roleLimits")),
    )
    outcome = apply.apply(address, request, pulumi.log.info, pulumi.log.warn)
    demands = validation.Demands(
        props["pgvectorMinimum"], dict(props["settings"]), tuple(props.get("acceptedRecall") or ())
    )
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
            + "\n  mend the cause, then `up` again: only the validation is repeated"
        )
    return props | {
        "schemaRevision": outcome.revision,
        "postgresVersion": outcome.server_version,
        "pgvectorVersion": outcome.pgvector_version,
        "validation": report.results,
    }


def _as_lines(listing: str | dict[str, str]) -> str:
    """The same from the map that older states hold, in the order of its numbers: Pulumi keeps none."""
    if isinstance(listing, str):
        return listing
    places = sorted(listing, key=lambda place: int(place.split(" ", 1)[0]))
    return "".join(f"{place}  {listing[place]}\n" for place in places)


class SqlSchema(DynamicResource, module="pgvector", name="SqlSchema"):
    """Outputs: schemaRevision, postgresVersion, pgvectorVersion (str), validation (map of check to result)."""

    schemaRevision: pulumi.Output[str]
    postgresVersion: pulumi.Output[str]
    pgvectorVersion: pulumi.Output[str]
    validation: pulumi.Output[dict[str, str]]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(SqlSchemaProvider(), name, dict.fromkeys(OUTPUTS) | props, opts)


def inputs(environment: Environment) -> dict[str, Any]:
    """The inputs that come from the environment and the files alone. Raises ScriptError, SettingRefused."""
    scripts = load(SQL, environment.scripts, listed_elsewhere=scripts_of_all(), cache=SCRIPT_CACHE)
    return (
        {
            "stack": environment.stack,
            "database": environment.database,
            "scripts": script_lines(scripts),
            "verify": script_lines(load_verify(SQL, cache=SCRIPT_CACHE)),
            "order": list(environment.scripts),
            "baseline": list(environment.baseline),
            "extensions": list(environment.extensions),
            "driftPolicy": environment.drift,
            "statementTimeoutS": environment.statement_timeout_s,
            "lockTimeoutS": environment.lock_timeout_s,
            "lockWaitS": environment.lock_wait_s,
            "pgvectorMinimum": environment.pgvector_minimum,
            "roleLimits": environment.role_limits.inputs,
            "runner": RUNNER,
        }
        | ({"acceptedRecall": list(environment.accepted_recall)} if environment.accepted_recall else {})
        | ({"adopt": True} if environment.adopt_volume and environment.engine == "docker" else {})
    )

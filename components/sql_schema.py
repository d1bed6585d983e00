"""The ordered SQL scripts as a tracked resource. Its truth is the ledger in the database; the state is a cache of it.

check: reads the scripts, and the ledger where the server answers, and refuses what may not run: edited, removed and
reordered scripts, drift in strict environments → diff: left to the engine, which prints the changed keys → create and
update: run what is pending, whole or not at all, then validate → read: puts what the database really has into the
inputs, so that a restored older database or a hand-made change shows in the next preview → delete: nothing; data is
never dropped by taking a resource away.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from components.provider import inputs_of, is_unknown, plainly, refused, settle_in
from postgres.connection import LOOK, Address, connect, told
from postgres.errors import ConnectionFailed, DriftRefused, PgstackError, ScriptError, ValidationFailed
from postgres.scripts import Script, load, load_verify, revision
from stacks import offline
from stacks.environment import SCRIPT_CACHE, SQL, Environment, scripts_of_all

if TYPE_CHECKING:  # and late, where the database is asked or changed: the program only declares
    from postgres.planning import Applied, Pending

NO_DRIFT = "none"
SHORT = 12
# Bump it when what create and update do to a database changes: the state doesn't see a change of code.
RUNNER = 1
LAST_LOOK: dict[str, Any] = {}
LISTINGS = ("scripts", "verify")
OUTPUTS = ("schemaRevision", "postgresVersion", "pgvectorVersion", "validation")


class SqlSchemaProvider(ResourceProvider):
    """Inputs: see `SqlSchema`. The scripts are read from disk: their text is in neither inputs nor state."""

    def configure(self, req: Any) -> None:
        settle_in()

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        try:
            return CheckResult(_checked(_olds, news), [])
        except PgstackError as error:
            return refused(news, error)
        except psycopg.Error as error:
            return refused(news, told(error))

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
        found = _look(_addresses(props, {}))
        if found is not None:
            outs["ledger"], drifted = found
            outs["drift"] = list(drifted) or NO_DRIFT
        return ReadResult(id_, outs, inputs_of(outs, OUTPUTS))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """The data stays: taking the resource out of the program is no order to drop it."""


def _checked(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    """The inputs with what the database says added: `ledger` (the revision it is to have) and `drift`.

    Raises PlanRefused, DriftRefused, ScriptError.
    """
    from postgres import apply, drift
    from postgres.planning import plan

    unseen = {"drift": olds.get("drift", NO_DRIFT)}
    if offline.requested(os.environ):
        return news | unseen | {"ledger": _not_compared(olds, news)}
    if is_unknown({key: news.get(key) for key in ("host", "port", "adminPassword", "identity")}):
        return news | unseen | {"ledger": _target(_announced(news, olds))}
    try:
        connection = _open(_addresses(news, olds))
    except ConnectionFailed as error:
        reason = f" ({str(error).splitlines()[0]})" if olds else ""
        return news | unseen | {"ledger": _target(_announced(news, olds)) + reason}
    pending: tuple[Pending, ...] = ()
    with connection:
        ledger = apply.read_ledger(connection)
        actual = target = revision((row.name, row.normalised) for row in ledger)
        if not _all_ran(news["scripts"], ledger):
            scripts = _load(news)
            target = _target(scripts)
            done = apply.read_unfinished(connection)
            pending = plan(scripts, ledger, where=news["stack"], baseline=news["baseline"], done=done).pending
        differences = _drift(connection)
    if differences and news["driftPolicy"] == "refuse":
        raise DriftRefused(drift.message(news["stack"], differences))
    for entry in pending:
        pulumi.log.info(f"to run: {entry.script.path} ({entry.reason})")
    for difference in differences:
        pulumi.log.warn(f"drift: {difference}")
    before = str(olds.get("ledger", ""))
    if actual == target:
        wanted = before if before.startswith(target) else target
    else:  # also where the state believes that all ran, as after a restore
        wanted = f"{target} (the database has {actual})" if before == target else target
    return news | {"ledger": wanted, "drift": list(differences) or NO_DRIFT}


def _announced(news: dict[str, Any], olds: dict[str, Any]) -> tuple[Script, ...]:
    """The scripts, each named where there is no ledger to ask yet: of a new resource the engine shows three lines."""
    scripts = _load(news)
    for script in () if olds else scripts:
        pulumi.log.info(f"to run: {script.path} (new, unless the database has it)")
    return scripts


def _not_compared(olds: dict[str, Any], news: dict[str, Any]) -> str:
    """The revision to be reached, with a word on what the state alone can tell. Raises ScriptError."""
    scripts = _load(news)
    pulumi.log.warn("offline: the ledger was not compared; which scripts ran is what the last `up` left in the state")
    before = _as_lines(olds.get("scripts", ""))
    ran = dict(line.split(" ", 1)[1].rsplit("  ", 1) for line in before.splitlines())
    for script in scripts:
        if script.name not in ran:
            pulumi.log.info(f"to run, by the state: {script.path} (new)")
        elif ran[script.name] != script.normalised[:SHORT]:
            if script.repeatable:
                pulumi.log.info(f"to run, by the state: {script.path} (repeatable changed)")
            else:
                pulumi.log.warn(f"{script.path} was changed after it ran, by the state: `up` refuses that")
    return str(olds["ledger"]) if before == news["scripts"] and "ledger" in olds else _target(scripts)


def _target(scripts: Sequence[Script]) -> str:
    return revision((script.name, script.normalised) for script in scripts)


def _all_ran(listed: str, ledger: Sequence[Applied]) -> bool:
    """True where the ledger has just what is listed: then no file has to be read again."""
    return listed == script_lines(ledger)


def _load(props: dict[str, Any]) -> tuple[Script, ...]:
    """The scripts from disk, which must still be those of the inputs: nothing runs that no preview showed."""
    scripts = load(SQL, list(props["order"]), listed_elsewhere=scripts_of_all(), cache=SCRIPT_CACHE)
    verify = load_verify(SQL, cache=SCRIPT_CACHE)
    if script_lines(scripts) != props["scripts"] or script_lines(verify) != props["verify"]:
        raise ScriptError("the files in sql/ changed while this ran; run it again")
    return scripts


def _addresses(props: dict[str, Any], olds: dict[str, Any]) -> list[Address]:
    """The administrator's address, and with the old password for as long as a new one isn't set yet."""
    place = (props["host"], int(props["port"]), props["database"], props["admin"])
    words = [props["adminPassword"], olds.get("adminPassword")]
    mode = props.get("sslmode") or ""
    return [Address(*place, word, sslmode=mode, via=props.get("via") or "") for word in dict.fromkeys(words) if word]


def _open(addresses: list[Address]) -> psycopg.Connection[Any]:
    """Raises the last ConnectionFailed."""
    failure = ConnectionFailed("no address")
    for address in addresses:
        try:
            return connect(address, options=LOOK)
        except ConnectionFailed as error:
            failure = error
    raise failure


def _look(addresses: list[Address]) -> tuple[str, tuple[str, ...]] | None:
    """The database's own revision and its drift; None where it can't be reached (then the state stays as it is)."""
    from postgres import apply

    try:
        with _open(addresses) as connection:
            ledger = apply.read_ledger(connection)
            return revision((row.name, row.normalised) for row in ledger), _drift(connection)
    except (ConnectionFailed, psycopg.OperationalError):
        return None


def _drift(connection: psycopg.Connection[Any]) -> tuple[str, ...]:
    """The drift in words.

    A preview asks twice, in read and in check: where nothing was written in between, the answer is the same.
    """
    from postgres import drift

    row = connection.execute(
        "SELECT system_identifier, current_database(), pg_current_wal_insert_lsn() FROM pg_control_system()"
    ).fetchone()
    if LAST_LOOK.get("at") == row:
        seen: tuple[str, ...] = LAST_LOOK["drift"]
        return seen
    found = drift.look(connection)
    if found != drift.NOT_KNOWN:
        LAST_LOOK.update({"at": row, "drift": found})
    return found


def _bring_up(props: dict[str, Any]) -> dict[str, Any]:
    """Run, then validate. Raises what `apply` and `validate` raise."""
    from postgres import apply, validation

    (address,) = _addresses(props, {})
    request = apply.Request(
        stack=props["stack"],
        scripts=_load(props),
        verify=load_verify(SQL),
        baseline=tuple(props["baseline"]),
        extensions=tuple(props["extensions"]),
        statement_timeout_s=props["statementTimeoutS"],
        lock_timeout_s=props["lockTimeoutS"],
        lock_wait_s=props["lockWaitS"],
        build_memory_mb=int(props.get("buildMemoryMb") or 0),
        app_password=props["appPassword"],
        readonly_password=props["readonlyPassword"],
        adopted=bool(props.get("adopt")),
    )
    outcome = apply.apply(address, request, pulumi.log.info, pulumi.log.warn)
    demands = validation.Demands(pgvector_minimum=props["pgvectorMinimum"], settings=dict(props["settings"]))
    with connect(address) as connection:
        report = validation.validate(connection, demands)
        connection.execute("RESET statement_timeout")
        verdict = "; ".join(f"{name}: {why}" for name, why in report.failures.items()) or "every check passed"
        apply.add_event(
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


def script_lines(scripts: Iterable[Script | Applied]) -> str:
    """`0001 init.sql  3f2a…` a line: what a reviewer reads in the preview. White space and comments change nothing.

    One text, which the engine compares line by line, and no map: each value passes several times between the engine and
    two Pythons, and a thousand of them made a preview an eighth slower.
    """
    return "".join(
        f"{place:04} {script.name}  {script.normalised[:SHORT]}\n" for place, script in enumerate(scripts, 1)
    )


def _as_lines(listing: str | dict[str, str]) -> str:
    """The same from the map that older states hold, in the order of its numbers: Pulumi keeps none."""
    if isinstance(listing, str):
        return listing
    places = sorted(listing, key=lambda place: int(place.split(" ", 1)[0]))
    return "".join(f"{place}  {listing[place]}\n" for place in places)


class SqlSchema(Resource, module="pgvector", name="SqlSchema"):
    """Outputs: schemaRevision, postgresVersion, pgvectorVersion (str), validation (map of check to result)."""

    schemaRevision: pulumi.Output[str]
    postgresVersion: pulumi.Output[str]
    pgvectorVersion: pulumi.Output[str]
    validation: pulumi.Output[dict[str, str]]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(SqlSchemaProvider(), name, dict.fromkeys(OUTPUTS) | props, opts)


def inputs(environment: Environment) -> dict[str, Any]:
    """The inputs that come from the environment and the files alone. Raises ScriptError."""
    scripts = load(SQL, environment.scripts, listed_elsewhere=scripts_of_all(), cache=SCRIPT_CACHE)
    return {
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
        "runner": RUNNER,
    } | ({"adopt": True} if environment.adopt_volume and environment.engine == "docker" else {})

"""Compares the listed scripts with the database: for the schema's check, and for the server's check before a change.

A change of the server makes its address and its identity unknown to the preview, and an `up` checks the schema only
once the new server accepts connections. So the resource that has the data (EmbeddedServer, DataDirectory) also compares
in its own check, with the server that runs now: what the schema's check would refuse is refused before any change.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pulumi

from pgvector_stacks.common.errors import ConnectionFailed, DriftRefused, ScriptError
from pgvector_stacks.config import offline
from pgvector_stacks.config.environment import SCRIPT_CACHE, SQL, list_all_scripts
from pgvector_stacks.connections.connection import INSPECTION_OPTIONS, Address, connect
from pgvector_stacks.migrations.scripts.script_files import Script, load, load_verify, revision

if TYPE_CHECKING:  # functions that ask the database import these late: the program only declares
    from pgvector_stacks.common.difference import Difference
    from pgvector_stacks.migrations.scripts.planning import Applied, Pending

SHORT = 12
# The key under which the program passes some of the schema's inputs to the server's check. The check removes it, so
# that no state holds it.
WANTED = "schemaWanted"
WANTED_INPUTS = ("stack", "database", "scripts", "verify", "order", "baseline", "driftPolicy")
LAST_LOOK: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Files:
    """The files of `sql/`: the listed scripts in their order, and the verify scripts."""

    scripts: tuple[Script, ...]
    verify: tuple[Script, ...]


@dataclass(frozen=True, slots=True)
class SchemaComparison:
    """The revision that the database has, the target revision, what runs to reach it, and the drift as text."""

    actual: str
    target: str
    pending: tuple[Pending, ...]
    drift: tuple[str, ...]


def compare(connection: psycopg.Connection[Any], wanted: Mapping[str, Any]) -> SchemaComparison:
    """Compare the ledger and the live schema with the listed scripts (`WANTED_INPUTS`).

    Raises PlanRefused, DriftRefused, ScriptError, psycopg.Error.
    """
    from pgvector_stacks.inspection import role_drift, schema_drift
    from pgvector_stacks.migrations import baseline
    from pgvector_stacks.migrations.ledger import read_ledger
    from pgvector_stacks.migrations.scripts import interrupted
    from pgvector_stacks.migrations.scripts.planning import plan

    pending: tuple[Pending, ...] = ()
    ledger = read_ledger(connection)
    actual = target = revision((row.name, row.normalised) for row in ledger)
    progress = interrupted.read_finished(connection)
    if progress or format_script_lines(ledger) != wanted["scripts"]:  # else no file has to be read again
        scripts = read_listed_files(wanted).scripts
        target = compute_revision(scripts)
        pending = plan(scripts, ledger, where=wanted["stack"], baseline=wanted["baseline"], progress=progress).pending
    differences = role_drift.sort_drift(baseline.exclude_pending(look_for_drift(connection), pending), ()).drift
    if differences and wanted["driftPolicy"] == "refuse":
        raise DriftRefused(schema_drift.explain_refusal(wanted["stack"], differences))
    return SchemaComparison(actual, target, pending, differences)


def set_apart(news: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """Return a server's inputs without the key `WANTED`, and the value of that key."""
    return {key: value for key, value in news.items() if key != WANTED}, news.get(WANTED)


def refuse_before_a_change(addresses: Sequence[Address], wanted: Mapping[str, Any]) -> None:
    """Raise, before an existing server changes, what the schema's check would raise only after the change.

    `addresses`: the administrator's addresses at the existing server. A server that can't be reached, or that Pulumi
    stops meanwhile, isn't a reason to refuse: the schema's check reports that, and compares again before a script runs.
    """
    if offline.is_offline_requested(os.environ):
        return
    try:
        with open_first(addresses) as connection:
            try:
                compare(connection, wanted)
            except psycopg.OperationalError:
                if not connection.broken:
                    raise
    except ConnectionFailed:
        return


def has_no_database(addresses: Iterable[Address]) -> bool:
    """Return whether a server answers at one of the addresses and does not have their database."""
    for address in addresses:
        try:
            with connect(replace(address, database="postgres"), options=INSPECTION_OPTIONS) as connection:
                found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (address.database,))
                return found.fetchone() is None
        except ConnectionFailed:
            continue
    return False


@contextmanager
def open_first(addresses: Iterable[Address]) -> Iterator[psycopg.Connection[Any]]:
    """Connect to the first address that accepts the connection. Raises the ConnectionFailed of the last address."""
    failure = ConnectionFailed("no address")
    for address in addresses:
        try:
            connection = connect(address, options=INSPECTION_OPTIONS)
        except ConnectionFailed as error:
            failure = error
            continue
        with connection:
            yield connection
        return
    raise failure


def read_listed_files(props: Mapping[str, Any]) -> Files:
    """Read the files from disk, which must be those of the inputs, so that only what a preview showed can run.

    Raises ScriptError.
    """
    files = _read_once(SQL, tuple(props["order"]))
    if format_script_lines(files.scripts) != props["scripts"] or format_script_lines(files.verify) != props["verify"]:
        raise ScriptError("the files in sql/ changed while this ran; run it again")
    return files


@functools.cache
def _read_once(root: Path, order: tuple[str, ...]) -> Files:
    """Read the files once per process, which serves one preview or one `up`: what it checks is what it runs."""
    return read_files(root, order)


def read_files(root: Path, order: Iterable[str]) -> Files:
    """Read the files below `root`; `order` lists the scripts among them. Raises ScriptError."""
    scripts = load(root, list(order), listed_elsewhere=list_all_scripts(), cache=SCRIPT_CACHE)
    return Files(scripts, load_verify(root, cache=SCRIPT_CACHE))


def announce(pending: Iterable[Pending]) -> None:
    """Log a line for each script that will run."""
    for entry in pending:
        pulumi.log.info(f"to run: {entry.script.path} ({entry.reason})")


def announce_all(scripts: Iterable[Script], why: str, baseline: Iterable[str] = ()) -> None:
    """Log a line for each script, where no ledger says which ones will run."""
    recorded = set(baseline)
    for script in scripts:
        pulumi.log.info(f"to run: {script.path} ({'baseline' if script.name in recorded else why})")


def compute_revision(scripts: Sequence[Script]) -> str:
    return revision((script.name, script.normalised) for script in scripts)


def format_script_lines(scripts: Iterable[Script | Applied]) -> str:
    """Return a line `0001 init.sql  3f2a…` for each script: what a reviewer reads in the preview.

    White space and comments in a script don't change its line. The result is one text, which Pulumi compares line by
    line, and not a map: each value of a map passes several times between Pulumi and two Python processes. A thousand
    values made a preview an eighth slower.
    """
    return "".join(
        f"{place:04} {script.name}  {script.normalised[:SHORT]}\n" for place, script in enumerate(scripts, 1)
    )


def look_for_drift(connection: psycopg.Connection[Any]) -> tuple[Difference, ...] | None:
    """Return the drift; None if it isn't known.

    A preview asks several times, in `read` and in each `check`. If the server wrote nothing since the last time, this
    function returns the last answer.
    """
    from pgvector_stacks.inspection import schema_drift

    row = connection.execute(
        "SELECT system_identifier, current_database(), pg_current_wal_insert_lsn() FROM pg_control_system()"
    ).fetchone()
    if LAST_LOOK.get("at") == row:
        seen: tuple[Difference, ...] = LAST_LOOK["drift"]
        return seen
    found = schema_drift.find_drift_unless_locked(connection)
    if found is not None:
        LAST_LOOK.update({"at": row, "drift": found})
    return found

"""What the database says about the listed scripts: asked by the schema's check, and by the server's before it changes.

A change of the server makes its address and its identity unknown to the preview, and an `up` checks the schema only
once the new server serves. So the resource that has the data (EmbeddedServer, DataDirectory) asks too, in its own
check, the server that is there: what can't go on is refused before anything is changed.
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
from pgvector_stacks.config.environment import SCRIPT_CACHE, SQL, scripts_of_all
from pgvector_stacks.connections.connection import LOOK, Address, connect
from pgvector_stacks.migrations.scripts.script_files import Script, load, load_verify, revision

if TYPE_CHECKING:  # and late, where the database is asked: the program only declares
    from pgvector_stacks.common.difference import Difference
    from pgvector_stacks.migrations.scripts.planning import Applied, Pending

SHORT = 12
# What a server's check needs of the schema's inputs. The program hands it over; the check takes it out again, so that
# no state holds it.
WANTED = "schemaWanted"
WANTED_INPUTS = ("stack", "database", "scripts", "verify", "order", "baseline", "driftPolicy")
LAST_LOOK: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Files:
    """What lies in `sql/`: the listed scripts in their order, and the verify scripts."""

    scripts: tuple[Script, ...]
    verify: tuple[Script, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The revision the database has, the one it is to have, what runs to get there, and the drift in words."""

    actual: str
    target: str
    pending: tuple[Pending, ...]
    drift: tuple[str, ...]


def compare(connection: psycopg.Connection[Any], wanted: Mapping[str, Any]) -> Found:
    """The ledger and the live schema against the listed scripts (`WANTED_INPUTS`).

    Raises PlanRefused, DriftRefused, ScriptError, psycopg.Error.
    """
    from pgvector_stacks.inspection import drift, role_drift
    from pgvector_stacks.migrations import baseline
    from pgvector_stacks.migrations.ledger import read_ledger
    from pgvector_stacks.migrations.scripts import interrupted
    from pgvector_stacks.migrations.scripts.planning import plan

    pending: tuple[Pending, ...] = ()
    ledger = read_ledger(connection)
    actual = target = revision((row.name, row.normalised) for row in ledger)
    done = interrupted.read(connection)
    if done or script_lines(ledger) != wanted["scripts"]:  # else no file has to be read again
        scripts = listed_files(wanted).scripts
        target = revision_of(scripts)
        pending = plan(scripts, ledger, where=wanted["stack"], baseline=wanted["baseline"], done=done).pending
    differences = role_drift.as_seen(baseline.without_pending(look_for_drift(connection), pending), ()).drift
    if differences and wanted["driftPolicy"] == "refuse":
        raise DriftRefused(drift.message(wanted["stack"], differences))
    return Found(actual, target, pending, differences)


def set_apart(news: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """A server's inputs without `WANTED`, and what stood there."""
    return {key: value for key, value in news.items() if key != WANTED}, news.get(WANTED)


def refuse_before_a_change(addresses: Sequence[Address], wanted: Mapping[str, Any]) -> None:
    """For a server that exists: raises what the schema's check would raise only after the server was changed.

    `addresses`: the administrator's at the server that is there. One that can't be asked is no reason to refuse: the
    schema's check says so, and asks again before a script runs.
    """
    if offline.requested(os.environ):
        return
    try:
        with opened(addresses) as connection:
            compare(connection, wanted)
    except ConnectionFailed:
        return


def has_no_database(addresses: Iterable[Address]) -> bool:
    """True where a server answers there and has no such database."""
    for address in addresses:
        try:
            with connect(replace(address, database="postgres"), options=LOOK) as connection:
                found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (address.database,))
                return found.fetchone() is None
        except ConnectionFailed:
            continue
    return False


@contextmanager
def opened(addresses: Iterable[Address]) -> Iterator[psycopg.Connection[Any]]:
    """The first that lets us in. Raises the last ConnectionFailed."""
    failure = ConnectionFailed("no address")
    for address in addresses:
        try:
            connection = connect(address, options=LOOK)
        except ConnectionFailed as error:
            failure = error
            continue
        with connection:
            yield connection
        return
    raise failure


def listed_files(props: Mapping[str, Any]) -> Files:
    """The files from disk, which must be those of the inputs: nothing runs that no preview showed.

    Raises ScriptError.
    """
    files = _read_once(SQL, tuple(props["order"]))
    if script_lines(files.scripts) != props["scripts"] or script_lines(files.verify) != props["verify"]:
        raise ScriptError("the files in sql/ changed while this ran; run it again")
    return files


@functools.cache
def _read_once(root: Path, order: tuple[str, ...]) -> Files:
    """A providers' process serves one preview or one `up`: what is checked in it is what runs."""
    return read_files(root, order)


def read_files(root: Path, order: Iterable[str]) -> Files:
    """The files below `root`, of which `order` lists the scripts. Raises ScriptError."""
    scripts = load(root, list(order), listed_elsewhere=scripts_of_all(), cache=SCRIPT_CACHE)
    return Files(scripts, load_verify(root, cache=SCRIPT_CACHE))


def announce(pending: Iterable[Pending]) -> None:
    """A line a script that runs."""
    for entry in pending:
        pulumi.log.info(f"to run: {entry.script.path} ({entry.reason})")


def announce_all(scripts: Iterable[Script], why: str, baseline: Iterable[str] = ()) -> None:
    """Log a line for each script, where no ledger says which ones will run."""
    recorded = set(baseline)
    for script in scripts:
        pulumi.log.info(f"to run: {script.path} ({'baseline' if script.name in recorded else why})")


def revision_of(scripts: Sequence[Script]) -> str:
    return revision((script.name, script.normalised) for script in scripts)


def script_lines(scripts: Iterable[Script | Applied]) -> str:
    """`0001 init.sql  3f2a…` a line: what a reviewer reads in the preview. White space and comments change nothing.

    One text, which the engine compares line by line, and no map: each value passes several times between the engine and
    two Pythons, and a thousand of them made a preview an eighth slower.
    """
    return "".join(
        f"{place:04} {script.name}  {script.normalised[:SHORT]}\n" for place, script in enumerate(scripts, 1)
    )


def look_for_drift(connection: psycopg.Connection[Any]) -> tuple[Difference, ...] | None:
    """The drift; None where it is not known.

    A preview asks several times, in read and in each check: where nothing was written in between, the answer is the
    same.
    """
    from pgvector_stacks.inspection import drift

    row = connection.execute(
        "SELECT system_identifier, current_database(), pg_current_wal_insert_lsn() FROM pg_control_system()"
    ).fetchone()
    if LAST_LOOK.get("at") == row:
        seen: tuple[Difference, ...] = LAST_LOOK["drift"]
        return seen
    found = drift.seen(connection)
    if found is not None:
        LAST_LOOK.update({"at": row, "drift": found})
    return found

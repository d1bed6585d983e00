"""Compares every row of the data directory that an upgrade kept with the running new server.

The kept directory is never started: the way back counts on its last checkpoint. It is copied beside itself, and the old
version's programs start the copy behind closed doors. Of each table both servers add up a hash of its rows; where that
differs, the rows' hashes of the new server are loaded into the copy, which counts. The copy goes at the end, also after
a failure or a kill. The new server is only read.
"""

from __future__ import annotations

import posixpath
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from psycopg import sql

from postgres import queries, shell
from postgres.errors import ServerError
from postgres.strangers import UNDEMANDING
from postgres.upgrade import checks, rollback
from postgres.upgrade.comparison import Contents, Counted, Rows, Sequence, differences, to_count
from postgres.upgrade.decision import MARGIN_BYTES, size
from postgres.upgrade.journal import Journal
from postgres.upgrade.rollback import COPY
from postgres.upgrade.workshop import HOUR_S, Server, Workshop, must, rows, start

Say = Callable[[str], object]
LONG_S = 48 * HOUR_S
BATCH = 100  # tables a session
OBJECTS = "pg_catalog.pg_largeobject"
ROW_BYTES = 120  # what counting takes of the disk: a hash of each side in a table, in a sort, and some slack
# nothing of it may act: no jobs, no subscriptions; nothing is kept, so that a crash may lose it
SETTINGS = {
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off", "max_wal_size": "1GB",
    "shared_buffers": "128MB", "huge_pages": "off", "max_connections": "20", "max_worker_processes": "0",
    "max_parallel_workers": "0",
}  # fmt: skip
SESSION = (
    f"{checks.SESSION} SET search_path = pg_catalog, pg_temp;"
    " SET extra_float_digits = 1; SET lc_monetary = 'C'; SET work_mem = '64MB';\n"
)
BEGIN = f"BEGIN;\n{queries.get('as_owner')}"
END = "ROLLBACK;\n"
# the process that copies is noted: one that was interrupted goes on by itself
COPYING = """
    mkdir -p "$(dirname "$TO")"
    cp -a --reflink=auto "$FROM" "$TO" &
    echo $! >"$TO.pid"
    wait $!
    rm "$TO.pid"
"""
CLEAR = """
    if [ -f "$D.pid" ] && [ "$(cat "/proc/$(cat "$D.pid")/comm" 2>/dev/null)" = cp ]; then
        kill -9 "$(cat "$D.pid")"
        sleep 1
    fi
    pg_ctl stop -s -m immediate -D "$D" >/dev/null 2>&1 || true
    rm -rf "$D" "$D.log" "$D.pid"
    rmdir "$(dirname "$D")" 2>/dev/null || true
"""
SPACE = """
    if cp --reflink=always "$D/PG_VERSION" "$D.reflink" 2>/dev/null; then echo 0; else du -sB1 "$D" | cut -f1; fi
    rm -f "$D.reflink"
    df -B1 --output=avail "$D" | tail -n 1
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`differs`: in words, each with its database in front. `tables`, `rows`: how many were compared."""

    differs: tuple[str, ...]
    tables: int
    rows: int


def kept(workshop: Workshop, new: int) -> Journal:
    """The upgrade whose kept directory there is to compare. Raises ServerError where there is none."""
    try:
        return rollback.last(workshop, new)
    except ServerError as error:
        raise ServerError(f"there is nothing to compare with: {error}") from None


def place(workshop: Workshop, old: int) -> str:
    """For the copy, of one run alone: what clears up after a killed one may still be at it."""
    return f"{workshop.beside(old, COPY)}/{secrets.token_hex(4)}"


def verify(workshop: Workshop, live: Server, new: int, copy: str, report: Say) -> Verdict:
    """`workshop`: with the old version's programs; `live`: the running server as it is reached from there, by them;
    `copy`: see `place`.

    Raises ServerError where it can't be compared.
    """
    journal = kept(workshop, new)
    rollback.possible(workshop, new)
    with _alone(workshop, journal), _served_copy(workshop, journal, copy, report) as was:
        names = {name: sorted(_databases(workshop, server)) for name, server in (("kept", was), ("now", live))}
        found = [f"{name}: database gone" for name in names["kept"] if name not in names["now"]]
        found += [f"{name}: database new" for name in names["now"] if name not in names["kept"]]
        tables = compared = 0
        for database in (name for name in names["kept"] if name in names["now"]):
            held, told = _compare(workshop, was, live, database)
            report(
                f"{database}: {len(held.tables)} tables with {held.row_count} rows, {len(held.sequences)} sequences: "
                + (f"{len(told)} differ" if told else "the same")
            )
            found += [f"{database}: {difference}" for difference in told]
            tables, compared = tables + len(held.tables), compared + held.row_count
    return Verdict(tuple(found), tables, compared)


def _alone(workshop: Workshop, journal: Journal) -> AbstractContextManager[None]:
    """What another run copied isn't what a power cut left. Raises ServerError."""
    old = workshop.directory(journal.old)
    taken = (
        f"another `pgstack upgrade verify` compares with {old}, or `confirm` deletes it\n  wait for it, then try again"
    )
    return workshop.lock(old, taken)


@contextmanager
def _served_copy(workshop: Workshop, journal: Journal, copy: str, report: Say) -> Iterator[Server]:
    """A server on a copy of the kept directory, both gone afterwards. Raises ServerError."""
    old = workshop.directory(journal.old)
    left = workshop.beside(journal.old, COPY)
    must("removing what a power cut left", workshop.sh('rm -rf "$D"', D=left))
    needed, free = (int(word) for word in must("looking for room", workshop.sh(SPACE, D=old)).split())
    if free < needed + MARGIN_BYTES:
        raise ServerError(
            f"a copy of {old} needs {size(needed + MARGIN_BYTES)} free beside it, there are {size(free)}\n  make room"
        )
    guard = {"DIRECTORY": copy, "LEASH": workshop.leash}
    must("guarding the copy", workshop.run(journal.old, "sh", "-ec", shell.get("verify_guard"), environment=guard))
    try:
        report(f"copies {old} ({size(needed)})" if needed else f"copies {old}, sharing its blocks")
        paths = {"FROM": old, "TO": copy, "LEASH": workshop.leash}
        script = f"{shell.get('leash')}\n{COPYING}"
        must(f"copying {old}", workshop.run(journal.old, "sh", "-ec", script, environment=paths, timeout_s=LONG_S))
        rollback.possible(workshop, journal.new)  # nobody served it meanwhile
        # a data_directory in its postgresql.conf would name another place
        yield start(workshop, journal.old, copy, SETTINGS | {"data_directory": copy}, journal.superuser)
    finally:
        if workshop.run(journal.old, "sh", "-ec", CLEAR, environment={"D": copy}).code != 0:
            report(f"{copy} could not be removed: remove it by hand, or  pgstack upgrade confirm STACK")


def left_to_do(copy: str) -> str:
    """What a container still does when the process that holds it was killed."""
    path = shlex.quote(copy)
    return f"kill -s KILL -- -1; rm -rf {path} {path}.log {path}.pid; rmdir {shlex.quote(posixpath.dirname(copy))}"


def _databases(workshop: Workshop, server: Server) -> list[str]:
    return [row["name"] for row in rows(workshop, server, "postgres", "SELECT datname AS name FROM pg_database"
                                        " WHERE datallowconn")]  # fmt: skip


def _compare(workshop: Workshop, copy: Server, live: Server, database: str) -> tuple[Contents, list[str]]:
    """(what was kept, in what it differs)."""
    relations = {server: rows(workshop, server, database, queries.get("verify_relations")) for server in (copy, live)}
    names = {server: [row["name"] for row in found if row["kind"] == "table"] for server, found in relations.items()}
    kept, now = (
        Contents(
            _contents(workshop, server, database, [*names[server], OBJECTS]),
            {row["name"]: Sequence(row["last"], row["step"]) for row in found if row["kind"] == "sequence"},
        )
        for server, found in relations.items()
    )
    counted = {
        name: _count(workshop, copy, live, database, name, kept.tables[name].count + now.tables[name].count)
        for name in to_count(kept, now)
    }
    return kept, differences(kept, now, counted)


def _contents(workshop: Workshop, server: Server, database: str, tables: list[str]) -> dict[str, Rows]:
    found = {}
    for first in range(0, len(tables), BATCH):
        batch = tables[first : first + BATCH]
        summed = "SELECT concat_ws('|', count(*), coalesce(sum(hash), 0)) FROM ({hashes}) AS each"
        asked = "".join(f"SELECT {_as_owner(table, summed, 'pgstack_answer')};\n" for table in batch)
        said = _ask(workshop, server, database, SESSION + BEGIN + asked + END)
        for table, line in zip(batch, said.splitlines(), strict=True):
            count, total = line.split("|")
            found[table] = Rows(int(count), int(total))
    return found


def _hashes(table: str) -> str:
    """A number for each row, the same in every version: hash partitions rely on it, too.

    ROW: an owner may have made a cast of the table's own type to text.
    """
    return f'SELECT hashtextextended(ROW(kept_row.*)::text COLLATE "C", 0) AS hash FROM ONLY {table} AS kept_row'


def _as_owner(
    table: str, query: str = "SELECT hash::text FROM ({hashes}) AS each", function: str = "pgstack_ask"
) -> str:
    """The call that asks it with the rights of the table's owner. {hashes}: a number for each row."""
    name, text = (sql.Literal(each).as_string(None) for each in (table, query.format(hashes=_hashes(table))))
    return f"pg_temp.{function}({name}::regclass, {text}::text)"


def _ask(workshop: Workshop, server: Server, database: str, text: str) -> str:
    variables = server.environment | {
        "PGDATABASE": database, "FILE": workshop.put("verify.sql", text), "LEASH": workshop.leash,
    }  # fmt: skip
    script = shell.get("leash", "ask")
    return must(
        f"comparing database {database}",
        workshop.run(server.major, "sh", "-ec", script, environment=variables, timeout_s=LONG_S),
    )


def _count(workshop: Workshop, copy: Server, live: Server, database: str, table: str, rows_in_all: int) -> Counted:
    """Rows of one side alone; twice the same row counts twice. Raises ServerError where there is no room for it."""
    free = int(must("looking for room", workshop.sh(SPACE, D=workshop.directory(copy.major))).split()[1])
    if free < rows_in_all * ROW_BYTES + MARGIN_BYTES:
        raise ServerError(
            f"{database}: table {table} differs; to count its rows takes {size(rows_in_all * ROW_BYTES + MARGIN_BYTES)}"
            f" free, there are {size(free)}"
        )
    there = f"{SESSION}{BEGIN}COPY (SELECT {_as_owner(table)}) TO STDOUT;\n{END}"
    here = f"""{SESSION}{BEGIN}
        CREATE TEMPORARY TABLE theirs (hash bigint);
        \\copy pg_temp.theirs FROM pstdin
        WITH kept AS (
                 SELECT hash::bigint AS hash, count(*) AS times FROM {_as_owner(table)} AS each(hash) GROUP BY hash
             ),
             now AS (SELECT hash, count(*) AS times FROM pg_temp.theirs GROUP BY hash)
        SELECT coalesce(sum(greatest(coalesce(kept.times, 0) - coalesce(now.times, 0), 0)), 0),
               coalesce(sum(greatest(coalesce(now.times, 0) - coalesce(kept.times, 0), 0)), 0)
          FROM kept FULL JOIN now USING (hash);
        {END}"""
    variables: Mapping[str, str] = copy.environment | {
        "PGDATABASE": database, "LEASH": workshop.leash,
        "OTHER_HOST": live.host, "OTHER_PORT": str(live.port), "OTHER_USER": live.user, "OTHER_PASSFILE": live.passfile,
        **{name.replace("PG", "OTHER_", 1): value for name, value in (UNDEMANDING | dict(live.demands)).items()},
        "THERE": workshop.put("there.sql", there), "HERE": workshop.put("here.sql", here),
    }  # fmt: skip
    script = shell.get("leash", "verify_rows")
    said = must(
        f"counting rows of {table} in database {database}",
        workshop.run(copy.major, "sh", "-ec", script, environment=variables, timeout_s=LONG_S),
    )
    lost, new = said.split()[-1].split("|")
    return Counted(int(lost), int(new))

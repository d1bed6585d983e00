"""Compares every row of the data directory that an upgrade kept with the running new server.

No server is started on the kept directory, because a rollback relies on its last checkpoint. Instead it is copied, and
the old version's programs start the copy without clients. Both servers compute the sum of row hashes of each table.
Where the sums differ, the new server's row hashes are loaded into the copy, which counts the differences. The copy is
removed at the end, also after a failure or a kill. The new server is only read.
"""

from __future__ import annotations

import posixpath
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from psycopg import sql

from pgvector_stacks.common import queries, shell
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.connections.server_authentication import UNDEMANDING
from pgvector_stacks.toolbox.interface import (
    HOUR_S,
    ServerConnection,
    Toolbox,
    query_rows,
    require_success,
    start_server,
)
from pgvector_stacks.upgrade import rollback
from pgvector_stacks.upgrade.checks import quick_check
from pgvector_stacks.upgrade.checks.comparison import (
    DatabaseSums,
    DifferingRows,
    SequenceState,
    TableSum,
    describe_differences,
    find_differing_tables,
)
from pgvector_stacks.upgrade.decision import MARGIN_BYTES, format_size
from pgvector_stacks.upgrade.journal import Journal
from pgvector_stacks.upgrade.rollback import COPY

Say = Callable[[str], object]
LONG_S = 48 * HOUR_S
BATCH = 100  # tables per session
OBJECTS = "pg_catalog.pg_largeobject"
ROW_BYTES = 120  # disk space for counting: the hash of a row in a table, its copy in a sort, and some slack
# The copy runs no background jobs and no subscriptions. It is thrown away, so a crash may lose its data.
SETTINGS = {
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off", "max_wal_size": "1GB",
    "shared_buffers": "128MB", "huge_pages": "off", "max_connections": "20", "max_worker_processes": "0",
    "max_parallel_workers": "0",
}  # fmt: skip
SESSION = (
    f"{quick_check.SESSION_SETTINGS} SET search_path = pg_catalog, pg_temp;"
    " SET extra_float_digits = 1; SET lc_monetary = 'C'; SET work_mem = '64MB';\n"
)
BEGIN = f"BEGIN;\n{queries.get('as_owner')}"
END = "ROLLBACK;\n"
# Records the process that copies, because cp continues after an interrupted run.
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
class Comparison:
    """The result of a comparison. `differs`: lines of text; `tables`, `rows`: how many were compared."""

    differs: tuple[str, ...]
    tables: int
    rows: int


def find_comparable_upgrade(toolbox: Toolbox, new: int) -> Journal:
    """Return the upgrade whose kept directory can be compared. Raises ServerError if there is none."""
    try:
        return rollback.find_upgrade(toolbox, new)
    except ServerError as error:
        raise ServerError(f"there is nothing to compare with: {error}") from None


def choose_copy_path(toolbox: Toolbox, old: int) -> str:
    """Return a path for the copy of this run only. The cleanup after a killed run may still remove another one."""
    return f"{toolbox.sibling_path(old, COPY)}/{secrets.token_hex(4)}"


def verify(toolbox: Toolbox, live: ServerConnection, new: int, copy: str, report: Say) -> Comparison:
    """Compare the kept directory with the running server. Raises ServerError if it can't be compared.

    `toolbox`: one with the old version's programs; `live`: their connection to the running server; `copy`: the path
    that `choose_copy_path` returned.
    """
    journal = find_comparable_upgrade(toolbox, new)
    rollback.find_reversible_upgrade(toolbox, new)
    with _lock_kept_directory(toolbox, journal), _serving_copy(toolbox, journal, copy, report) as was:
        names = {name: sorted(_list_databases(toolbox, server)) for name, server in (("kept", was), ("now", live))}
        found = [f"{name}: database gone" for name in names["kept"] if name not in names["now"]]
        found += [f"{name}: database new" for name in names["now"] if name not in names["kept"]]
        tables = compared = 0
        for database in (name for name in names["kept"] if name in names["now"]):
            held, different = _compare(toolbox, was, live, database)
            report(
                f"{database}: {len(held.tables)} tables with {held.row_count} rows, {len(held.sequences)} sequences: "
                + (f"{len(different)} differ" if different else "the same")
            )
            found += [f"{database}: {difference}" for difference in different]
            tables, compared = tables + len(held.tables), compared + held.row_count
    return Comparison(tuple(found), tables, compared)


def _lock_kept_directory(toolbox: Toolbox, journal: Journal) -> AbstractContextManager[None]:
    """Lock the kept directory, so that no other run copies or deletes it. Raises ServerError."""
    old = toolbox.directory(journal.old)
    taken = (
        f"another `pgstack upgrade verify` compares with {old}, or `confirm` deletes it\n  wait for it, then try again"
    )
    return toolbox.lock(old, taken)


@contextmanager
def _serving_copy(toolbox: Toolbox, journal: Journal, copy: str, report: Say) -> Iterator[ServerConnection]:
    """Start a server on a copy of the kept directory, and remove both at the end. Raises ServerError."""
    old = toolbox.directory(journal.old)
    left = toolbox.sibling_path(journal.old, COPY)
    require_success("removing what a power cut left", toolbox.sh('rm -rf "$D"', D=left))
    needed, free = (int(word) for word in require_success("looking for room", toolbox.sh(SPACE, D=old)).split())
    if free < needed + MARGIN_BYTES:
        raise ServerError(
            f"a copy of {old} needs {format_size(needed + MARGIN_BYTES)} free beside it, there are {format_size(free)}"
            "\n  free disk space"
        )
    guard = {"DIRECTORY": copy, "LEASH": toolbox.lifetime_fifo}
    require_success(
        "guarding the copy", toolbox.run(journal.old, "sh", "-ec", shell.get("verify_guard"), environment=guard)
    )
    try:
        report(f"copies {old} ({format_size(needed)})" if needed else f"copies {old}, sharing its blocks")
        paths = {"FROM": old, "TO": copy, "LEASH": toolbox.lifetime_fifo}
        script = f"{shell.get('leash')}\n{COPYING}"
        require_success(
            f"copying {old}", toolbox.run(journal.old, "sh", "-ec", script, environment=paths, timeout_s=LONG_S)
        )
        rollback.find_reversible_upgrade(toolbox, journal.new)  # no server has used the directory meanwhile
        # The setting overrides a data_directory in postgresql.conf, which would name the original.
        yield start_server(toolbox, journal.old, copy, SETTINGS | {"data_directory": copy}, journal.superuser)
    finally:
        if toolbox.run(journal.old, "sh", "-ec", CLEAR, environment={"D": copy}).code != 0:
            report(f"{copy} could not be removed: remove it by hand, or  pgstack upgrade confirm STACK")


def cleanup_command(copy: str) -> str:
    """Return the shell command that cleans up in a container after the process that uses it was killed."""
    path = shlex.quote(copy)
    return f"kill -s KILL -- -1; rm -rf {path} {path}.log {path}.pid; rmdir {shlex.quote(posixpath.dirname(copy))}"


def _list_databases(toolbox: Toolbox, server: ServerConnection) -> list[str]:
    return [row["name"] for row in query_rows(toolbox, server, "postgres", "SELECT datname AS name FROM pg_database"
                                        " WHERE datallowconn")]  # fmt: skip


def _compare(
    toolbox: Toolbox, copy: ServerConnection, live: ServerConnection, database: str
) -> tuple[DatabaseSums, list[str]]:
    """Return the kept contents of a database, and its differences as lines of text."""
    relations = {
        server: query_rows(toolbox, server, database, queries.get("verify_relations")) for server in (copy, live)
    }
    names = {server: [row["name"] for row in found if row["kind"] == "table"] for server, found in relations.items()}
    kept, now = (
        DatabaseSums(
            _sum_tables(toolbox, server, database, [*names[server], OBJECTS]),
            {row["name"]: SequenceState(row["last"], row["step"]) for row in found if row["kind"] == "sequence"},
        )
        for server, found in relations.items()
    )
    counted = {
        name: _count_differences(toolbox, copy, live, database, name, kept.tables[name].count + now.tables[name].count)
        for name in find_differing_tables(kept, now)
    }
    return kept, describe_differences(kept, now, counted)


def _sum_tables(toolbox: Toolbox, server: ServerConnection, database: str, tables: list[str]) -> dict[str, TableSum]:
    found = {}
    for first in range(0, len(tables), BATCH):
        batch = tables[first : first + BATCH]
        summed = "SELECT concat_ws('|', count(*), coalesce(sum(hash), 0)) FROM ({hashes}) AS each"
        asked = "".join(f"SELECT {_call_as_owner(table, summed, 'pgstack_answer')};\n" for table in batch)
        said = _run_sql(toolbox, server, database, SESSION + BEGIN + asked + END)
        for table, line in zip(batch, said.splitlines(), strict=True):
            count, total = line.split("|")
            found[table] = TableSum(int(count), int(total))
    return found


def _row_hashes_query(table: str) -> str:
    """Return the query for the hash of each row. The hash is the same in every version: hash partitions rely on that.

    The query uses ROW, because an owner may have created a cast of the table's row type to text.
    """
    return f'SELECT hashtextextended(ROW(kept_row.*)::text COLLATE "C", 0) AS hash FROM ONLY {table} AS kept_row'


def _call_as_owner(
    table: str, query: str = "SELECT hash::text FROM ({hashes}) AS each", function: str = "pgstack_ask"
) -> str:
    """Return the SQL call that runs `query` with the rights of the table's owner. {hashes}: see `_row_hashes_query`."""
    name, text = (sql.Literal(each).as_string(None) for each in (table, query.format(hashes=_row_hashes_query(table))))
    return f"pg_temp.{function}({name}::regclass, {text}::text)"


def _run_sql(toolbox: Toolbox, server: ServerConnection, database: str, text: str) -> str:
    variables = server.environment | {
        "PGDATABASE": database, "FILE": toolbox.put("verify.sql", text), "LEASH": toolbox.lifetime_fifo,
    }  # fmt: skip
    script = shell.get("leash", "ask")
    return require_success(
        f"comparing database {database}",
        toolbox.run(server.major, "sh", "-ec", script, environment=variables, timeout_s=LONG_S),
    )


def _count_differences(
    toolbox: Toolbox, copy: ServerConnection, live: ServerConnection, database: str, table: str, rows_in_all: int
) -> DifferingRows:
    """Count the rows that only one side has, duplicates included. Raises ServerError without enough disk space."""
    free = int(require_success("looking for room", toolbox.sh(SPACE, D=toolbox.directory(copy.major))).split()[1])
    if free < rows_in_all * ROW_BYTES + MARGIN_BYTES:
        raise ServerError(
            f"{database}: table {table} differs; counting its rows needs"
            f" {format_size(rows_in_all * ROW_BYTES + MARGIN_BYTES)} free, there are {format_size(free)}"
        )
    there = f"{SESSION}{BEGIN}COPY (SELECT {_call_as_owner(table)}) TO STDOUT;\n{END}"
    here = f"""{SESSION}{BEGIN}
        CREATE TEMPORARY TABLE theirs (hash bigint);
        \\copy pg_temp.theirs FROM pstdin
        WITH kept AS (
                 SELECT hash::bigint AS hash, count(*) AS times FROM {_call_as_owner(table)} AS each(hash) GROUP BY hash
             ),
             now AS (SELECT hash, count(*) AS times FROM pg_temp.theirs GROUP BY hash)
        SELECT coalesce(sum(greatest(coalesce(kept.times, 0) - coalesce(now.times, 0), 0)), 0),
               coalesce(sum(greatest(coalesce(now.times, 0) - coalesce(kept.times, 0), 0)), 0)
          FROM kept FULL JOIN now USING (hash);
        {END}"""
    variables: Mapping[str, str] = copy.environment | {
        "PGDATABASE": database, "LEASH": toolbox.lifetime_fifo,
        "OTHER_HOST": live.host, "OTHER_PORT": str(live.port), "OTHER_USER": live.user, "OTHER_PASSFILE": live.passfile,
        **{name.replace("PG", "OTHER_", 1): value for name, value in (UNDEMANDING | dict(live.verification)).items()},
        "THERE": toolbox.put("there.sql", there), "HERE": toolbox.put("here.sql", here),
    }  # fmt: skip
    script = shell.get("leash", "verify_rows")
    said = require_success(
        f"counting rows of {table} in database {database}",
        toolbox.run(copy.major, "sh", "-ec", script, environment=variables, timeout_s=LONG_S),
    )
    lost, new = said.split()[-1].split("|")
    return DifferingRows(int(lost), int(new))

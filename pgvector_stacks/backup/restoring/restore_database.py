"""Runs pg_restore for one database and counts the result; a drill, a restore and an upgrade use it.

Vector indexes are built last, one after the other, because each build uses the whole maintenance_work_mem.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import nullcontext

from pgvector_stacks.backup.contents import Contents, VectorIndex, contents_query
from pgvector_stacks.backup.restoring import owner_login, references, restore_order
from pgvector_stacks.common import shell
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.toolbox.interface import HOUR_S, ServerConnection, Toolbox, execute_sql, require_success

LONG_S = 48 * HOUR_S
LINES = 12  # the most lines of pg_restore's output that a message quotes
LISTED = re.compile(r"^\d+; (?P<table>\d+) (?P<oid>\d+) (?P<rest>.*)$")


def split_listing(listing: str, vector_indexes: Sequence[VectorIndex]) -> tuple[list[str], list[str]]:
    """Split pg_restore's list: first all but the vector indexes, then these with their comments and attachments."""
    oids = {str(index.oid) for index in vector_indexes}
    attached = {f"{kind} {index.schema_name} {index.name} " for index in vector_indexes for kind in ("INDEX ATTACH",)}
    commented = {f"COMMENT {index.schema_name} INDEX {index.name} " for index in vector_indexes}
    first: list[str] = []
    second: list[str] = []
    for line in listing.split("\n"):  # only pg_restore's own line ends: names may contain others (U+2028)
        found = LISTED.match(line)
        if found is None:
            continue
        rest = found["rest"]
        mine = (rest.startswith("INDEX ") and found["oid"] in oids) or any(
            rest.startswith(word) for word in attached | commented
        )
        (second if mine else first).append(line)
    return first, second


def restore_dump(
    toolbox: Toolbox, server: ServerConnection, dump: str, database: str, indexes: Sequence[VectorIndex], *, jobs: int,
    vector_indexes: bool, login: ServerConnection, create: bool = False, opening: str = "",
    by_superuser: bool = False,
) -> None:  # fmt: skip
    """Restore the dump in the folder `dump` (as the toolbox sees it). Raises ServerError with what pg_restore said.

    `create`: create the database, or replace an existing one; `database` must then be its name in the dump.
    `login`: the same server as the existing role `owner_login.ROLE`. It creates and loads all objects that no superuser
    owns, with their owners' rights. `opening`: SQL that runs in the database before anything is created in it.
    `by_superuser`: the superuser creates the whole schema, whoever owns it. The rows are still loaded by `login`.
    """
    making = "--clean --if-exists --create" if create else ""
    listed, second = split_listing(_list_entries(toolbox, server.major, dump, create=create), indexes)
    itself, first = restore_order.split_database(listed)
    beside = "postgres" if database == "template1" else "template1"

    def run(to: ServerConnection, name: str, lines: Sequence[str], options: str, at: str = database) -> None:
        if lines:
            entries = toolbox.put(name, "\n".join(lines) + "\n")
            _run_pg_restore(toolbox, to, {"LIST": entries, "DUMP": dump, "OPTIONS": options, "TARGET": conninfo(at)})

    run(server, "database.list", itself, f"{making} --section=pre-data", beside if create else database)
    if opening:
        execute_sql(toolbox, server, database, opening)
    powerless = owner_login.list_ordinary_roles(toolbox, server, database)
    makers = set() if by_superuser else powerless
    made, vectors = restore_order.plan_restore(first, makers), restore_order.plan_restore(second, makers)
    owners = made.owners | vectors.owners

    def make(
        groups: Sequence[restore_order.EntryGroup], name: str, options: str, keys: Collection[tuple[str, str]] = ()
    ) -> None:
        with owner_login.granting_owners(toolbox, server, database, owners if groups else (), keys):
            for number, group in enumerate(groups):
                creators = owners if group.as_owner else ()
                with owner_login.granting_create(toolbox, server, database, creators) if creators else nullcontext():
                    run(login if group.as_owner else server, f"{name}-{number}.list", group.lines, options)

    run(server, "schemas.list", made.spaces, "--section=pre-data")
    with owner_login.holding_schemas(toolbox, server, database):
        make(made.schema, "before", "--section=pre-data")
        shares = owner_login.group_by_owner(first, owner_login.find_owners(toolbox, server, database), powerless)
        for number, (owner, lines) in enumerate(shares.items()):
            if owner:
                with owner_login.granting_owner(toolbox, server, database, owner):
                    run(login, f"rows-{number}.list", lines, f"--section=data -j {jobs}")
        run(server, "rows.list", shares.get("", []), f"--section=data -j {jobs}")
        referenced = _find_referenced_tables(toolbox, server.major, dump, first)
        make(made.schema, "after", f"--section=post-data -j {jobs}", referenced)
        if vector_indexes:
            make(vectors.schema, "vector-indexes", "--section=post-data")
    run(server, "annotations.list", made.annotations + (vectors.annotations if vector_indexes else []), "")
    make(made.last, "last", "--section=post-data")


def _run_pg_restore(toolbox: Toolbox, to: ServerConnection, variables: dict[str, str]) -> None:
    """Run `shell/restore.sh`, which says what the variables are. Raises ServerError with what pg_restore said."""
    environment = to.environment | variables | {"LEASH": toolbox.lifetime_fifo}
    done = toolbox.run(to.major, "sh", "-ec", shell.get("leash", "restore"), environment=environment, timeout_s=LONG_S)
    if done.code != 0:
        raise ServerError(f"pg_restore failed\n{extract_error(done.output)}")


def _list_entries(toolbox: Toolbox, major: int, dump: str, *, create: bool) -> str:
    """Return pg_restore's list of the dump's entries. Raises ServerError."""
    script = f'exec pg_restore -l {"--create" if create else ""} "$DUMP"'
    return require_success(
        "reading the dump's table of contents",
        toolbox.run(major, "sh", "-ec", script, environment={"DUMP": dump}),
    )


def _find_referenced_tables(toolbox: Toolbox, major: int, dump: str, lines: Sequence[str]) -> set[tuple[str, str]]:
    """Return (schema, table) of all tables that the dump's foreign keys refer to. Raises ServerError."""
    keys = [line for line in lines if " FK CONSTRAINT " in line]
    if not keys:
        return set()
    variables = {"LIST": toolbox.put("keys.list", "\n".join(keys) + "\n"), "DUMP": dump}
    text = toolbox.run(major, "sh", "-ec", 'exec pg_restore -L "$LIST" -f - "$DUMP"', environment=variables)
    return references.find_referenced_tables(require_success("reading the dump's foreign keys", text))


def extract_error(output: str) -> str:
    """Return pg_restore's output about the first failed statement, indented and cut to LINES lines. Pure.

    >>> lines = ["pg_restore: from TOC entry 3; 1259 9 TABLE t o", "pg_restore: error: x", "Command was: CREATE"]
    >>> print(extract_error("\\n".join(lines)))
        pg_restore: from TOC entry 3; 1259 9 TABLE t o
        pg_restore: error: x
        Command was: CREATE
    """
    lines = output.strip().splitlines()
    at = next((number for number, line in enumerate(lines) if ": error: " in line), len(lines))
    first = max(0, at - 1) if at < len(lines) else max(0, at - LINES)
    return "\n".join(f"    {line}" for line in lines[first : first + LINES])


def conninfo(database: str) -> str:
    """Return a connection string for a database. libpq would parse a bare name with `=` in it as a connection string.

    >>> conninfo("it's")
    "dbname='it\\\\'s'"
    """
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def query_contents(toolbox: Toolbox, server: ServerConnection, database: str) -> Contents:
    """Query the present contents of the database. Raises ServerError."""
    said = execute_sql(toolbox, server, database, contents_query(), timeout_s=LONG_S)
    return Contents.model_validate_json(said)

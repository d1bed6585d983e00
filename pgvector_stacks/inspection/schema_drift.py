"""Finds how the live schema differs from the one that the scripts created, and describes it as text.

Invariant: a change is drift exactly if it changes the output of `pg_dump --schema-only`, including rights. Two
exceptions are intended: partitions added at run time aren't drift (see `Difference.grown`), and foreign keys whose
triggers are disabled are.

Each transaction that runs scripts records their schema in `pgstack.object`. A difference that existed before a script
ran, and that the script did not touch, remains a difference: running a script accepts no drift.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, LiteralString

from psycopg import Connection, errors

from pgvector_stacks.common import definitions, queries
from pgvector_stacks.common.difference import ORDER, PARENTS, Difference
from pgvector_stacks.migrations.execution import index_leftovers
from pgvector_stacks.migrations.execution.ledger_writer import Write

# The catalog's functions qualify each name that the search_path doesn't find, and format constants by the session's
# settings.
FORMS = (
    # not '': temporary tables would be found first, and a script may name them like the catalog's tables
    "search_path = pg_catalog, pg_temp", "datestyle = 'ISO, MDY'", "intervalstyle = postgres", "bytea_output = hex",
    "extra_float_digits = 1", "quote_all_identifiers = off", "standard_conforming_strings = on",
)  # fmt: skip
# since format 2 also these: they decide how values with a time zone or currency are written in defaults and bounds
VALUES = ("timezone = 'UTC'", "lc_monetary = 'C'")
# The planner takes the temporary results of the inventory for one row each, and would go through all comments for each
# table. Without nested loops it hashes them; PostgreSQL 15 to 17 give a loop that stays a cost that starts the JIT.
PLANS = ("enable_nestloop = off", "jit = off")
FORMER = ("timezone = DEFAULT",)  # format 1: the time zone of the server, database or role
NOT_KNOWN = ("not known: another transaction holds a lock on the catalog's objects",)
ATTEMPTS = 10
FORMAT = 3  # of the definitions in pgstack.object, which has a row with it; older ledgers lack the row: format 1
FORMAT_ROW = "SELECT 'format', 'record', '3'"
# (what format 3 writes, what format 2 wrote): format 2 did not always say to which object a comment belongs
SINCE_2: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("concat_ws(E'\\n  ',", "concat_ws(E'\\n',"),
    ("'of not null: ' || replace(named.lines, E'\\n', E'\\n  ')", "named.lines"),
    ("replace(subtwophasestate, 'e', 'p')", "subtwophasestate"),
)


def describe_differences(differences: Sequence[Difference]) -> tuple[str, ...]:
    """Return one line per difference, sorted. Parts of a table that was added or dropped get no line of their own."""
    whole = {(d.kind in PARENTS, d.identity) for d in differences if None in (d.recorded, d.live)}
    indexes = {d.identity for d in differences if d.kind == "index"}
    lines = []
    for difference in differences:
        belongs_to_whole = (True, difference.relation) in whole or (False, difference.owner_column) in whole
        if not belongs_to_whole and not (difference.kind == "constraint" and difference.identity in indexes):
            lines.append(str(difference))
    return tuple(sorted(lines))


def explain_refusal(stack: str, differences: Sequence[str]) -> str:
    """Return the error for an environment that refuses drift, with the remedy. `differences`: as text."""
    return (
        f"the schema of {stack} was changed by other hands than its scripts:\n  "
        + "\n  ".join(differences)
        + f"\n  repair it, or accept it by name:  pgstack accept {stack} KIND IDENTITY"
    )


def carry_over(
    before: Sequence[Difference], after: Sequence[Difference], names: Mapping[int, str] = MappingProxyType({})
) -> tuple[Difference, ...]:
    """Return the differences that remain after scripts ran: those from before whose live side they did not touch.

    `after`: the same recorded rows compared with the new schema. Partitions that were added since are still no
    difference, whatever the scripts did to the parent. `names`: the relations' current names by OID. If a relation was
    renamed, its differences have the new name. If the scripts dropped a relation, its differences end, also if they
    created it again.
    """
    before = [each for each in before if each.oid is None or each.oid in names]
    still = {(d.kind, d.identity): d for d in after}
    moved = [difference.renamed(names) for difference in before]
    kept = []
    for was, called in zip(before, moved, strict=True):
        gone = was.live is None and (was.kind, was.identity) in still
        if gone and called.identity != was.identity and (called.kind, called.identity) not in still:
            kept.append(called)
            continue
        difference = called if (called.kind, called.identity) in still else was
        now = still.get((difference.kind, difference.identity))
        if now is not None and (rest := _rest(difference, now)) is not None:
            kept.append(rest)
    partitions = {d.identity for d in kept if d.grown and d.kind == "table"}
    known = {(d.kind, d.identity) for d in kept}
    more = [d for d in after if d.grown and d.relation in partitions and (d.kind, d.identity) not in known]
    return (*kept, *more)


def _rest(before: Difference, now: Difference) -> Difference | None:
    """Return what scripts left of a difference: all of it, the lines that they didn't touch, or None. Pure."""
    if now.live == before.live or (now.grown and before.grown):
        return before
    if before.live is None or now.live is None:
        return None
    unwritten = before.version is not None and before.version == now.version
    if before.recorded is None:
        return replace(before, live=now.live) if unwritten or before.differs_in_what_is_given(now) else None
    wanted = definitions.restore_unchanged(before.recorded, before.live, now.live, unwritten=unwritten)
    return None if wanted == now.live else replace(before, recorded=wanted, live=now.live)


def build_inventory_query(written: int = FORMAT, *, digests: bool = True) -> LiteralString:
    """Return the query for the live schema: kind, identity, definition, follows.

    `written`: the format of the definitions. `digests`: long texts appear only as hashes.
    """
    if written == 1:
        return "SELECT *, false AS follows FROM (" + queries.get("inventory_1") + ") AS old"
    query = "(" + queries.get("inventory") + ") UNION ALL (" + queries.get("inventory_more") + ")"
    for today, before in SINCE_2 if written == 2 else ():
        query = query.replace(today, before)
    return query if digests else query.replace("md5(", "to_json(")


def build_comparison_query(written: int = FORMAT) -> LiteralString:
    """Return the query that `compare` uses: kind, identity, recorded, live, grown; one row per difference.

    `written`: the format of the recorded definitions.
    """
    return (
        "WITH live AS MATERIALIZED (" + build_inventory_query(written) + ")\n"
        "SELECT coalesce(o.kind, l.kind) AS kind, coalesce(o.identity, l.identity) AS identity,\n"
        "       o.definition AS recorded, l.definition AS live,\n"
        "       o.identity IS NULL AND l.follows AS grown\n"
        "  FROM (" + queries.get("recorded") + ") o FULL JOIN live l USING (kind, identity)\n"
        " WHERE o.definition IS DISTINCT FROM l.definition ORDER BY 1, 2"
    )


def read_format(connection: Connection[Any]) -> int | None:
    """Return the format of the recorded definitions; None if nothing is recorded."""
    there = connection.execute("SELECT to_regclass('pgstack.object') IS NOT NULL").fetchone()
    if not there or not there[0]:
        return None
    row = connection.execute(queries.get("recorded_format")).fetchone()
    return int(row[0]) if row and row[0] is not None else None


def compare(connection: Connection[Any], recording: str = "") -> tuple[Difference, ...]:
    """Compare the live schema with the recorded one, including grown partitions. Empty if nothing is recorded yet.

    `recording`: the no-transaction script whose objects are to be recorded now: what its statements name counts, too.
    """
    recorded = read_format(connection)
    if recorded is None:
        return ()
    found = _compare_once(connection, recorded, recording)
    if found:
        again = set(_compare_once(connection, recorded, recording))
        found = [difference for difference in found if difference in again]
    found = exclude_textual_differences(found)
    if not found:
        return ()
    places = [each.place or each.schema or "" for each in found]
    oids = _oids(connection, places)
    placed = [replace(each, oid=oids.get(place)) for each, place in zip(found, places, strict=True)]
    return _with_versions(connection, placed)


def _with_versions(connection: Connection[Any], found: Sequence[Difference]) -> tuple[Difference, ...]:
    """Add to each difference the version of the catalog row that holds its expression."""
    asked = {
        "kinds": ["" if each.grown else each.kind for each in found],
        "relations": [each.oid if each.place else None for each in found],
        "names": [each.identity.removeprefix(f"{each.place}.") if each.place else each.identity for each in found],
    }
    with connection.transaction(force_rollback=True):
        qualify_names(connection)
        versions = dict(connection.execute(queries.get("row_versions"), asked).fetchall())
        added = {"kinds": ["" if d.recorded else d.kind for d in found], "identities": [d.identity for d in found]}
        oids = dict(connection.execute(queries.get("added_oids"), added).fetchall())
    return tuple(
        replace(each, version=versions.get(number), own_oid=oids.get(number))
        for number, each in enumerate(found, start=1)
    )


def _oids(connection: Connection[Any], names: Sequence[str]) -> dict[str, int]:
    """Return the OIDs by name of the relations and schemas that exist. Those of schemas are negative."""
    # not to_regclass: it fails for a schema that was created by hand and that the scripts' role may not use
    query = (
        "SELECT name, c.oid::int8 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,"
        " pg_catalog.format('%%I.%%I', n.nspname, c.relname) AS name WHERE name = ANY (%(names)s) UNION ALL"
        " SELECT name, -n.oid::int8 FROM pg_catalog.pg_namespace n, pg_catalog.quote_ident(n.nspname) AS name"
        " WHERE name = ANY (%(names)s)"
    )
    return dict(connection.execute(query, {"names": list(names)}).fetchall())


def _names(connection: Connection[Any], before: Sequence[Difference]) -> dict[int, str]:
    """Return the current names of the relations and schemas of `before`, qualified, by OID as in `_oids`."""
    oids = sorted({each.oid for each in before if each.oid is not None})
    if not oids:
        return {}
    query = (
        "SELECT c.oid::int8, c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c"
        " WHERE c.oid::int8 = ANY (%(oids)s::int8[]) UNION ALL SELECT -n.oid::int8, pg_catalog.quote_ident(n.nspname)"
        " FROM pg_catalog.pg_namespace n WHERE -n.oid::int8 = ANY (%(oids)s::int8[])"
    )
    with connection.transaction(force_rollback=True):
        qualify_names(connection)
        return dict(connection.execute(query, {"oids": oids}).fetchall())


def _compare_once(connection: Connection[Any], recorded: int, recording: str) -> list[Difference]:
    """Compare once. An object that another session drops meanwhile makes the catalog's functions fail or write `???`.
    A second comparison no longer contains it.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            # rolled back: otherwise this search_path would remain set for the scripts in an open transaction
            with connection.transaction(force_rollback=True):
                qualify_names(connection, recorded)
                found = tuple(
                    Difference(*row) for row in connection.execute(build_comparison_query(recorded)).fetchall()
                )
                return list(index_leftovers.exclude_own_leftovers(connection, found, recording))
        except errors.InternalError_:  # "could not open relation with OID …", "cache lookup failed for …"
            if attempt == ATTEMPTS:
                raise
    return []


def exclude_textual_differences(found: Iterable[Difference]) -> list[Difference]:
    """Return the differences without those that exist only in the record's text, not in the schema. Pure."""
    return [each for each in found if not _same_order(each) and not each.follows_from_query]


def _same_order(difference: Difference) -> bool:
    """Return True if a difference is only one of order.

    For an order of columns: it differs only by added and dropped columns, which have differences of their own. For a
    definition: it has the same lines, in another order because a part of an older definition was kept.
    """
    if difference.recorded is None or difference.live is None:
        return False
    if difference.kind != ORDER:
        return definitions.has_same_lines(difference.recorded, difference.live)
    was, now = (json.loads(text.removeprefix("names: ")) for text in (difference.recorded, difference.live))
    return [name for name in was if name in now] == [name for name in now if name in was]


def find_drift(connection: Connection[Any]) -> tuple[Difference, ...]:
    """Return the drift: what `compare` finds, without grown partitions."""
    return tuple(difference for difference in compare(connection) if not difference.grown)


def find_drift_unless_locked(connection: Connection[Any]) -> tuple[Difference, ...] | None:
    """Return the drift; None if another session is changing a table.

    The connection's `INSPECTION_OPTIONS` limit the wait: not knowing is better than waiting.
    """
    try:
        return find_drift(connection)
    except errors.LockNotAvailable:
        return None


def describe_drift(connection: Connection[Any]) -> tuple[str, ...]:
    """Return the drift as text; NOT_KNOWN if another session is changing a table."""
    found = find_drift_unless_locked(connection)
    return NOT_KNOWN if found is None else describe_differences(found)


def record(connection: Connection[Any], before: Sequence[Difference]) -> list[Write]:
    """Return the writes that record the live schema, except what differed `before` and is unchanged since then.

    `connection`: in the transaction that will do the writes; this function changes its settings. `before`: the result
    of `compare` before the scripts ran.
    """
    connection.execute("SET LOCAL statement_timeout = 0")  # the environment's timeout is for scripts
    kept = carry_over(before, compare(connection), _names(connection, before)) if before else ()
    qualify_names(connection)
    return [
        ("DELETE FROM pgstack.object", None),
        ("INSERT INTO pgstack.object (kind, identity, definition)\n" + _recorded(), None),
        *_put([(difference.kind, difference.identity, difference.recorded) for difference in kept]),
    ]


def _recorded() -> LiteralString:
    """Return the query for all rows to record: the inventory and its format."""
    return "SELECT kind, identity, definition FROM (" + build_inventory_query() + ") AS i UNION ALL " + FORMAT_ROW


def record_changes(connection: Connection[Any], before: Sequence[Difference], script: str) -> list[Write]:
    """Return the writes that record what changed since `before`, after one step of the no-transaction script `script`.

    `connection`: as for `record`.
    """
    connection.execute("SET LOCAL statement_timeout = 0")  # the environment's timeout is for scripts
    if read_format(connection) is None:
        return record(connection, before)
    names = _names(connection, before)
    moved = [each.renamed(names) for each in before]
    known = {(d.kind, d.identity): d for d in moved if d.oid is None or d.oid in names}
    found = compare(connection, script)
    rows: dict[tuple[str, str], str | None] = {}
    for was, called in zip(before, moved, strict=True):
        if was.oid is None or was not in found:
            continue
        if was.oid not in names:  # its table is dropped, and is the script's if it was created again
            rows[was.kind, was.identity] = was.live
        elif was.live is None and called.identity != was.identity:  # it was dropped before, now its table is renamed
            rows |= {(was.kind, was.identity): None, (called.kind, called.identity): called.recorded}
    for made in (difference for difference in found if difference not in before):
        key = (made.kind, made.identity)
        rest = _rest(known[key], made) if key in known else None
        rows[key] = made.live if rest is None else rest.recorded
    return _put([(kind, identity, definition) for (kind, identity), definition in rows.items()])


def build_renewal_query() -> LiteralString:
    """Return the SQL that records the live schema again, except drifted objects.

    These are the rows (kind, identity) of the temporary table `drifted`, and the parts of an unrecorded table in it.
    Needed on another server version, after a restore, and for a new format: each writes definitions differently.
    """
    return queries.get("record_renew").replace("/* inventory */", _recorded())


def renew(connection: Connection[Any], drifted: Iterable[tuple[str, str]]) -> None:
    """Execute `build_renewal_query` in its own transaction. `drifted`: the objects that had drifted before."""
    pairs = list(drifted)
    with connection.transaction():
        qualify_names(connection)
        connection.execute("CREATE TEMPORARY TABLE drifted (kind text, identity text)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO pg_temp.drifted VALUES (%s, %s)", pairs)
        connection.execute(build_renewal_query())
        connection.execute("DROP TABLE pg_temp.drifted")


def modernise(connection: Connection[Any]) -> None:
    """Rewrite an older record in today's format. What has not drifted by that format's own query is correct."""
    if read_format(connection) not in (None, FORMAT):
        renew(connection, [(difference.kind, difference.identity) for difference in compare(connection)])


def renew_restored(connection: Connection[Any], drifted: Iterable[tuple[str, str]] | None) -> None:
    """After a restore, which may write expressions differently, record again what had not drifted in the backup.

    `drifted`: what had drifted; None: the backup doesn't say. Then a difference only in expressions is not drift.
    """
    if read_format(connection) is None:
        return
    known = None if drifted is None else set(drifted)
    stays = []
    for difference in compare(connection):
        key = (difference.kind, difference.identity)
        if difference.grown or (key in known if known is not None else not difference.may_be_rewritten):
            stays.append(key)
    renew(connection, stays)


def list_format_settings(written: int = FORMAT) -> tuple[str, ...]:
    """Return the settings that decide how definitions are written, for the format `written`."""
    return (*FORMS, *(FORMER if written == 1 else VALUES))


def qualify_names(connection: Connection[Any], written: int = FORMAT) -> None:
    """Write names with schemas and constants in one form until the transaction ends, whatever the database has set.

    How the catalog is read is set, too.
    """
    connection.execute(";".join(f"SET LOCAL {one}" for one in (*list_format_settings(written), *PLANS)).encode())


def _put(rows: Sequence[tuple[str, str, str | None]]) -> list[Write]:
    """Return the writes that record (kind, identity, definition). Definition None: the object should not exist."""
    if not rows:
        return []
    kinds, identities, texts = (list(column) for column in zip(*rows, strict=True))
    return [(queries.get("record_put"), {"kinds": kinds, "identities": identities, "definitions": texts})]


def accept(connection: Connection[Any], kind: str, identity: str) -> tuple[Difference, ...]:
    """Record the live definition of a drifted object and its parts. Return what was accepted; empty if nothing was."""
    differences = find_drift(connection)
    named = [d for d in differences if (d.kind, d.identity) == (kind, identity)]
    # a table itself may not have drifted, but its parts have: `accept … table` accepts these
    named = named or [d for d in differences if kind in PARENTS and d.relation == identity]
    taken = [d for d in differences if d in named or any(d.belongs_to(each) for each in named)]
    taken += [d for d in differences if d not in taken and any(d.belongs_to(each) for each in taken)]
    for statement, values in _put([(difference.kind, difference.identity, difference.live) for difference in taken]):
        connection.execute(statement.encode(), values)
    return tuple(taken)

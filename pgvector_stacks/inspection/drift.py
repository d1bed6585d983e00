"""What differs between the schema the scripts left and the schema that is there, in words.

Invariant: what changes the output of `pg_dump --schema-only`, rights included, is drift, and nothing else is. Looser by
design: partitions that come at run time (see `Difference.grown`); stricter: foreign keys whose triggers are disabled.

The scripts' schema is recorded in `pgstack.object` in the transaction that makes it. A difference that was there
before a script ran and that the script did not touch stays a difference: applying a script accepts nothing.
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

# catalog functions write a name with its schema where the path doesn't lead there, and constants as the session has it
FORMS = (
    # not '': temporary tables, which a script may name as the catalog's, would come first
    "search_path = pg_catalog, pg_temp", "datestyle = 'ISO, MDY'", "intervalstyle = postgres", "bytea_output = hex",
    "extra_float_digits = 1", "quote_all_identifiers = off", "standard_conforming_strings = on",
)  # fmt: skip
# as well, since format 2: values with a time zone or a currency, in defaults, bounds and expressions
VALUES = ("timezone = 'UTC'", "lc_monetary = 'C'")
FORMER = ("timezone = DEFAULT",)  # format 1: as the server, the database or the role had it
NOT_KNOWN = ("not known: another transaction holds a lock on the catalog's objects",)
LOOKS = 10
FORMAT = 3  # of the definitions in pgstack.object: its row of this kind; ledgers from before have none and are 1
FORMAT_ROW = "SELECT 'format', 'record', '3'"
# what format 3 writes, and what format 2 wrote: whose a comment was, was not always said
SINCE_2: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("concat_ws(E'\\n  ',", "concat_ws(E'\\n',"),
    ("'of not null: ' || replace(named.lines, E'\\n', E'\\n  ')", "named.lines"),
    ("replace(subtwophasestate, 'e', 'p')", "subtwophasestate"),
)


def in_words(differences: Sequence[Difference]) -> tuple[str, ...]:
    """One line a difference, sorted; what belongs to a table that was added or dropped as a whole goes without."""
    whole = {(d.kind in PARENTS, d.identity) for d in differences if None in (d.recorded, d.live)}
    indexes = {d.identity for d in differences if d.kind == "index"}
    lines = []
    for difference in differences:
        belongs_to_whole = (True, difference.relation) in whole or (False, difference.owner_column) in whole
        if not belongs_to_whole and not (difference.kind == "constraint" and difference.identity in indexes):
            lines.append(str(difference))
    return tuple(sorted(lines))


def message(stack: str, differences: Sequence[str]) -> str:
    """Why an environment that refuses drift goes no further, and the way out. `differences`: in words."""
    return (
        f"the schema of {stack} was changed by other hands than its scripts:\n  "
        + "\n  ".join(differences)
        + f"\n  repair it, or accept it by name:  pgstack accept {stack} KIND IDENTITY"
    )


def carried_over(
    before: Sequence[Difference], after: Sequence[Difference], names: Mapping[int, str] = MappingProxyType({})
) -> tuple[Difference, ...]:
    """Which differences remain once scripts ran: those from before whose live side the scripts did not touch.

    `after` compares the same recorded rows with the schema the scripts made. What has grown stays so, whatever scripts
    made of its parent. `names`: of the relations by OID, now: a new name takes what differs along, and with a relation
    that scripts dropped ends what was dropped of it.
    """
    before = [each for each in before if each.live is not None or each.oid is None or each.oid in names]
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
    """What scripts left of a difference: all of it, the lines that they didn't touch, or nothing. Pure."""
    if now.live == before.live or (now.grown and before.grown):
        return before
    if before.live is None or now.live is None:
        return None
    unwritten = before.version is not None and before.version == now.version
    if before.recorded is None:
        return replace(before, live=now.live) if unwritten else None
    wanted = definitions.restore_unchanged(before.recorded, before.live, now.live, unwritten=unwritten)
    return None if wanted == now.live else replace(before, recorded=wanted, live=now.live)


def inventory(written: int = FORMAT, *, digests: bool = True) -> LiteralString:
    """The live schema: kind, identity, definition, follows. `digests`: of long texts the hash alone.

    `written`: the format of its definitions.
    """
    if written == 1:
        return "SELECT *, false AS follows FROM (" + queries.get("inventory_1") + ") AS old"
    query = "(" + queries.get("inventory") + ") UNION ALL (" + queries.get("inventory_more") + ")"
    for today, before in SINCE_2 if written == 2 else ():
        query = query.replace(today, before)
    return query if digests else query.replace("md5(", "to_json(")


def comparison(written: int = FORMAT) -> LiteralString:
    """The query behind `compare`: kind, identity, recorded, live, grown; one row a difference.

    `written`: the format of what is recorded.
    """
    return (
        "WITH live AS MATERIALIZED (" + inventory(written) + ")\n"
        "SELECT coalesce(o.kind, l.kind) AS kind, coalesce(o.identity, l.identity) AS identity,\n"
        "       o.definition AS recorded, l.definition AS live,\n"
        "       o.identity IS NULL AND l.follows AS grown\n"
        "  FROM (SELECT * FROM pgstack.object WHERE kind <> 'format') o FULL JOIN live l USING (kind, identity)\n"
        " WHERE o.definition IS DISTINCT FROM l.definition ORDER BY 1, 2"
    )


def written(connection: Connection[Any]) -> int | None:
    """The format of what is recorded; None where nothing is."""
    there = connection.execute("SELECT to_regclass('pgstack.object') IS NOT NULL").fetchone()
    if not there or not there[0]:
        return None
    row = connection.execute(queries.get("recorded_format")).fetchone()
    return int(row[0]) if row and row[0] is not None else None


def compare(connection: Connection[Any], recording: str = "") -> tuple[Difference, ...]:
    """Compare the live schema with the recorded one, what has grown included. Empty where nothing is recorded yet.

    `recording`: the no-transaction script whose objects are to be recorded now; what its statements name counts, too.
    """
    recorded = written(connection)
    if recorded is None:
        return ()
    found = _looked(connection, recorded, recording)
    if found:
        again = set(_looked(connection, recorded, recording))
        found = [difference for difference in found if difference in again]
    found = seen_by_pg_dump(found)
    if not found:
        return ()
    places = [each.place or each.schema or "" for each in found]
    oids = _oids(connection, places)
    placed = [replace(each, oid=oids.get(place)) for each, place in zip(found, places, strict=True)]
    return _with_versions(connection, placed)


def _with_versions(connection: Connection[Any], found: Sequence[Difference]) -> tuple[Difference, ...]:
    """With the version of what holds an expression."""
    asked = {
        "kinds": ["" if each.grown else each.kind for each in found],
        "relations": [each.oid if each.place else None for each in found],
        "names": [each.identity.removeprefix(f"{each.place}.") if each.place else each.identity for each in found],
    }
    with connection.transaction(force_rollback=True):
        qualify_names(connection)
        versions = dict(connection.execute(queries.get("row_versions"), asked).fetchall())
    return tuple(replace(each, version=versions.get(number)) for number, each in enumerate(found, start=1))


def _oids(connection: Connection[Any], names: Sequence[str]) -> dict[str, int]:
    """Of the relations with these names, and negative of the schemas, those that are there."""
    # not to_regclass, which fails in a schema that a hand made and that the scripts' role may not use
    query = (
        "SELECT name, c.oid::int8 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,"
        " pg_catalog.format('%%I.%%I', n.nspname, c.relname) AS name WHERE name = ANY (%(names)s) UNION ALL"
        " SELECT name, -n.oid::int8 FROM pg_catalog.pg_namespace n, pg_catalog.quote_ident(n.nspname) AS name"
        " WHERE name = ANY (%(names)s)"
    )
    return dict(connection.execute(query, {"names": list(names)}).fetchall())


def _names(connection: Connection[Any], before: Sequence[Difference]) -> dict[int, str]:
    """How the relations and schemas of `before` are called now, by OID as in `_oids`. Names have their schemas then."""
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


def _looked(connection: Connection[Any], recorded: int, recording: str) -> list[Difference]:
    """One look. What others drop meanwhile makes the catalog's functions fail, or write `???`: that isn't there in a
    second look."""
    for attempt in range(1, LOOKS + 1):
        try:
            # in an open transaction the path would stay empty for scripts
            with connection.transaction(force_rollback=True):
                qualify_names(connection, recorded)
                found = tuple(Difference(*row) for row in connection.execute(comparison(recorded)).fetchall())
                return list(index_leftovers.without_own(connection, found, recording))
        except errors.InternalError_:  # "could not open relation with OID …", "cache lookup failed for …"
            if attempt == LOOKS:
                raise
    return []


def seen_by_pg_dump(found: Iterable[Difference]) -> list[Difference]:
    """Without those in what is written down that are none of the schema. Pure."""
    return [each for each in found if not _same_order(each) and not each.follows_from_query]


def _same_order(difference: Difference) -> bool:
    """True for columns whose order differs by added and dropped ones alone: these are told by themselves. And for
    definitions with the same lines: where a part of one was kept, a word may stand elsewhere.
    """
    if difference.recorded is None or difference.live is None:
        return False
    if difference.kind != ORDER:
        return definitions.has_same_lines(difference.recorded, difference.live)
    was, now = (json.loads(text.removeprefix("names: ")) for text in (difference.recorded, difference.live))
    return [name for name in was if name in now] == [name for name in now if name in was]


def find(connection: Connection[Any]) -> tuple[Difference, ...]:
    """The drift."""
    return tuple(difference for difference in compare(connection) if not difference.grown)


def seen(connection: Connection[Any]) -> tuple[Difference, ...] | None:
    """`find`; None where someone is just changing a table: better not to know than to wait (`connection.LOOK`)."""
    try:
        return find(connection)
    except errors.LockNotAvailable:
        return None


def look(connection: Connection[Any]) -> tuple[str, ...]:
    """`seen` in words."""
    found = seen(connection)
    return NOT_KNOWN if found is None else in_words(found)


def record(connection: Connection[Any], before: Sequence[Difference]) -> list[Write]:
    """What records the live schema, except for what was already different `before` and still is as it was then.

    `connection`: in the transaction in which it will be written, whose settings are made for it. `before`: as `compare`
    found it.
    """
    connection.execute("SET LOCAL statement_timeout = 0")  # the environment's is for scripts
    kept = carried_over(before, compare(connection), _names(connection, before)) if before else ()
    qualify_names(connection)
    return [
        ("DELETE FROM pgstack.object", None),
        ("INSERT INTO pgstack.object (kind, identity, definition)\n" + _recorded(), None),
        *_put([(difference.kind, difference.identity, difference.recorded) for difference in kept]),
    ]


def _recorded() -> LiteralString:
    """What is written down: the inventory and its format."""
    return "SELECT kind, identity, definition FROM (" + inventory() + ") AS i UNION ALL " + FORMAT_ROW


def record_changes(connection: Connection[Any], before: Sequence[Difference], script: str) -> list[Write]:
    """The same for a part of a no-transaction script, in the open transaction: only what changed is written."""
    connection.execute("SET LOCAL statement_timeout = 0")  # the environment's is for scripts
    if written(connection) is None:
        return record(connection, before)
    names = _names(connection, before)
    moved = [each.renamed(names) for each in before]
    known = {(d.kind, d.identity): d for d in moved}
    found = compare(connection, script)
    rows: dict[tuple[str, str], str | None] = {}
    for was, called in zip(before, moved, strict=True):
        if was.live is not None or was.oid is None or was not in found:
            continue
        if was.oid not in names:  # dropped, and now its table too
            rows[was.kind, was.identity] = None
        elif called.identity != was.identity:  # dropped, and its table renamed
            rows |= {(was.kind, was.identity): None, (called.kind, called.identity): called.recorded}
    for made in (difference for difference in found if difference not in before):
        key = (made.kind, made.identity)
        rest = _rest(known[key], made) if key in known else None
        rows[key] = made.live if rest is None else rest.recorded
    return _put([(kind, identity, definition) for (kind, identity), definition in rows.items()])


def renewal() -> LiteralString:
    """Records the live schema again, except for the objects in the temporary table `drifted` (kind, identity) and what
    belongs to a table in it that is not recorded.

    For another server and after a restore, which write the same definitions in other words, and for another format.
    """
    return queries.get("record_renew").replace("/* inventory */", _recorded())


def renew(connection: Connection[Any], drifted: Iterable[tuple[str, str]]) -> None:
    """`renewal`, where `drifted` are the objects that had drifted before. In a transaction of its own."""
    pairs = list(drifted)
    with connection.transaction():
        qualify_names(connection)
        connection.execute("CREATE TEMPORARY TABLE drifted (kind text, identity text)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO pg_temp.drifted VALUES (%s, %s)", pairs)
        connection.execute(renewal())
        connection.execute("DROP TABLE pg_temp.drifted")


def modernise(connection: Connection[Any]) -> None:
    """Bring what an earlier version recorded to today's format. What had not drifted by its own query is right."""
    if written(connection) not in (None, FORMAT):
        renew(connection, [(difference.kind, difference.identity) for difference in compare(connection)])


def renew_restored(connection: Connection[Any], drifted: Iterable[tuple[str, str]] | None) -> None:
    """After a restore, which writes expressions in other words: record again what had not drifted when it was dumped.

    `drifted`: what had; None where the backup doesn't say. Then an object whose expressions alone differ had not.
    """
    if written(connection) is None:
        return
    known = None if drifted is None else set(drifted)
    stays = []
    for difference in compare(connection):
        key = (difference.kind, difference.identity)
        if difference.grown or (key in known if known is not None else not difference.may_be_rewritten):
            stays.append(key)
    renew(connection, stays)


def forms(written: int = FORMAT) -> tuple[str, ...]:
    """The settings that decide how definitions are written; `written`: the format of those they are compared with."""
    return (*FORMS, *(FORMER if written == 1 else VALUES))


def qualify_names(connection: Connection[Any], written: int = FORMAT) -> None:
    """Until the transaction ends: names with their schemas and constants in one form, whatever the database has set."""
    connection.execute(";".join(f"SET LOCAL {form}" for form in forms(written)).encode())


def _put(rows: Sequence[tuple[str, str, str | None]]) -> list[Write]:
    """What records the definitions of (kind, identity); None: as one that should not be there."""
    if not rows:
        return []
    kinds, identities, texts = (list(column) for column in zip(*rows, strict=True))
    return [(queries.get("record_put"), {"kinds": kinds, "identities": identities, "definitions": texts})]


def accept(connection: Connection[Any], kind: str, identity: str) -> tuple[Difference, ...]:
    """Record the live definition of one object that drifted and of what belongs to it; these. Empty where none did."""
    differences = find(connection)
    named = [d for d in differences if (d.kind, d.identity) == (kind, identity)]
    # what a table that is as recorded has of its own: `accept … table` takes these too
    named = named or [d for d in differences if kind in PARENTS and d.relation == identity]
    taken = [d for d in differences if d in named or any(d.belongs_to(each) for each in named)]
    taken += [d for d in differences if d not in taken and any(d.belongs_to(each) for each in taken)]
    for statement, values in _put([(difference.kind, difference.identity, difference.live) for difference in taken]):
        connection.execute(statement.encode(), values)
    return tuple(taken)

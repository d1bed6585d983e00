"""Checks that a database really has what the baseline scripts create, before they are recorded as applied.

The scripts run in a scratch database on the same server. Every object that they create there must be in the live
database with the same definition, compared as drift compares it. Three differences are allowed:

- The schema of an extension: initdb.d put vector into the first schema of `search_path`.
- The order of columns.
- Owner and rights. `schema_owner` gets what the scripts create, as if they had run, so that the next script can change
  these objects and the application can use them.

The scratch database is dropped afterwards, also when the check fails.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from psycopg import Connection, sql

from pgvector_stacks.common import definitions, queries
from pgvector_stacks.common.difference import ORDER, Difference
from pgvector_stacks.common.errors import PlanRefused
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.inspection import role_drift, schema_drift
from pgvector_stacks.migrations.execution import no_transaction, runner
from pgvector_stacks.migrations.execution.script_session import Session
from pgvector_stacks.migrations.scripts.planning import Pending, sort_by_run_order
from pgvector_stacks.migrations.scripts.script_files import Script

PREFIX = "pgstack_scratch_"
# By kind of object, the words for it in ALTER … OWNER TO: kinds whose owner need not be a superuser
OWNED = {
    "schema": "SCHEMA", "table": "TABLE", "view": "VIEW", "materialized view": "MATERIALIZED VIEW",
    "foreign table": "FOREIGN TABLE", "sequence": "SEQUENCE", "function": "FUNCTION", "procedure": "PROCEDURE",
    "aggregate": "FUNCTION", "enum": "TYPE", "domain": "DOMAIN", "type": "TYPE", "operator": "OPERATOR",
    "operator class": "OPERATOR CLASS", "operator family": "OPERATOR FAMILY", "collation": "COLLATION",
    "conversion": "CONVERSION", "statistics": "STATISTICS", "text search dictionary": "TEXT SEARCH DICTIONARY",
    "text search configuration": "TEXT SEARCH CONFIGURATION", "server": "SERVER", "publication": "PUBLICATION",
}  # fmt: skip


def check(
    cluster: Connection[Any],
    address: Address,
    scripts: Sequence[Script],
    pending: Sequence[Pending],
    extensions: tuple[str, ...],
    *,
    lock_wait_s: float = 30.0,
    report: Callable[[str], None] = lambda _: None,
) -> frozenset[tuple[str, str]]:
    """Return the (kind, identity) of all objects that the baseline scripts create; the live database has all of them.

    The scripts listed before them run in the scratch database too, but their objects are not compared. `cluster` holds
    the lock; `address` is the administrator's. Raises PlanRefused, which names what is missing or different.
    """
    for (leftover,) in cluster.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (PREFIX,)
    ).fetchall():  # left by a killed run: we hold the lock, so no other `up` uses it
        cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(leftover)))
    scratch = PREFIX + secrets.token_hex(4)
    name = sql.Identifier(scratch)
    cluster.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(name, sql.Identifier(roles.OWNER)))
    try:
        there = replace(address, database=scratch)
        with connect(there) as admin:
            roles.ensure_database(admin)
            roles.ensure_extensions(admin, ("vector", *extensions))
        with connect(there) as admin, roles.open_owner_connection(cluster, there) as owner:
            wanted = _made_by(owner, admin, scripts, pending)
    finally:
        cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    with connect(address) as admin:
        live = _inventory(admin)
    problems = []
    for (kind, identity), definition in sorted(wanted.items()):
        if (kind, identity) not in live:
            problems.append(f"{kind} {identity} is missing")
        elif deviations := _unlike(kind, definition, live[kind, identity]):
            problems.append(f"{kind} {identity} differs: {'; '.join(deviations)}")
    if problems:
        names = ", ".join(f"sql/{entry.script.name}" for entry in pending)
        raise PlanRefused(
            f"the database is not what pgvector:baseline says ({names}):\n  "
            + "\n  ".join(problems)
            + "\n  make the script say what the database has, or take it off the baseline so that it runs"
        )
    return _give(address, wanted, lock_wait_s, report)


def _unlike(kind: str, wanted: str, live: str) -> list[str]:
    """Return the differences of a live object from what the script creates; owner and rights don't count."""
    if kind in ("extension", ORDER):
        return []
    given = [definitions.remove_words(text, ("owner", "right")) for text in (wanted, live)]
    if given[0] == given[1]:
        return []
    return definitions.describe_changes(*given, before="the script makes") or ["its definition is another"]


def _give(
    address: Address, wanted: Mapping[tuple[str, str], str], lock_wait_s: float, report: Callable[[str], None]
) -> frozenset[tuple[str, str]]:
    """Make `schema_owner` the owner of the `wanted` objects, and grant our roles the rights that the scripts give.

    Return the (kind, identity) of these objects. Each object has a transaction of its own, as in a takeover. An
    interrupted run is repeated.
    """
    with connect(address) as admin:
        admin.execute("SELECT set_config('lock_timeout', %s, false)", (f"{max(1, round(lock_wait_s * 1000))}ms",))
        rows = _rows(admin, digests=False)
        for kind, identity, name, definition in rows:
            owner = definitions.first_value(definition, "owner")
            alter = OWNED.get(kind)
            if (kind, name) in wanted and alter and owner != roles.OWNER and not _goes_with_another(kind, definition):
                named = definitions.identity_in_commands(kind, identity)  # quoted by the server
                admin.execute(f"ALTER {alter} {named} OWNER TO {roles.OWNER}".encode())
                report(f"gives {kind} {identity} to {roles.OWNER}, it was {owner}'s")
        differences = [
            Difference(kind, identity, wanted[kind, name], definition)
            for kind, identity, name, definition in _rows(admin, digests=False)
            if (kind, name) in wanted
        ]
        for line in role_drift.give_back(admin, differences):
            report(line)
    return frozenset((kind, identity) for kind, identity, name, _ in rows if (kind, name) in wanted)


def _goes_with_another(kind: str, definition: str) -> bool:
    """Return True for a column's own sequence, which always has the table's owner."""
    return kind == "sequence" and definitions.first_value(definition, "owned by") is not None


def exclude_pending(
    differences: Sequence[Difference] | None, pending: Sequence[Pending]
) -> tuple[Difference, ...] | None:
    """Return the drift without objects that a pending baseline script names: `up` compares these itself. Pure.

    None means that the drift is not known.
    """
    if differences is None:
        return None
    texts = [entry.script.text for entry in pending if entry.reason == "baseline"]
    return tuple(difference for difference in differences if not any(_names(text, difference) for text in texts))


def _names(text: str, difference: Difference) -> bool:
    """Return True if the script's text has the name of the object, or of its table, as a word."""
    named = difference.relation or difference.identity.split("(")[0].split(" ")[0]
    word = re.escape(named.rpartition(".")[2].strip('"'))
    return re.search(rf"(?<![\w$]){word}(?![\w$])", text, re.IGNORECASE) is not None


def _made_by(
    owner: Connection[Any], admin: Connection[Any], scripts: Sequence[Script], pending: Sequence[Pending]
) -> dict[tuple[str, str], str]:
    chosen = {entry.script.name for entry in pending}
    wanted: dict[tuple[str, str], str] = {}
    session = Session(owner)
    ordered = sort_by_run_order(scripts)
    last = max(place for place, (_, script) in enumerate(ordered) if script.name in chosen)
    for position, script in ordered[: last + 1]:
        before = _inventory(owner) if script.name in chosen else {}
        entry = Pending(position, script, "baseline")
        if script.no_transaction:
            session.begin()
            owner.commit()
            no_transaction.run(owner, admin, entry)
            session.follow_apart(script)
            owner.commit()
        else:
            session.begin()
            runner.run_in_one_transaction(session, [entry], lambda _: None)
            owner.commit()
        if script.name in chosen:
            after = _inventory(owner)
            for dropped in before.keys() - after.keys():
                wanted.pop(dropped, None)
            wanted |= {key: definition for key, definition in after.items() if before.get(key) != definition}
    return wanted


def _inventory(connection: Connection[Any]) -> dict[tuple[str, str], str]:
    return {(kind, name): definition for kind, _, name, definition in _rows(connection, digests=False)}


def _rows(connection: Connection[Any], *, digests: bool) -> list[tuple[str, str, str, str]]:
    """Return for each object: kind, identity, and then identity and definition without the schemas of extensions."""
    with connection.transaction(force_rollback=True):
        schema_drift.qualify_names(connection)
        query = (
            "SELECT kind, identity, definition FROM (" + schema_drift.build_inventory_query(digests=digests) + ") AS i"
        )
        rows = connection.execute(query).fetchall()
        members = [row[0] for row in connection.execute(queries.get("extension_members")).fetchall()]
    return [
        (kind, identity, remove_schemas(identity, members), remove_schemas(definition, members))
        for kind, identity, definition in rows
    ]


def remove_schemas(text: str, members: Sequence[str]) -> str:
    """Remove from a definition the schemas of the extensions' types, operator classes and operators.

    >>> remove_schemas("app.vector(3) app.vector_cosine_ops app.vectors", ["app.vector", "app.vector_cosine_ops"])
    'vector(3) vector_cosine_ops app.vectors'
    """
    for member in members:
        schema, _, name = member.rpartition(".")
        if member in text:
            text = re.sub(rf"(?<![\w.\"]){re.escape(member)}(?![\w$\"])", name.replace("\\", r"\\"), text)
        text = text.replace(f"OPERATOR({schema}.{name})", f"OPERATOR({name})")
    return text

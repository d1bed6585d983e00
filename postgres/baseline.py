"""Checks that a database really has what scripts would make, before they are recorded as applied without running.

The scripts run in a scratch database of the same server; every object they make there must be in the live database
with the same definition. In which schema an extension lies is no difference: initdb.d put vector into the first of
`search_path`. The scratch database is dropped again, also when the check fails.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from psycopg import Connection, sql

from postgres import execution, queries, roles
from postgres.connection import Address, connect
from postgres.errors import PlanRefused
from postgres.planning import Pending, in_run_order
from postgres.scripts import Script
from postgres.session import Session

PREFIX = "pgstack_scratch_"


def check(
    cluster: Connection[Any],
    address: Address,
    scripts: Sequence[Script],
    pending: Sequence[Pending],
    extensions: tuple[str, ...],
) -> frozenset[tuple[str, str]]:
    """The (kind, identity) of what the baseline scripts make, all of it found in the live database.

    The scripts listed before them run in the scratch database too, and count for nothing. `cluster` holds the lock;
    `address` is the administrator's. Raises PlanRefused naming what is missing or different.
    """
    for (leftover,) in cluster.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (PREFIX,)
    ).fetchall():  # a killed run's; the lock says nobody uses it
        cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(leftover)))
    scratch = PREFIX + secrets.token_hex(4)
    name = sql.Identifier(scratch)
    cluster.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(name, sql.Identifier(roles.OWNER)))
    try:
        there = replace(address, database=scratch)
        with connect(there) as admin:
            roles.ensure_database(admin)
            roles.ensure_extensions(admin, ("vector", *extensions))
        with roles.owner_connection(cluster, there) as owner:
            wanted = _made_by(owner, scripts, pending)
    finally:
        cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    with connect(address) as admin:
        live = _inventory(admin)
    problems = []
    for (kind, identity), definition in sorted(wanted.items()):
        if (kind, identity) not in live:
            problems.append(f"{kind} {identity} is missing")
        elif kind not in ("schema", "table", "view") and live[kind, identity] != definition:
            problems.append(f"{kind} {identity} is {live[kind, identity]}, the script makes {definition}")
    if problems:
        names = ", ".join(f"sql/{entry.script.name}" for entry in pending)
        raise PlanRefused(
            f"the database is not what pgvector:baseline says ({names}):\n  "
            + "\n  ".join(problems)
            + "\n  make the script say what the database has, or take it off the baseline so that it runs"
        )
    return frozenset(wanted)


def _made_by(
    owner: Connection[Any], scripts: Sequence[Script], pending: Sequence[Pending]
) -> dict[tuple[str, str], str]:
    chosen = {entry.script.name for entry in pending}
    wanted: dict[tuple[str, str], str] = {}
    session = Session(owner)
    ordered = in_run_order(scripts)
    last = max(place for place, (_, script) in enumerate(ordered) if script.name in chosen)
    for position, script in ordered[: last + 1]:
        before = _inventory(owner) if script.name in chosen else {}
        entry = Pending(position, script, "baseline")
        if script.no_transaction:
            session.begin()
            execution.run_apart(owner, entry, 0, lambda _: None)
            session.follow_apart(script, resumed=False)
            owner.commit()
        else:
            session.begin()
            execution.run_together(session, [entry], lambda _: None)
            owner.commit()
        if script.name in chosen:
            after = _inventory(owner)
            wanted |= {key: definition for key, definition in after.items() if before.get(key) != definition}
    return wanted


def _inventory(connection: Connection[Any]) -> dict[tuple[str, str], str]:
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL search_path = ''")
        rows = connection.execute(queries.get("inventory")).fetchall()
        members = [row[0] for row in connection.execute(queries.get("extension_members")).fetchall()]
    return {
        (kind, without_schema(identity, members)): without_schema(definition, members)
        for kind, identity, definition in rows
    }


def without_schema(text: str, members: Sequence[str]) -> str:
    """A definition with the extensions' types, operator classes and operators by their names alone.

    >>> without_schema("app.vector(3) app.vector_cosine_ops app.vectors", ["app.vector", "app.vector_cosine_ops"])
    'vector(3) vector_cosine_ops app.vectors'
    """
    for member in members:
        schema, _, name = member.rpartition(".")
        if member in text:
            text = re.sub(rf"(?<![\w.\"]){re.escape(member)}(?![\w$\"])", name.replace("\\", r"\\"), text)
        text = text.replace(f"OPERATOR({schema}.{name})", f"OPERATOR({name})")
    return text

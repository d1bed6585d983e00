"""A change by hand is drift where it changes what pg_dump writes of the schema, rights included, and nowhere else.

A step is one statement of `schema_changes.py`: pg_dump and the inventory are asked after it, and must agree whether
anything changed. All steps run each time; a tenth of them, another one each run, is looked at. PGSTACK_STEPS=all
looks at each. The first line of a failure names the tenth: PGSTACK_STEPS=2 looks at number 2 again.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import Connection

from pgvector_stacks.common.difference import Difference
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.inspection import schema_drift
from tests.conftest import FreshDatabase, Server
from tests.postgres import schema_changes

PARTS = 10
CHOSEN = os.environ.get("PGSTACK_STEPS", str(random.randrange(PARTS)))
STEPS = [(text, False) for text in schema_changes.NOTHING.strip().splitlines()] + [
    (text, True) for text in schema_changes.CHANGES.strip().splitlines()
]


def looked_at() -> range:
    if not CHOSEN.isdigit():
        return range(len(STEPS))
    number, size = int(CHOSEN) % PARTS, -(-len(STEPS) // PARTS)
    return range(number * size, min(len(STEPS), (number + 1) * size))


def dump(database: FreshDatabase) -> list[str]:
    """What pg_dump writes, an entry each: their order, and that of the rights on one object, says nothing."""
    at = database.admin
    command = [
        str(embedded_server.find_bin_directory(18) / "pg_dump"),
        "-s",
        "-h",
        at.host,
        "-p",
        str(at.port),
        "-U",
        at.user,
        at.database,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PGPASSWORD": at.password}
    )
    entries = []
    for entry in re.split(r"\n--\n-- Name: ", done.stdout):
        lines = [
            line for line in entry.splitlines() if line and not line.startswith(("--", "\\restrict", "\\unrestrict"))
        ]
        entries.append("\n".join(sorted(lines) if re.match(r".*Type: (DEFAULT )?ACL;", entry) else lines))
    return sorted(entries)


def inventory(connection: Connection[Any]) -> dict[tuple[str, str], str]:
    with connection.transaction():
        connection.execute("SET LOCAL search_path = ''")
        rows = connection.execute(
            "SELECT kind, identity, definition FROM (" + schema_drift.build_inventory_query() + ") AS i"
        ).fetchall()
    found = {(kind, identity): definition for kind, identity, definition in rows}
    assert len(found) == len(rows)
    return found


def differences(before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]) -> list[Difference]:
    """As `schema_drift.compare` tells them."""
    found = [Difference(*key, before.get(key), after.get(key)) for key in sorted({*before, *after})]
    return schema_drift.exclude_textual_differences(each for each in found if each.recorded != each.live)


@pytest.fixture
def every_kind(server: Server, empty_database: FreshDatabase) -> Iterator[FreshDatabase]:
    """Its roles are the server's: they go with it."""
    try:
        empty_database.do("CREATE EXTENSION vector SCHEMA public")
        empty_database.do(schema_changes.SCHEMA)
        yield empty_database
    finally:
        empty_database.do("DROP SUBSCRIPTION IF EXISTS feed")
        with connect(server.admin("postgres")) as connection:
            connection.execute(f"DROP DATABASE {empty_database.admin.database} WITH (FORCE)".encode())
            connection.execute(b'DROP ROLE IF EXISTS someone, "some one"')


@pytest.mark.promise("Drift is what pg_dump sees")
def test_drift_is_what_pg_dump_sees(every_kind: FreshDatabase) -> None:
    steps = looked_at()
    wrong = []
    with connect(every_kind.admin, own_path=True) as connection:
        dumped, listed = None, None
        for number, (text, changes) in enumerate(STEPS):
            if number == steps.start:
                dumped, listed = dump(every_kind), inventory(connection)
            connection.execute(text.encode())
            if number not in steps:
                continue
            before = (dumped, listed)
            dumped, listed = dump(every_kind), inventory(connection)
            verdicts = (dumped != before[0], bool(differences(before[1] or {}, listed)))
            if verdicts != (changes, changes):
                wrong.append(f"pg_dump sees it: {verdicts[0]}, we do: {verdicts[1]}, expected {changes}: {text}")
    assert not wrong, "\n".join([f"PGSTACK_STEPS={CHOSEN}", *wrong])


def test_a_foreign_key_that_no_longer_checks_is_drift_though_pg_dump_is_silent(every_kind: FreshDatabase) -> None:
    with connect(every_kind.admin, own_path=True) as connection:
        before = inventory(connection)
        connection.execute("ALTER TABLE s.child DISABLE TRIGGER ALL")
        after = inventory(connection)
    (changed,) = {key for key in before if before[key] != after[key]}
    assert changed == ("table", "s.child")
    assert "triggers of constraints: to_parent D" in after[changed]

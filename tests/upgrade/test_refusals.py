"""What can't be upgraded is refused while the old server serves, each with its reason and its remedy."""

from __future__ import annotations

from typing import LiteralString

import pytest

from pgvector_stacks.common.errors import PgstackError, ServerError
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.upgrade.engines import embedded_upgrade
from tests.upgrade import content
from tests.upgrade.servers import PASSWORD, Machine

REFUSED: list[tuple[LiteralString, str, str]] = [
    ("CREATE TABLE r (f regproc); INSERT INTO r VALUES ('now')", r"app: public.r.f \(regproc\)", "TYPE text USING"),
    ("CREATE DATABASE closed ALLOW_CONNECTIONS false", "take no connections: closed", "ALLOW_CONNECTIONS true"),
    (
        "CREATE ROLE o; CREATE DOMAIN d AS text CHECK (query_to_xml(VALUE, true, true, '') IS NOT NULL);"
        " ALTER DOMAIN d OWNER TO o",
        r"app: public.d \(query_to_xml\(text,boolean,boolean,text\)\)", "ALTER DOMAIN … DROP CONSTRAINT",
    ),
    (
        "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)",
        "subscriptions: s: they would arrive disabled", "SET (slot_name = NONE)",
    ),
]  # fmt: skip


def refused(machine: Machine, reason: str, remedy: str) -> None:
    """Both by a preview and by `up`, in the same words; nothing was touched."""
    before = content.counts(machine.address(machine.old))
    for attempt in (
        lambda: embedded_upgrade.describe(machine.job, PASSWORD, None),
        lambda: embedded_upgrade.upgrade(machine.job, PASSWORD, None, machine.said.append),
    ):
        with pytest.raises(ServerError, match=reason) as error:
            attempt()
        assert str(error.value).startswith("pgvector:postgresVersion: PostgreSQL 16.")
        assert remedy in str(error.value)
    assert machine.serving == machine.old
    assert content.counts(machine.address(machine.old)) == before
    assert machine.left() == []


@pytest.mark.promise("What can't be upgraded is refused with its remedy while the old server serves")
@pytest.mark.parametrize(
    ("statement", "reason", "remedy"), REFUSED, ids=["reg column", "closed database", "domain", "subscription"]
)
def test_what_pg_upgrade_can_not_take_over(
    machine: Machine, statement: LiteralString, reason: str, remedy: str
) -> None:
    with connect(machine.address(machine.old, "app"), own_path=True) as connection:
        connection.execute(statement)
    refused(machine, reason, remedy)


def test_a_prepared_transaction(machine: Machine) -> None:
    restart(machine, max_prepared_transactions="5")
    with connect(machine.address(machine.old, "app"), autocommit=False, own_path=True) as connection:
        connection.execute("INSERT INTO events VALUES ('2025-01-01', 1)")
        connection.execute("PREPARE TRANSACTION 'left open'")
    refused(machine, "prepared transactions are open: left open in app", "ROLLBACK PREPARED")


def test_a_logical_slot(machine: Machine) -> None:
    restart(machine, wal_level="logical")
    with connect(machine.address(machine.old, "app"), own_path=True) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('reader', 'pgoutput')")
    refused(machine, "logical replication slots: reader", "pg_drop_replication_slot")


def test_a_schema_the_new_version_does_not_take_is_found_by_the_rehearsal(machine: Machine) -> None:
    """An index whose function finds its helper by search_path, which a restore empties."""
    before = content.counts(machine.address(machine.old))
    with connect(machine.address(machine.old, "app"), own_path=True) as connection:
        connection.execute(
            "CREATE FUNCTION inner_one(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i + 1';"
            "CREATE FUNCTION outer_one(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT inner_one(i)';"
            "CREATE TABLE fragile (i int, j int GENERATED ALWAYS AS (outer_one(i)) STORED);"
            "CREATE INDEX fragile_index ON fragile (outer_one(i));"
        )
    with pytest.raises(ServerError, match=r"rehearsed on an empty server: PostgreSQL 18 doesn't take") as error:
        embedded_upgrade.upgrade(machine.job, PASSWORD, None, machine.said.append)
    assert "fragile" in str(error.value)
    assert "inner_one" in str(error.value)
    assert "upgrade 16 → 18: stop" not in machine.said
    assert machine.serving == machine.old
    assert content.counts(machine.address(machine.old)) == before
    assert machine.left() == []


def test_an_impossible_method_says_why(machine: Machine) -> None:
    disk = embedded_upgrade.measure_disk(machine.root)
    if disk.reflink:
        pytest.skip("this file system can clone")
    with pytest.raises(PgstackError, match="pgvector:upgradeMethod = clone: the file system has no reflinks"):
        embedded_upgrade.describe(machine.job, PASSWORD, "clone")


def restart(machine: Machine, **settings: str) -> None:
    """With hand-made settings, as ALTER SYSTEM leaves them."""
    from pgvector_stacks.embedded import embedded_server

    with connect(machine.address(machine.old), own_path=True) as connection:
        for name, value in settings.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
    embedded_server.stop(machine.old)
    embedded_server.start(machine.old, embedded_server.read_settings(machine.old))

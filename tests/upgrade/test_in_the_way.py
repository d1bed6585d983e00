"""What databases and roles have set for the application, and their event triggers, don't get at an upgrade."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import LiteralString

import pytest

from pgvector_stacks.connections.connection import connect
from pgvector_stacks.upgrade.backup_first import BackupFirst
from pgvector_stacks.upgrade.decision import Method
from pgvector_stacks.upgrade.engines import embedded_upgrade
from tests.upgrade import content
from tests.upgrade.servers import PASSWORD, Machine
from tests.upgrade.test_verify import nothing_left, verdict

IN_THE_WAY: LiteralString = """
CREATE SCHEMA "Ext ension";
ALTER EXTENSION vector SET SCHEMA "Ext ension";
CREATE INDEX "odd.""index" ON far USING hnsw ((v::"Ext ension".halfvec(384)) "Ext ension".halfvec_l1_ops);
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no %', tg_tag; END $$;
CREATE TABLE noted (what text);
CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO noted VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER noting ON ddl_command_end EXECUTE FUNCTION note();
CREATE EVENT TRIGGER refusing ON ddl_command_start EXECUTE FUNCTION refuse();
"""
SET: LiteralString = """
ALTER DATABASE app SET default_transaction_read_only = on;
ALTER DATABASE app SET statement_timeout = '1ms';
ALTER DATABASE app SET lock_timeout = '1ms';
ALTER DATABASE app SET search_path = nowhere;
ALTER DATABASE app SET client_encoding = 'latin1';
ALTER DATABASE app SET synchronous_commit = on;
ALTER ROLE postgres SET statement_timeout = '1ms';
ALTER ROLE postgres SET row_security = off;
"""
# a standby that isn't there, and what a restore to a point in time left
SYSTEM: tuple[LiteralString, ...] = (
    "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
    "ALTER SYSTEM SET recovery_target_time = '2020-01-01 00:00:00+00'",
    "ALTER SYSTEM SET recovery_min_apply_delay = '1d'",
    "ALTER SYSTEM SET hot_standby = off",
    "ALTER SYSTEM SET restore_command = 'false'",
)


@pytest.mark.parametrize("method", ["standby", "dump"])
def test_everything_is_there_all_the_same(machine: Machine, method: Method, tmp_path: Path) -> None:
    server = machine.address(machine.old)
    with connect(replace(server, database="app"), own_path=True) as connection:
        connection.execute(IN_THE_WAY)
        connection.execute("ANALYZE")  # 18 carries statistics over, values of rows among them
    with connect(server, own_path=True) as connection:
        connection.execute(SET)
        for statement in SYSTEM:
            connection.execute(statement)
    before = content.complete(server)
    backup = BackupFirst(tmp_path / "backups", "local", "app", 0) if method == "standby" else None
    embedded_upgrade.upgrade(machine.job, PASSWORD, method, machine.said.append, backup=backup)
    assert content.differences(before, content.complete(machine.address(machine.new))) == {}
    with nothing_left(machine):
        assert verdict(machine).differs == ()

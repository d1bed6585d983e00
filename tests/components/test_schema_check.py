"""Whatever a preview doesn't know of a server that changes, the database that is there is asked, and refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain, combinations
from typing import Any

import pytest

from components.data_directory import DataDirectoryProvider
from components.shared.schema_check import WANTED, WANTED_INPUTS, refuse_before_a_change
from components.sql_schema import NO_DRIFT, SqlSchemaProvider, inputs
from pgvector_stacks.config.environment import from_config
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.embedded.embedded_server import ADMIN
from tests.components.test_providers import messages, unknown
from tests.conftest import FreshDatabase

UNKNOWABLE = ("host", "port", "adminPassword", "identity")
UNKNOWN = tuple(chain.from_iterable(combinations(UNKNOWABLE, count) for count in range(1, len(UNKNOWABLE) + 1)))
EDIT = "UPDATE pgstack.ledger SET normalised = repeat('0', 64) WHERE name = 'init.sql'"
REMOVE = "UPDATE pgstack.ledger SET name = 'gone.sql' WHERE position = 3"
REORDER = "UPDATE pgstack.ledger SET position = 4 - position"
DRIFT = "CREATE INDEX by_hand ON app.tenant (name)"
REFUSALS = {
    EDIT: "sql/init.sql was changed after it ran in production",
    REMOVE: "sql/gone.sql ran in production",
    REORDER: "the order changed: in production",
    DRIFT: "by_hand was added",
}


def schema(database: FreshDatabase) -> dict[str, Any]:
    """The inputs of a stack that refuses drift, deployed on this database."""
    found = inputs(from_config("production", {"engine": "embedded", "database": database.admin.database}))
    return found | {
        "host": database.admin.host,
        "port": float(database.admin.port),
        "identity": "7/18.1/ab",
        "admin": ADMIN,
        "adminPassword": database.admin.password,
    }


def deployed(database: FreshDatabase) -> dict[str, Any]:
    return SqlSchemaProvider().check({}, schema(database)).inputs


@pytest.mark.parametrize("statement", REFUSALS)
def test_what_can_not_go_on_is_refused_whatever_is_unknown(fresh_database: FreshDatabase, statement: str) -> None:
    olds, news = deployed(fresh_database), schema(fresh_database)
    assert olds == news | {"revision": olds["revision"], "drift": NO_DRIFT}
    fresh_database.do(statement)
    for keys in UNKNOWN:
        result = SqlSchemaProvider().check(olds, news | {key: unknown() for key in keys})
        assert REFUSALS[statement] in messages(result), keys


@pytest.mark.parametrize("statement", REFUSALS)
def test_a_container_is_asked_where_it_is_before_it_is_replaced(fresh_database: FreshDatabase, statement: str) -> None:
    olds = {
        "host": fresh_database.admin.host, "port": float(fresh_database.admin.port), "sslmode": "", "name": "x",
        "adminPassword": fresh_database.admin.password, "docker": "unix:///nowhere", "major": 17.0, "settings": {},
        "memoryMb": 512.0, "cpus": 1.0, "shmMb": 64.0, "image": "sha256:1", "imageName": "x", "volumeName": "x",
    }  # fmt: skip
    news = olds | {WANTED: {key: schema(fresh_database)[key] for key in WANTED_INPUTS}}
    good = DataDirectoryProvider().check(olds, news)
    assert (messages(good), good.inputs) == ("", olds)
    fresh_database.do(statement)
    changes: tuple[dict[str, Any], ...] = ({}, {"port": 1.0}, {"host": "192.0.2.1"}, {"adminPassword": "another"},
                                           {"adminPassword": unknown()}, {"image": unknown()})  # fmt: skip
    for changed in changes:
        assert REFUSALS[statement] in messages(DataDirectoryProvider().check(olds, news | changed)), changed


def test_a_server_that_is_stopped_while_it_is_asked_refuses_nothing(fresh_database: FreshDatabase) -> None:
    """Another resource's replacement takes the container away, while this one asks the server in it."""
    wanted = {key: schema(fresh_database)[key] for key in WANTED_INPUTS}
    waits = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = 'pgstack.ledger'::regclass"
    with connect(fresh_database.admin, autocommit=False) as holder, ThreadPoolExecutor() as beside:
        holder.execute("LOCK TABLE pgstack.ledger")
        asked = beside.submit(refuse_before_a_change, [fresh_database.admin], wanted)
        with connect(fresh_database.admin) as administrator:
            while not administrator.execute(waits).fetchall():
                assert not asked.done()
        asked.result()


def test_a_database_that_is_gone_and_another_one_are_told_with_all_scripts(
    fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.info", said.append)
    monkeypatch.setattr("pulumi.log.warn", said.append)
    olds, news = deployed(fresh_database), schema(fresh_database)
    for keys in ((), ("identity",), UNKNOWABLE):
        blind = {key: unknown() for key in keys}
        for before, words in (("nowhere", "is gone"), ("elsewhere", "there is no database nowhere yet")):
            said.clear()
            result = SqlSchemaProvider().check(olds | {"database": before}, news | {"database": "nowhere"} | blind)
            assert messages(result) == ""
            assert any(words in line for line in said), (keys, said)
            assert "to run: sql/init.sql (new)" in said
            assert result.inputs["revision"] == olds["revision"]
            assert result.inputs.get("ledger") == "empty"
        said.clear()
        SqlSchemaProvider().check(olds, news | blind)
        assert said == []

"""What a stack declares, seen from the engine's side by Pulumi's own mocks: inputs, secrets, outputs; no server."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pulumi
import pytest

from components.shared.schema_check import WANTED, WANTED_INPUTS, format_script_lines
from components.sql_schema import inputs
from pgvector_stacks.common.errors import ScriptError
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, ROOT, SQL, from_config
from pgvector_stacks.migrations.scripts.script_files import load
from pgvector_stacks.sizing.settings import derive_settings
from tests.components.declared import DYNAMIC, Program, Runner, database, declared

# what is declared


def test_local_declares_a_server_three_passwords_and_the_schema(run: Runner) -> None:
    found = run(database()).declared
    assert {name: each.type.removeprefix(DYNAMIC) for name, each in found.items()} == {
        "local": "pgvector:index:Database",
        "admin-password": "GeneratedPassword",
        "app-password": "GeneratedPassword",
        "readonly-password": "GeneratedPassword",
        "backup-key": "BackupKey",
        "server": "EmbeddedServer",
        "schema": "SqlSchema",
    }
    assert {each.parent for name, each in found.items() if name != "local"} == {"local"}


def test_the_server_is_declared_by_where_it_lies_and_what_it_may_use(run: Runner) -> None:
    server = declared(run, "server")
    environment = from_config("local", {})
    assert server.inputs == {
        "data": ".data/local/18",  # below the checkout, which may be moved
        "major": 18,
        "settings": derive_settings(environment.limits, durability=environment.durability),
        "adminPassword": "generated admin-password",
        "server": "running",
        "upgradeBackup": True,
        "drillMaxAgeH": 24,
        "stack": "local",
        "database": "app",
        "backupKeep": 3,
        "backupKey": "generated backup-key",
        WANTED: {key: inputs(environment)[key] for key in WANTED_INPUTS},
    }
    assert server.delete_before_replace


def test_a_configured_server_is_declared_as_configured(run: Runner) -> None:
    server = declared(run, "server", {"port": "6000", "postgresVersion": "16", "memoryMb": "512"}).inputs
    assert (server["wantedPort"], server["major"]) == (6000, 16)
    assert server["data"].endswith("/16")
    assert server["settings"]["shared_buffers"] == "128MB"


def test_the_schema_is_declared_by_the_scripts_and_where_they_run(run: Runner) -> None:
    schema = declared(run, "schema").inputs
    assert schema == {
        "stack": "local",
        "database": "app",
        "scripts": format_script_lines(load(SQL, DEFAULT_SCRIPTS, listed_elsewhere=["*.sql"])),
        "verify": schema["verify"],
        "order": list(DEFAULT_SCRIPTS),
        "baseline": [],
        "extensions": [],
        "driftPolicy": "report",
        "statementTimeoutS": 300,
        "lockTimeoutS": 2,
        "lockWaitS": 30,
        "pgvectorMinimum": "0.8.0",
        "roleLimits": {
            "appConnections": 76,
            "readonlyConnections": 18,
            "tempFileLimitMb": 2048,
            "idleInTransactionS": 600,
        },
        "runner": schema["runner"],
        "host": "127.0.0.1",
        "port": 54321,
        "identity": "7/18.1/ab",
        "settings": declared(run, "server").inputs["settings"],
        "admin": "postgres",
        "adminPassword": "generated admin-password",
        "appPassword": "generated app-password",
        "readonlyPassword": "generated readonly-password",
    }


def test_a_reviewer_reads_the_scripts_in_their_order_with_a_short_hash() -> None:
    scripts = inputs(from_config("local", {}))["scripts"]
    names, digests = zip(*(line.split("  ") for line in scripts.splitlines()), strict=True)
    assert names == ("0001 init.sql", "0002 integration_upgrade.sql", "0003 install_pgvector.sql")
    assert all(len(digest) == 12 and int(digest, 16) >= 0 for digest in digests)


@pytest.mark.promise("The state holds no SQL text")
def test_the_inputs_hold_no_sql_text(run: Runner) -> None:
    everything = json.dumps([dict(each.inputs) for each in run(database()).declared.values()]).lower()
    texts = [path.read_text() for path in SQL.rglob("*.sql")]
    lines = {line.strip().lower() for text in texts for line in text.splitlines()}
    assert any("create" in line for line in lines)
    assert not [line for line in lines if len(line) > 20 and line in everything]
    assert not any(word in everything for word in ("create ", "select ", "insert ", "alter "))


def test_the_second_up_declares_the_same(run: Runner) -> None:
    first, second = run(database()), run(database())
    assert first == second


# secrets


CONFIGURED = {"adminPassword": "hunter admin", "appPassword": "hunter app", "readonlyPassword": "hunter readonly"}


@pytest.mark.parametrize("config", [{}, CONFIGURED, {"appPassword": "hunter app"}])
def test_every_password_is_a_secret_and_nothing_else_holds_one(run: Runner, config: dict[str, str]) -> None:
    found = run(database(config)).declared
    passwords = {"adminPassword", "appPassword", "readonlyPassword"}
    assert found["schema"].secret >= passwords
    assert {"adminPassword", "backupKey"} <= found["server"].secret
    for each in found.values():
        held = json.dumps({key: value for key, value in each.inputs.items() if key not in passwords | {"backupKey"}})
        assert "hunter" not in held
        assert "generated " not in held


def test_a_generated_password_is_asked_to_be_kept_encrypted(run: Runner) -> None:
    found = run(database()).declared
    for name in ("admin-password", "app-password", "readonly-password"):
        assert found[name].secret_outputs == ("value",)


def test_a_configured_password_wins_and_the_generated_one_is_kept_for_later(run: Runner) -> None:
    found = run(database({"appPassword": "hunter app"})).declared
    assert found["schema"].inputs["appPassword"] == "hunter app"
    assert found["schema"].inputs["readonlyPassword"] == "generated readonly-password"
    assert "app-password" in found


def test_the_providers_themselves_are_secrets_so_that_no_diff_shows_them(run: Runner) -> None:
    for each in run(database()).declared.values():
        assert "__provider" in each.secret or each.type == "pgvector:index:Database"


# outputs


def test_the_outputs_are_what_a_deployment_reads(run: Runner) -> None:
    outputs = run(database({"appPassword": "it's/@:?", "database": "shop"})).outputs
    assert {name: value for name, (value, _) in outputs.items()} == {
        "host": "127.0.0.1",
        "port": 54321,
        "database": "shop",
        "sslmode": "disable",
        "appUrl": "postgresql://app:it%27s%2F%40%3A%3F@127.0.0.1:54321/shop?sslmode=disable",
        "appUser": "app",
        "appPassword": "it's/@:?",
        "readonlyUrl": "postgresql://readonly:generated%20readonly-password@127.0.0.1:54321/shop?sslmode=disable",
        "engine": "embedded",
        "postgresVersion": "18.1",
        "pgvectorVersion": "0.8.6",
        "schemaRevision": "0123456789ab",
        "validation": {"vector": "ok"},
    }
    assert isinstance(outputs["port"][0], int)


def test_the_outputs_that_hold_a_password_are_secret_and_no_others(run: Runner) -> None:
    outputs = run(database(CONFIGURED)).outputs
    assert {name for name, (_, secret) in outputs.items() if secret} == {"appUrl", "appPassword", "readonlyUrl"}
    asked = run(database(CONFIGURED | {"adminUrl": "true"})).outputs
    assert asked["adminUrl"][1]
    assert "hunter" not in json.dumps([value for value, secret in outputs.values() if not secret])


# refusals


def test_a_script_that_is_not_there_is_told_before_a_server_is_declared(run: Runner) -> None:
    said, declared_first = run.refused(database({"scripts": '["init.sq"]'}), ScriptError)
    assert 'sql/init.sq does not exist; did you mean "init.sql"' in said
    assert set(declared_first) <= {"local"}


# the program


@pytest.fixture
def main() -> Iterator[Callable[..., Program]]:
    """`__main__.py` with this config, as the engine hands it over; `secret`: the encrypted keys."""

    def with_config(config: Mapping[str, str], secret: Sequence[str] = ("pgvector:appPassword",)) -> Program:
        def program() -> Mapping[str, Any]:
            pulumi.runtime.set_all_config(dict(config), list(secret))
            runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")
            return {}

        return program

    yield with_config
    pulumi.runtime.set_all_config({})


def test_the_program_takes_its_keys_from_the_config_and_leaves_those_of_others(
    run: Runner, main: Callable[..., Program]
) -> None:
    config = {"pgvector:port": "6000", "pgvector:appPassword": "hunter app", "docker:host": "unix:///x"}
    found = run(main(config)).declared
    assert found["server"].inputs["wantedPort"] == 6000
    assert found["schema"].inputs["appPassword"] == "hunter app"


def test_every_mistake_in_the_config_is_told_and_nothing_is_declared(run: Runner, main: Callable[..., Program]) -> None:
    config = {"pgvector:prot": "6000", "pgvector:cpus": "many", "pgvector:image": "x"}
    said, declared_first = run.refused(main(config), pulumi.RunError)
    assert "unknown key pgvector:prot (value '6000'); did you mean \"port\"?" in said
    assert "stack local: pgvector:cpus = 'many'" in said
    assert declared_first == []


def test_a_password_in_plain_text_stops_the_program(run: Runner, main: Callable[..., Program]) -> None:
    said, declared_first = run.refused(main({"pgvector:appPassword": "hunter app"}, secret=[]), pulumi.RunError)
    assert "pgvector:appPassword is in the stack file in plain text" in said
    assert "hunter" not in said
    assert declared_first == []


def test_the_program_is_short() -> None:
    assert len((ROOT / "__main__.py").read_text().splitlines()) < 40

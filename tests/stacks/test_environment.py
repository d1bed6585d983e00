"""A stack file holds differences only, and every mistake in it is told at once, before anything is created."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from pgvector_stacks.config import environment as e
from pgvector_stacks.config.json_schema import build_json_schema
from pgvector_stacks.sizing.settings import Limits, derive_settings
from tests.own_project import COMMITTED

KEYS = sorted(field.alias or name for name, field in e.Environment.model_fields.items() if name != "stack")
ALL_SECRET = frozenset(e.SECRETS)


def mistakes(stack: str, config: dict[str, Any], *, secret: frozenset[str] = frozenset()) -> str:
    with pytest.raises(e.ConfigError) as error:
        e.from_config(stack, config, secret=secret)
    return str(error.value)


# defaults


@pytest.mark.parametrize("stack", e.ENVIRONMENTS)
def test_a_stack_without_a_single_key_is_complete(stack: str) -> None:
    environment = e.from_config(stack, {})
    assert environment.stack == stack
    assert environment.scripts == ("init.sql", "integration_upgrade.sql", "install_pgvector.sql")
    assert environment.limits == Limits(environment.memory_mb, environment.cpus)
    assert derive_settings(environment.limits, durability=environment.durability)


def test_only_local_needs_no_docker() -> None:
    engines = {stack: e.from_config(stack, {}).engine for stack in e.ENVIRONMENTS}
    assert {stack for stack, engine in engines.items() if engine == "embedded"} == {"local"}


def test_staging_and_production_refuse_drift_and_old_versions_of_pgvector() -> None:
    strict = [e.from_config(stack, {}) for stack in ("staging", "production")]
    assert [(found.drift, found.pgvector_minimum) for found in strict] == [("refuse", "0.8.4")] * 2
    assert {e.from_config(stack, {}).drift for stack in ("local", "dev", "test")} == {"report"}


@pytest.mark.promise("No environment but `test` may lose its data")
def test_only_test_may_lose_its_data() -> None:
    durabilities = {stack: e.from_config(stack, {}).durability for stack in e.ENVIRONMENTS}
    assert [stack for stack, durability in durabilities.items() if durability == "none"] == ["test"]


def test_a_key_of_the_file_wins_over_the_table() -> None:
    assert e.from_config("production", {"memoryMb": "8192"}).limits == Limits(8192, 4)


def test_every_default_is_a_field() -> None:
    assert {key for table in e.DEFAULTS.values() for key in table} <= set(e.Environment.model_fields)
    assert tuple(e.DEFAULTS) == e.ENVIRONMENTS


def test_an_environment_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        e.from_config("dev", {}).port = 5432  # type: ignore[misc]


# the major version


def test_the_embedded_engine_has_two_major_versions() -> None:
    assert "the embedded engine has 16 and 18" in mistakes("local", {"postgresVersion": "17"})
    assert (e.from_config("local", {}).major, e.from_config("local", {"postgresVersion": "16"}).major) == (18, 16)


def test_an_image_tells_its_major_version_itself_where_it_can() -> None:
    assert e.from_config("dev", {"image": "ankane/pgvector:latest"}).major == 15
    assert e.from_config("dev", {"image": "registry:5000/own", "postgresVersion": "18"}).major == 18
    assert "doesn't tell the major version" in mistakes("dev", {"image": "registry:5000/own"})
    assert "is PostgreSQL 17: leave this key out" in mistakes("dev", {"postgresVersion": "18"})
    assert "PostgreSQL 14; supported are 15, 16, 17, 18" in mistakes("dev", {"image": "pgvector/pgvector:pg14"})


def test_a_certificate_and_its_key_belong_together() -> None:
    assert "pgvector:tlsKey: tlsCertificate and tlsKey belong together" in mistakes("dev", {"tlsCertificate": "PEM"})


def test_an_adopted_volume_is_the_stacks_own_from_then_on() -> None:
    assert e.from_config("dev", {}).volume_name == "pgvector-dev"
    adopting = e.from_config("dev", {"adoptVolume": "shop_pgdata"})
    assert (adopting.volume_name, adopting.name) == ("shop_pgdata", "pgvector-dev")


def test_an_adopted_volume_is_neither_deleted_with_the_stack_nor_put_elsewhere() -> None:
    assert "set pgvector:volume to retain or protect" in mistakes("test", {"adoptVolume": "shop_pgdata"})
    assert e.from_config("test", {"adoptVolume": "shop_pgdata", "volume": "retain"}).volume_name == "shop_pgdata"
    assert "leave pgvector:dataPath out" in mistakes("dev", {"adoptVolume": "shop_pgdata", "dataPath": "/srv"})
    assert "String should match pattern" in mistakes("dev", {"adoptVolume": "./pgdata"})


# values as Pulumi hands them over


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("memoryMb", "2048", 2048),
        ("cpus", "0.5", 0.5),
        ("port", "5432", 5432),
        ("postgresVersion", "16", 16),
        ("statementTimeoutS", "0", 0.0),
        ("lockTimeoutS", "0.25", 0.25),
        ("scripts", '["init.sql", "migrations/*.sql"]', ("init.sql", "migrations/*.sql")),
        ("scripts", ["init.sql"], ("init.sql",)),
        ("extensions", '["pg_trgm"]', ("pg_trgm",)),
        ("baseline", "[]", ()),
        ("image", "pgvector/pgvector@sha256:ab", "pgvector/pgvector@sha256:ab"),
    ],
)
def test_a_value_is_understood_as_text_and_as_yaml(key: str, value: object, expected: object) -> None:
    name = next(name for name, field in e.Environment.model_fields.items() if field.alias == key)
    assert getattr(e.from_config("local", {key: value}), name) == expected


def test_a_password_is_taken_but_never_shown() -> None:
    environment = e.from_config("dev", {"appPassword": "hunter2"}, secret=ALL_SECRET)
    assert environment.app_password == SecretStr("hunter2")
    assert environment.admin_password is None
    assert "hunter2" not in f"{environment!r} {environment} {environment.model_dump_json()}"


# mistakes


def test_an_unknown_key_is_named_with_the_nearest_spelling() -> None:
    assert mistakes("dev", {"memoryMB": "64"}).startswith(
        "stack dev: unknown key pgvector:memoryMB (value '64'); did you mean \"memoryMb\"?\n  allowed: image, "
    )


@pytest.mark.parametrize("key", [key for key in KEYS if key not in (*e.SECRETS, "environment")])
def test_an_encrypted_value_under_a_key_that_is_no_secret_is_refused(key: str) -> None:
    """Its author thinks it a secret, and the state would have it in plain text."""
    assert f"pgvector:{key} is encrypted in the stack file, but it is no secret" in mistakes(
        "dev", {key: "[1]"}, secret=frozenset({key})
    )


@pytest.mark.parametrize("key", [*KEYS, "noSuchKey"])
def test_an_encrypted_value_is_not_shown_under_whatever_key(key: str) -> None:
    """Pulumi masks a secret only where all of it is shown, and unchanged."""
    value = "hunter2'" * 20
    told = ""
    try:
        e.from_config("dev", {key: value}, secret=frozenset({key}))
    except e.ConfigError as error:
        told = str(error)
    assert "hunter2" not in told.replace(value, "[secret]")


@pytest.mark.parametrize("key", ["stack", "memory_mb", "model_config", "limits", ""])
def test_what_is_no_key_of_a_stack_file_is_an_unknown_key(key: str) -> None:
    assert f"unknown key pgvector:{key} " in mistakes("dev", {key: "dev"})


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("engine", "dokcer", ["= 'dokcer'", "'embedded' or 'docker'", 'did you mean "docker"?']),
        ("drift", "refused", ["'report' or 'refuse'", 'did you mean "refuse"?']),
        ("durability", "fast", ["'safe' or 'none'"]),
        ("memoryMb", "255", ["= '255'", "greater than or equal to 256", "Memory the server may use, in MiB."]),
        ("memoryMb", "4 GB", ["= '4 GB'", "valid integer"]),
        ("memoryMb", "nan", ["valid integer"]),
        ("cpus", "0", ["greater than or equal to 0.25"]),
        ("cpus", "inf", ["finite number"]),
        ("lockTimeoutS", "nan", ["finite number"]),
        ("statementTimeoutS", "inf", ["finite number"]),
        ("lockTimeoutS", "0", ["greater than 0"]),
        ("port", "80", ["greater than or equal to 1024", "a free one is chosen and kept"]),
        ("port", "65536", ["less than or equal to 65535"]),
        ("database", "App", ["should match pattern"]),
        ("database", "app\n", ["should match pattern"]),
        ("database", 'a"; DROP DATABASE b', ["should match pattern"]),
        ("pgvectorMinimum", "latest", ["should match pattern", "below this version of pgvector"]),
        ("scripts", "init.sql", ["valid tuple", "globs allowed"]),
        ("scripts", "[]", ["at least 1 item"]),
        ("scripts", "[1]", ["pgvector:scripts[0] = 1", "valid string"]),
        ("extensions", '["ok", "Not ok"]', ["pgvector:extensions[1] = 'Not ok'"]),
    ],
)
def test_a_wrong_value_is_told_with_key_value_and_what_is_allowed(key: str, value: str, told: list[str]) -> None:
    message = mistakes("staging", {key: value})
    assert message.startswith(f"stack staging: pgvector:{key}")
    for words in told:
        assert words in message


def test_every_mistake_is_told_at_once() -> None:
    message = mistakes("test", {"cpus": "0", "engin": "docker", "port": "no", "appPassword": "hunter2"})
    assert message.count("stack test: ") == 4
    for key in ("cpus", "engin", "port", "appPassword"):
        assert f"pgvector:{key} " in message


@pytest.mark.parametrize("key", e.SECRETS)
def test_a_password_in_plain_text_is_refused_with_the_command_that_encrypts_it(key: str) -> None:
    message = mistakes("production", {key: "hunter2"})
    assert f"pulumi config set --stack production --secret pgvector:{key}" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("value", ["hunter2\n", "a\rhunter2", "hunter2\0", "", {"user": "hunter2"}, ["hunter2"], 3])
def test_a_wrong_password_is_not_shown(value: object) -> None:
    message = mistakes("dev", {"adminPassword": value}, secret=ALL_SECRET)
    assert message.startswith("stack dev: pgvector:adminPassword: ")
    assert "hunter2" not in message


@pytest.mark.parametrize("stack", ["prodution", "Local"])
def test_a_stack_that_is_no_environment_is_refused(stack: str) -> None:
    for call in (e.check_name, e.from_file, lambda name: e.from_config(name, {})):
        with pytest.raises(e.ConfigError, match="stacks: local, dev, test, staging, production"):
            call(stack)


def test_a_misspelt_stack_is_told_the_nearest() -> None:
    with pytest.raises(e.ConfigError, match="no stack 'prodution'; did you mean \"production\""):
        e.check_name("prodution")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    st.sampled_from(e.ENVIRONMENTS),
    st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=12), VALUES, max_size=5),
    st.sets(st.sampled_from(e.SECRETS)),
)
def test_whatever_a_file_holds_it_is_an_environment_or_a_list_of_mistakes(
    stack: str, config: dict[str, Any], secret: set[str]
) -> None:
    with contextlib.suppress(e.ConfigError):
        assert e.from_config(stack, config, secret=frozenset(secret)).stack == stack


@settings(deadline=None)
@given(st.lists(st.text(alphabet=st.characters(codec="ascii")), min_size=1))
def test_a_list_written_as_json_text_is_that_list(names: list[str]) -> None:
    text = json.dumps(names)
    assert e.from_config("dev", {"scripts": text}).scripts == tuple(names)


# files


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of stacks/."""
    monkeypatch.setattr(e, "STACKS", tmp_path)
    return tmp_path


@pytest.mark.parametrize("stack", e.ENVIRONMENTS)
def test_the_committed_stack_file_is_valid_and_names_its_schema(stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(e, "STACKS", COMMITTED)
    assert e.from_file(stack).stack == stack
    assert (COMMITTED / f"Pulumi.{stack}.yaml").read_text().startswith("# yaml-language-server: $schema=schema.json\n")


def test_a_missing_or_an_empty_file_means_the_defaults(stacks: Path) -> None:
    (stacks / "Pulumi.test.yaml").write_text("")
    (stacks / "Pulumi.staging.yaml").write_text("config:\n")
    for stack in ("dev", "test", "staging"):
        assert e.from_file(stack) == e.from_config(stack, {})


def test_keys_of_other_providers_in_the_file_are_not_ours(stacks: Path) -> None:
    (stacks / "Pulumi.dev.yaml").write_text(
        "config:\n  docker:host: tcp://10.0.0.1\n  pgvector:cpus: 3\n  port: 6000\n"
    )
    found = e.from_file("dev")
    assert (found.cpus, found.port) == (3, 6000)


def test_a_file_is_read_without_its_secrets(stacks: Path) -> None:
    (stacks / "Pulumi.dev.yaml").write_text("config:\n  pgvector:appPassword:\n    secure: v1:abc\n")
    assert e.from_file("dev").app_password is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("config: [\n", "stacks/Pulumi.dev.yaml is not YAML: "),
        ("\tconfig:\n", "stacks/Pulumi.dev.yaml is not YAML: "),
        ("- config\n", "stacks/Pulumi.dev.yaml: `config:` is a map of keys like pgvector:memoryMb"),
        ("config: yes please\n", "stacks/Pulumi.dev.yaml: `config:` is a map of keys like pgvector:memoryMb"),
    ],
)
def test_a_file_that_is_no_stack_file_is_told_in_one_line(stacks: Path, text: str, told: str) -> None:
    (stacks / "Pulumi.dev.yaml").write_text(text)
    with pytest.raises(e.ConfigError) as error:
        e.from_file("dev")
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


def test_what_one_environment_lists_is_known_to_all(stacks: Path) -> None:
    for stack, script in (("dev", "seed.sql"), ("test", "seed.sql"), ("production", "migrations/*.sql")):
        (stacks / f"Pulumi.{stack}.yaml").write_text(f"config:\n  pgvector:scripts:\n    - init.sql\n    - {script}\n")
    assert e.list_all_scripts() == (*e.DEFAULT_SCRIPTS, "seed.sql", "migrations/*.sql")


# the schema for editors


def test_the_schema_knows_every_key_and_describes_it() -> None:
    properties = build_json_schema()["properties"]["config"]["properties"]
    assert sorted(properties) == sorted(f"pgvector:{key}" for key in KEYS)
    assert all(definition["description"] for definition in properties.values())


def test_the_schema_wants_passwords_encrypted() -> None:
    properties = build_json_schema()["properties"]["config"]["properties"]
    for key in e.SECRETS:
        assert (properties[f"pgvector:{key}"]["type"], properties[f"pgvector:{key}"]["required"]) == (
            "object", ["secure"],
        )  # fmt: skip


def test_the_schema_lets_nothing_be_required_and_nothing_unknown_in() -> None:
    schema = build_json_schema()
    config = schema["properties"]["config"]
    assert "required" not in schema
    assert "required" not in config
    assert schema["additionalProperties"] is config["additionalProperties"] is False


@pytest.mark.parametrize("stack", e.ENVIRONMENTS)
def test_the_schema_has_what_the_committed_files_use(stack: str) -> None:
    schema = build_json_schema()["properties"]
    content = yaml.safe_load((COMMITTED / f"Pulumi.{stack}.yaml").read_text())
    assert content.keys() <= schema.keys()
    assert content["config"].keys() <= schema["config"]["properties"].keys()


def test_names_in_python_and_in_files_differ_by_case_alone() -> None:
    assert [to_camel(name) for name in e.Environment.model_fields if name != "stack"] == [
        field.alias for name, field in e.Environment.model_fields.items() if name != "stack"
    ]


# the schedule of backups


@pytest.mark.parametrize("given", ['{"at":"02:00","keep":5}', {"at": "2:00", "keep": 5}])
def test_a_schedule_is_read_from_pulumi_and_from_the_file(given: Any) -> None:
    environment = e.from_config("dev", {"backup": given, "backupKeep": 9})
    assert environment.backup is not None
    assert (environment.backup.at, environment.backups_kept) == ("02:00", 5)
    assert e.from_config("dev", {"backup": {"at": "02:00"}, "backupKeep": 9}).backups_kept == 9
    assert e.from_config("dev", {"backupKeep": 9}).backup is None


@pytest.mark.parametrize(
    ("stack", "config", "words"),
    [
        ("dev", {"backup": {"at": "25:00"}}, "pgvector:backup[at] = '25:00': a time of the day in UTC, as \"02:00\""),
        ("dev", {"backup": {"at": "02:00", "keep": 0}}, "pgvector:backup[keep] = 0: Input should be greater than"),
        ("dev", {"backup": {"at": "02:00", "kepp": 3}}, "unknown 'kepp'; did you mean \"keep\"?; allowed: at, keep"),
        ("dev", {"backup": {"keep": 3}}, "pgvector:backup[at] = "),
        ("dev", {"backup": "02:00"}, "pgvector:backup = '02:00': a map, as {at: \"02:00\", keep: 14}"),
        ("local", {"backup": {"at": "02:00"}}, "the embedded engine has no schedule: let cron run `pgstack backup cr"),
        (
            "dev",
            {"backup": {"at": "02:00"}, "backupCopy": "ssh://b@vault/srv"},
            "a scheduled backup isn't copied to pgvector:backupCopy: let cron run `pgstack backup create dev`",
        ),
    ],
)
def test_a_wrong_schedule_says_what_is_allowed(stack: str, config: dict[str, Any], words: str) -> None:
    said = mistakes(stack, config)
    assert words in said
    assert "docs/backup.md" in said

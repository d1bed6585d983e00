"""A stack's name is free. Its environment, which the file names, decides its defaults."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvector_stacks.config import cautions
from pgvector_stacks.config import environment as e
from pgvector_stacks.config.stack_names import NAME, RESERVED, choose_environment, parse_name

NAMES = st.from_regex(NAME, fullmatch=True).filter(
    lambda name: not name.lower().endswith("-backup") and name.lower() not in (*RESERVED, *e.ENVIRONMENTS)
)
BY_NAME = {"stack", "environment"}


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of stacks/."""
    monkeypatch.setattr(e, "STACKS", tmp_path)
    return tmp_path


def write(stacks: Path, stack: str, *lines: str) -> None:
    (stacks / f"Pulumi.{stack}.yaml").write_text("\n  ".join(["config:", *lines, ""]))


@pytest.mark.promise("A stack of any name has the defaults of its environment, and names of its own")
@settings(deadline=None)
@given(NAMES, st.sampled_from(e.ENVIRONMENTS))
def test_a_free_name_has_its_environments_defaults_and_its_own_places(name: str, environment: str) -> None:
    found, like = e.from_config(name, {"environment": environment}), e.from_config(environment, {})
    assert found.model_dump(exclude=BY_NAME) == like.model_dump(exclude=BY_NAME)
    assert (found.stack, found.environment) == (name, environment)
    assert found.name == found.volume_name == f"pgvector-{name}"
    assert found.backups.name == name
    assert found.backups.parent == like.backups.parent


@given(NAMES, st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]*", fullmatch=True), max_size=2))
def test_the_last_part_of_a_qualified_name_is_the_stack(name: str, qualifiers: list[str]) -> None:
    assert parse_name("/".join([*qualifiers, name])) == name


@given(st.text(max_size=60))
def test_a_name_is_safe_in_a_path_or_refused(text: str) -> None:
    with contextlib.suppress(e.ConfigError):
        name = parse_name(text)
        assert Path(".data", name).resolve().parent == Path(".data").resolve()
        assert text.endswith(name)


@pytest.mark.parametrize(
    "stack", ["", "../dev", "dev ", "a/b/c/dev", "/dev", "org//dev", "-x", ".x", "a:b", "ü", "x" * 48, "dev\n"]
)
def test_a_name_with_other_characters_is_refused(stack: str) -> None:
    for call in (e.check_name, e.from_file, lambda name: e.from_config(name, {"environment": "dev"})):
        with pytest.raises(e.ConfigError, match="allowed: letters, digits,"):
            call(stack)


@pytest.mark.parametrize("stack", ["backups", "Backups", "scripts.json", "dev-backup"])
def test_a_name_of_what_belongs_to_other_stacks_is_refused(stack: str) -> None:
    with pytest.raises(e.ConfigError, match="what belongs to other stacks is called so"):
        e.from_config(stack, {"environment": "dev"})


def test_two_names_differ_not_only_in_case(stacks: Path) -> None:
    write(stacks, "alice", "pgvector:environment: local")
    for stack, other in (("Alice", "alice"), ("LOCAL", "local")):
        with pytest.raises(e.ConfigError, match=f"did you mean '{other}': two names can't differ only in case"):
            e.from_config(stack, {"environment": "local"})


def test_the_file_names_the_environment(stacks: Path) -> None:
    write(stacks, "production-eu", "pgvector:environment: production", "pgvector:cpus: 8")
    found = e.from_file("org/pgvector/production-eu")
    assert (found.stack, found.environment, found.cpus, found.tls) == ("production-eu", "production", 8, "require")
    assert e.read_environment_name("org/pgvector/production-eu") == "production"
    assert e.list_stacks() == (*e.ENVIRONMENTS, "production-eu")


def test_a_stack_that_exists_nowhere_gets_the_nearest_and_the_key(stacks: Path) -> None:
    write(stacks, "production-eu", "pgvector:environment: production")
    for given_name, nearest in (("prodution-eu", "production-eu"), ("stagin", "staging")):
        with pytest.raises(e.ConfigError) as error:
            e.check_name(given_name)
        assert f"there is no stack '{given_name}'; did you mean \"{nearest}\"?" in str(error.value)
        assert f"set pgvector:environment in stacks/Pulumi.{given_name}.yaml" in str(error.value)


def test_a_file_without_the_key_is_refused_with_the_key(stacks: Path) -> None:
    write(stacks, "qa", "pgvector:cpus: 2")
    with pytest.raises(e.ConfigError, match="stack qa: pgvector:environment is missing"):
        e.from_file("qa")


@pytest.mark.parametrize(("value", "guess"), [("tset", '; did you mean "test"?'), ("", ""), (3, ""), ({"a": 1}, "")])
def test_an_environment_that_does_not_exist_is_refused(value: object, guess: str) -> None:
    with pytest.raises(e.ConfigError) as error:
        e.from_config("qa", {"environment": value})
    assert str(error.value) == (
        f"stack qa: pgvector:environment = {str(value)!r}{guess}\n  allowed: local, dev, test, staging, production"
    )


@pytest.mark.parametrize("stack", e.ENVIRONMENTS)
def test_a_stack_named_like_an_environment_belongs_to_it(stack: str) -> None:
    assert choose_environment(stack, stack, ()) == choose_environment(stack, None, ()) == stack
    other = next(each for each in e.ENVIRONMENTS if each != stack)
    with pytest.raises(e.ConfigError, match="a stack named like an environment belongs to it"):
        e.from_config(stack, {"environment": other})


def test_scripts_that_any_stack_lists_are_known(stacks: Path) -> None:
    write(stacks, "alice", "pgvector:environment: local", "pgvector:scripts: [hers.sql]")
    assert "hers.sql" in e.list_all_scripts()


def test_the_empty_passphrase_of_production_eu_is_a_caution(stacks: Path) -> None:
    write(stacks, "production-eu", "pgvector:environment: production")
    for environment, warned in (("production", True), ("dev", False)):
        found = cautions.find_cautions(
            e.from_config("production-eu", {"environment": environment}), {cautions.PASSPHRASE: ""}, root=False
        )
        assert any("empty passphrase" in words for words, _ in found) is warned

"""What had better not be is said: in the clear on a network, or encrypted with nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgvector_stacks.config import cautions
from pgvector_stacks.config.environment import ENVIRONMENTS, from_config
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import connect
from tests.conftest import FreshDatabase

EMPTY = {"PULUMI_CONFIG_PASSPHRASE": ""}


def said(stack: str, environ: dict[str, str], *, root: bool = False, **keys: str) -> str:
    found = cautions.find_cautions(from_config(stack, keys), environ, root=root)
    return "\n".join(meaning for meaning, _ in found)


def test_an_embedded_server_with_roots_files_is_told_outside_of_a_container() -> None:
    assert "its superuser reads every file of this machine" in said("local", {}, root=True)
    assert said("local", {}) == said("dev", {}, root=True) == ""
    assert not cautions.is_root_of_a_host({"container": "podman"})


def test_whose_rights_a_restore_into_another_stack_gives_is_said() -> None:
    local, dev, staging = (from_config(stack, {}) for stack in ("local", "dev", "staging"))
    superuser = "what a superuser of dev made in the database runs as a superuser of"
    assert cautions.describe_restore_into(dev, local) == (
        f"{superuser} local, and may start programs as its user on this machine"
    )
    assert cautions.describe_restore_into(dev, staging) == f"{superuser} staging"
    assert "on this machine" not in cautions.describe_restore_into(local, dev)
    assert cautions.describe_restore_into(dev, dev) == ""


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::"])
def test_a_server_in_the_clear_on_a_network_is_told(address: str) -> None:
    assert "queries and rows go over the network in clear" in said("dev", {}, bindAddress=address)
    assert said("dev", {}, bindAddress=address, tls="require") == ""


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_no_stack_as_it_comes_is_in_the_clear(stack: str) -> None:
    assert said(stack, {"PULUMI_CONFIG_PASSPHRASE": "one"}) == ""


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_the_empty_passphrase_is_told_where_it_counts(
    stack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgvector_stacks.config.environment.STACKS", tmp_path)
    file = tmp_path / f"Pulumi.{stack}.yaml"
    counts = stack in ("staging", "production")
    for text, tells in (("", counts), ("encryptionsalt: v1:x", counts), ("secretsprovider: awskms://alias/a", False)):
        file.write_text(text)
        assert ("the empty passphrase" in said(stack, EMPTY)) is tells
    file.unlink()
    assert said(stack, {}) == ""  # plain `pulumi` asks for it, or a key service has it


@pytest.mark.parametrize("content", ["", " \n"])
def test_a_file_without_a_passphrase_is_told_as_the_empty_one(content: str, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(content)
    by_file = {"PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}
    assert "the empty passphrase" in said("production", by_file)
    assert said("production", by_file | {"PULUMI_CONFIG_PASSPHRASE": "one"}) == ""
    assert said("dev", by_file) == ""
    file.write_text("one\n")
    assert said("production", by_file) == ""
    assert "the empty passphrase" in said("production", by_file | EMPTY)  # which Pulumi takes before the file


def test_a_passphrase_that_comes_through_a_pipe_is_left_to_pulumi(tmp_path: Path) -> None:
    pipe = tmp_path / "passphrase"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, tmp_path / "missing", ""):
        assert said("production", {"PULUMI_CONFIG_PASSPHRASE_FILE": str(path)}) == ""


@pytest.mark.parametrize("stack", ["staging", "production"])
def test_who_came_and_what_changed_the_schema_is_logged_where_it_counts(stack: str) -> None:
    settings = from_config(stack, {}).settings
    assert {name: settings[name] for name in ("log_connections", "log_disconnections", "log_statement")} == {
        "log_connections": "on", "log_disconnections": "on", "log_statement": "ddl",
    }  # fmt: skip
    for who in ("%m", "%p", "%u", "%d", "%r", "%a"):
        assert who in str(settings["log_line_prefix"])
    assert from_config(stack, {"settings": '{"log_statement": "none"}'}).settings["log_statement"] == "none"


def test_a_password_that_is_set_leaves_nothing_in_the_log(fresh_database: FreshDatabase) -> None:
    with connect(fresh_database.admin) as admin:
        admin.execute("SET log_statement = 'ddl'")
        admin.execute("COMMENT ON ROLE app IS 'what is logged'")
        roles.set_password(admin, roles.APP, fresh_database.app_password)
        admin.execute("COMMENT ON ROLE app IS 'what is logged after it'")
        admin.execute("COMMENT ON ROLE app IS NULL")
    logged = fresh_database.server.directory.log.read_text(errors="replace")
    assert "what is logged after it" in logged
    assert "SCRAM-SHA-256$" not in logged
    assert fresh_database.app_password not in logged

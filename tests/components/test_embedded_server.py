"""The provider of the embedded server, called as the engine calls it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components import embedded_server
from components.embedded_server import EmbeddedServerProvider
from components.readiness import ReadinessProvider
from pgvector_stacks.common.errors import ServerError
from tests.components.test_providers import HIDDEN, messages, unknown


@pytest.fixture
def server(tmp_path: Path) -> dict[str, Any]:
    """Inputs as they arrive: numbers are floats, keys without a value aren't there."""
    return {
        "data": str(tmp_path / "18"),
        "major": 18.0,
        "settings": {"jit": "off"},
        "adminPassword": HIDDEN,
        "server": "running",
        "__provider": "x",
    }


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which something else listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def make_directory(props: dict[str, Any], *, port: int = 0, running: bool = False) -> Path:
    """What a data directory looks like from outside. `running`: its pid file is that of a process that works in it."""
    path = Path(props["data"])
    path.mkdir()
    (path / "PG_VERSION").write_text("18\n")
    (path / "pgstack.conf").write_text(f"port = '{port}'\n")
    if running:
        (path / "postmaster.pid").write_text(f"{os.getpid()}\n")
    return path


def test_a_server_without_a_wanted_port_is_accepted_as_it_is(server: dict[str, Any]) -> None:
    result = EmbeddedServerProvider().check({}, server)
    assert (result.inputs, messages(result)) == (server, "")


@pytest.mark.parametrize("olds", [{}, {"major": 18.0}, {"data": "/elsewhere"}, {"major": 18}])
def test_the_same_major_is_accepted(server: dict[str, Any], olds: dict[str, Any]) -> None:
    assert messages(EmbeddedServerProvider().check(olds, server)) == ""


def test_an_earlier_major_is_refused_with_the_way_back(server: dict[str, Any]) -> None:
    result = EmbeddedServerProvider().check(server | {"major": 18.0}, server | {"major": 16.0})
    assert messages(result) == (
        "pgvector:postgresVersion: this stack's data is PostgreSQL 18's, the file says 16: no upgrade goes back\n"
        "  set it to 18 again\n"
        "  or, to the state before the upgrade, while it is kept:  pgstack upgrade rollback STACK"
    )


def test_a_later_major_is_refused_where_there_is_no_data_to_upgrade(server: dict[str, Any]) -> None:
    result = EmbeddedServerProvider().check(server | {"major": 16.0}, server | {"major": 18.0})
    assert "there is no data of PostgreSQL 16" in messages(result)


@pytest.mark.parametrize("olds", [{}, {"backupKeep": 7.0, "backupCopy": "ssh://there/copies"}])
def test_what_counts_for_an_upgrade_alone_is_no_change_without_one(
    server: dict[str, Any], olds: dict[str, Any]
) -> None:
    """Neither in a state from before it was there, nor with another value."""
    news = server | {"backupKeep": 3.0}
    assert EmbeddedServerProvider().check({}, news).inputs == server
    assert EmbeddedServerProvider().check(server | olds, news).inputs == server | olds
    ready = {"image": "sha256:1", "name": "dev", "__provider": "x"}
    news = ready | {"stack": "dev", "upgradeBackup": True, "backupKeep": 3.0}
    assert ReadinessProvider().check({}, news).inputs == news
    assert ReadinessProvider().check(ready | olds, news).inputs == ready | olds
    for image in ("sha256:2", unknown()):
        assert ReadinessProvider().check(ready | olds, news | {"image": image}).inputs == news | {"image": image}


def test_a_port_that_is_taken_is_refused_before_the_server_is_touched(server: dict[str, Any], taken: int) -> None:
    result = EmbeddedServerProvider().check({}, server | {"wantedPort": float(taken)})
    said = messages(result)
    assert said.startswith(f"pgvector:port = {taken}: something else listens on it")
    assert f"ss -ltnp 'sport = :{taken}'" in said
    assert not Path(server["data"]).exists()


def test_a_free_port_is_accepted(server: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert messages(EmbeddedServerProvider().check({}, server | {"wantedPort": float(port)})) == ""


def test_a_port_our_own_server_listens_on_is_accepted(
    server: dict[str, Any], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_directory(server, port=taken, running=True))
    provider = EmbeddedServerProvider()
    assert messages(provider.check(server, server | {"wantedPort": float(taken)})) == ""
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "something else" in messages(
            provider.check(server, server | {"wantedPort": float(other.getsockname()[1])})
        )


def test_a_taken_port_is_told_in_the_first_preview_too_when_the_password_is_unknown(
    server: dict[str, Any], taken: int
) -> None:
    news = server | {"wantedPort": float(taken), "adminPassword": unknown()}
    assert "something else listens on it" in messages(EmbeddedServerProvider().check({}, news))


def test_a_data_directory_that_is_gone_makes_it_a_new_server(server: dict[str, Any]) -> None:
    found = EmbeddedServerProvider().read("7", server)
    assert (found.id, found.outs) == (None, {})


@pytest.mark.parametrize("running", [True, False])
def test_a_server_that_is_down_shows_as_a_difference(
    server: dict[str, Any], running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_directory(server, running=running))
    outs = server | {"host": "127.0.0.1", "port": 54321.0, "version": "18.1", "identity": "7/18.1/ab"}
    found = EmbeddedServerProvider().read("7", outs)
    del outs["__provider"]  # the SDK's, which puts it back
    state = "running" if running else "stopped"
    assert (found.id, found.outs) == ("7", outs | {"server": state})
    assert found.inputs == {key: value for key, value in server.items() if key != "__provider"} | {"server": state}


def test_deleting_a_server_that_never_was_does_nothing(server: dict[str, Any]) -> None:
    EmbeddedServerProvider().delete("7", server)
    assert not Path(server["data"]).exists()


@pytest.mark.promise("Taking a server out of a stack keeps its data")
def test_deleting_a_server_keeps_its_data(server: dict[str, Any]) -> None:
    path = make_directory(server)
    before = sorted(path.iterdir())
    EmbeddedServerProvider().delete("7", server)
    assert sorted(path.iterdir()) == before


def test_a_renamed_stack_is_refused_as_long_as_its_data_is_at_the_former_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_server, "ROOT", tmp_path)
    olds, news = (
        embedded_server.DirectoryProps.from_props({"data": f".data/{stack}/18", "major": 18.0})
        for stack in ("local", "dev")
    )
    embedded_server._check_place(olds, news)  # no data, nothing to leave behind
    (tmp_path / ".data/local/18").mkdir(parents=True)
    (tmp_path / ".data/local/18/PG_VERSION").write_text("18\n")
    with pytest.raises(ServerError) as raised:
        embedded_server._check_place(olds, news)
    assert "this stack's data is in .data/local, as the stack's name was" in str(raised.value)
    assert "pgstack down dev;  mv .data/local .data/dev;  pgstack up dev" in str(raised.value)
    (tmp_path / ".data/local").rename(tmp_path / ".data/dev")
    embedded_server._check_place(olds, news)

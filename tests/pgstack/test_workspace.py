"""`pgstack` and plain `pulumi` see the same stack, and nobody's own backend, passphrase or lock is taken away."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pulumi.automation as auto
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvector_stacks.automation import provider_process
from pgvector_stacks.automation import workspace as w
from pgvector_stacks.automation.toolchain import Toolchain
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config import environment
from pgvector_stacks.config.environment import ENVIRONMENTS, ConfigError

HERE = Path("/check out")
OWN = w.Backend(own=True, url="file:///check out")
USERS = w.Backend(own=False, url=None)


def tools(*places: str) -> Toolchain:
    path = Path(places[0])
    return Toolchain(path / "pulumi", "3.259.0", "path", tuple(map(Path, places)), False, "note")


# the backend


@pytest.mark.parametrize(
    ("stack", "environ", "logged_in", "backend"),
    [
        ("local", {}, False, OWN),
        ("local", {}, True, OWN),
        ("production", {}, False, OWN),
        ("production", {}, True, USERS),
        ("local", {"PULUMI_BACKEND_URL": "s3://bucket"}, False, USERS),
        ("production", {"PULUMI_BACKEND_URL": "s3://bucket"}, True, USERS),
        ("dev", {"PULUMI_BACKEND_URL": ""}, False, OWN),
    ],
)
def test_a_backend_that_is_named_is_used_and_local_stays_in_the_checkout(
    stack: str, environ: dict[str, str], logged_in: bool, backend: w.Backend
) -> None:
    assert w.choose_backend(stack, environ, logged_in, HERE) == backend


@pytest.mark.parametrize(
    ("credentials", "logged_in"),
    [('{"current": "s3://bucket"}', True), ('{"current": ""}', False), ("{}", False), ("{", False), (None, False)],
)
def test_a_login_is_found_where_pulumi_keeps_it(tmp_path: Path, credentials: str | None, logged_in: bool) -> None:
    if credentials is not None:
        (tmp_path / "credentials.json").write_text(credentials)
    assert w.is_logged_in({"PULUMI_HOME": str(tmp_path)}) is logged_in


# what plain pulumi needs


def test_the_checkouts_own_backend_needs_no_passphrase() -> None:
    found = w.build_environment(OWN, tools("/t"), "/venv/bin/python", {"PATH": "/bin"})
    assert found == {
        "PATH": f"/t{os.pathsep}/bin",
        "PULUMI_PYTHON_CMD": "/venv/bin/python",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_BACKEND_URL": "file:///check out",
        "PULUMI_CONFIG_PASSPHRASE": "",
    }


@pytest.mark.parametrize("name", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
@pytest.mark.parametrize("backend", [OWN, USERS])
def test_a_passphrase_of_the_users_stays(name: str, backend: w.Backend) -> None:
    found = w.build_environment(backend, tools("/t"), "python", {name: "mine"})
    assert not any("PASSPHRASE" in key for key in found)


def test_the_users_backend_is_left_to_pulumi() -> None:
    found = w.build_environment(USERS, tools("/t"), "python", {"PULUMI_BACKEND_URL": "s3://bucket"})
    assert found.keys() == {"PATH", "PULUMI_PYTHON_CMD", "PULUMI_SKIP_UPDATE_CHECK"}


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["/a", "/b", "/c"]), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from(["/a", "/b", "/bin", "/c", ""]), max_size=5),
)
def test_the_tools_are_on_path_once_and_nothing_is_lost_from_it(places: list[str], path: list[str]) -> None:
    known = os.pathsep.join(path)
    found = w.build_environment(USERS, tools(*places), "python", {"PATH": known})["PATH"]
    assert found == known or found.endswith(os.pathsep + known)
    entries = found.split(os.pathsep)
    assert set(places) <= set(entries)
    assert entries == w.build_environment(USERS, tools(*places), "python", {"PATH": found})["PATH"].split(os.pathsep)


# a workspace


@pytest.fixture
def own_environ(tmp_path: Path) -> Iterator[None]:
    """The process's environment may be changed; it is put back. Nobody is logged in."""
    before = dict(os.environ)
    for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
        os.environ.pop(name, None)
    os.environ["PULUMI_HOME"] = str(tmp_path)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("own_environ")
def test_a_workspace_of_no_environment_is_refused_before_anything_is_touched() -> None:
    before = dict(os.environ)
    with pytest.raises(ConfigError, match='did you mean "staging"'):
        w.Workspace("stagin", tools("/t"), pytest.fail)
    assert dict(os.environ) == before


@pytest.mark.usefixtures("own_environ")
@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_the_sdk_gets_what_plain_pulumi_is_told(stack: str) -> None:
    workspace = w.Workspace(stack, tools("/t"), pytest.fail)
    assert os.environ.items() >= workspace.variables.items()
    assert Path(workspace.variables["PULUMI_PYTHON_CMD"]).parent == Path(sys.executable).parent
    assert workspace.backend.own


@pytest.mark.usefixtures("own_environ")
def test_a_passphrase_for_other_stacks_does_not_lock_local_out() -> None:
    os.environ.update(PULUMI_CONFIG_PASSPHRASE_FILE="/my/passphrase")
    local = w.Workspace("local", tools("/t"), pytest.fail)
    assert local.variables["PULUMI_CONFIG_PASSPHRASE"] == ""
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in os.environ


@pytest.mark.usefixtures("own_environ")
def test_the_environment_decides_on_backend_and_passphrase_and_the_last_part_is_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "STACKS", tmp_path)
    for stack, belongs in (("alice", "local"), ("pr-1", "test")):
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(f"config:\n  pgvector:environment: {belongs}\n")
    (tmp_path / "credentials.json").write_text('{"current": "https://api.pulumi.com"}')
    os.environ.update(PULUMI_CONFIG_PASSPHRASE="mine")
    assert not w.Workspace("org/pgvector/pr-1", tools("/t"), pytest.fail).backend.own
    assert [os.environ["PULUMI_CONFIG_PASSPHRASE"]] == ["mine"]
    alice = w.Workspace("organization/pgvector/alice", tools("/t"), pytest.fail)
    assert (alice.backend.own, alice.name, alice.short_name) == (True, "organization/pgvector/alice", "alice")
    assert os.environ["PULUMI_CONFIG_PASSPHRASE"] == ""


@pytest.mark.usefixtures("own_environ")
def test_on_a_backend_of_the_users_local_has_the_users_passphrase_too() -> None:
    os.environ.update(PULUMI_BACKEND_URL="file:///elsewhere", PULUMI_CONFIG_PASSPHRASE="mine")
    w.Workspace("local", tools("/t"), pytest.fail)
    assert (os.environ["PULUMI_BACKEND_URL"], os.environ["PULUMI_CONFIG_PASSPHRASE"]) == ("file:///elsewhere", "mine")


@pytest.mark.usefixtures("own_environ")
def test_the_providers_know_the_command_line_they_leave_with() -> None:
    w.Workspace("local", tools("/t"), pytest.fail)
    assert os.environ[provider_process.COMMAND_LINE] == str(os.getpid())


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_what_env_prints_survives_the_shell(url: str) -> None:
    found = w.build_environment(w.Backend(own=True, url=url), tools("/t"), "python", {})
    assert shlex.split(f"export X={shlex.quote(found['PULUMI_BACKEND_URL'])}") == ["export", f"X={url}"]


# locks


@pytest.mark.parametrize(
    ("lock", "name", "stale"),
    [
        ({"pid": 7, "hostname": "here"}, None, True),
        ({"pid": 7, "hostname": "here"}, "bash", True),
        ({"pid": 7, "hostname": "here"}, "pulumi", False),
        ({"pid": 7, "hostname": "here"}, "pulumi-language", False),
        ({"pid": 7, "hostname": "there"}, None, False),
        ({"pid": "7", "hostname": "here"}, None, False),
        ({"pid": None, "hostname": "here"}, None, False),
        ({"pid": 7}, None, False),
        ({}, None, False),
    ],
)
def test_a_lock_is_stale_only_where_its_process_was_here_and_is_gone(
    lock: dict[str, object], name: str | None, stale: bool
) -> None:
    assert w.lock_is_stale(lock, "here", lambda process: name) is stale


def test_a_process_is_told_by_its_name() -> None:
    assert w.process_name(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        assert w.process_name(alive.pid) is not None
        alive.communicate(b"\n")
    assert w.process_name(alive.pid) is None


def test_a_killed_process_that_nobody_reaped_holds_no_lock() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as killed:
        killed.kill()
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # dead, its number still taken
        assert w.process_name(killed.pid) is None


def test_a_threads_number_is_no_process() -> None:
    thread = threading.Thread(target=(done := threading.Event()).wait)
    thread.start()
    try:
        assert thread.native_id is not None
        assert w.process_name(thread.native_id) is None
    finally:
        done.set()
        thread.join()


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the locks on `local`, in a checkout of its own."""
    monkeypatch.setattr(w, "ROOT", tmp_path)
    folder = tmp_path / ".pulumi" / "locks" / "organization" / "pgvector" / "local"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.usefixtures("own_environ")
def test_the_lock_of_a_dead_process_is_removed_with_a_line_that_says_so(locks: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    (locks / "dead.json").write_text(json.dumps({"pid": dead.pid, "hostname": socket.gethostname()}))
    (locks / "elsewhere.json").write_text(json.dumps({"pid": dead.pid, "hostname": "elsewhere"}))
    (locks / "half.json").write_text("{")
    said: list[str] = []
    w.Workspace("local", tools("/t"), said.append)._remove_stale_lock()
    assert sorted(path.name for path in locks.iterdir()) == ["elsewhere.json", "half.json"]
    assert said == [f"removed the lock of local that process {dead.pid}, now dead, left behind"]


@pytest.mark.usefixtures("own_environ")
def test_attributes_that_a_killed_engine_left_empty_are_removed(locks: Path) -> None:
    stacks = locks.parents[3] / "stacks"
    stacks.mkdir()
    (stacks / "local.json.attrs").touch()
    (locks / "held.json.attrs").touch()
    (stacks / "dev.json.attrs").write_text("{}")
    (stacks / "local.json").touch()
    w.Workspace("local", tools("/t"), pytest.fail)
    assert sorted(file.name for file in stacks.iterdir()) == ["dev.json.attrs", "local.json"]
    assert list(locks.iterdir()) == []


@pytest.mark.usefixtures("own_environ")
def test_in_a_backend_of_the_users_no_lock_is_touched(locks: Path) -> None:
    os.environ["PULUMI_BACKEND_URL"] = "file:///elsewhere"
    (locks / "dead.json").write_text(json.dumps({"pid": 2**22 + 1, "hostname": socket.gethostname()}))
    w.Workspace("local", tools("/t"), pytest.fail)._remove_stale_lock()
    assert [path.name for path in locks.iterdir()] == ["dead.json"]


# what the engine said


def test_a_failed_command_is_told_in_the_engines_words_without_the_frame() -> None:
    said = " code: 255\n stdout: \n stderr: error: no stack named 'dev' found\n"
    assert w.explain(f"{said}\nerror: could not read it\n  because of this\n") == (
        "no stack named 'dev' found\ncould not read it\n  because of this"
    )


def test_a_failed_command_without_an_error_line_is_told_whole() -> None:
    assert w.explain("code: 1\n\nkilled\n") == "code: 1\nkilled"
    assert w.explain("") == ""


def test_a_wrong_passphrase_is_told_with_both_ways_out() -> None:
    told = w.explain("error: could not create stack: incorrect passphrase")
    assert told.startswith("could not create stack: incorrect passphrase\n")
    assert "set PULUMI_CONFIG_PASSPHRASE" in told
    assert "remove `encryptionsalt` from stacks/Pulumi.local.yaml" in told


@settings(deadline=None)
@given(st.text())
def test_whatever_the_engine_says_is_explained_in_lines_that_say_something(said: str) -> None:
    assert all(line.strip() for line in w.explain(f"error: it failed\n{said}").splitlines())


PULUMI = """#!/bin/sh
echo "$@" >>"$0.calls"
echo '{"version": 3, "deployment": {"resources": [{"urn": "u"}]}}'
"""


@pytest.mark.usefixtures("own_environ")
def test_the_state_takes_one_process_of_pulumi(tmp_path: Path) -> None:
    pulumi = tmp_path / "pulumi"
    pulumi.write_text(PULUMI)
    pulumi.chmod(0o700)
    assert w.Workspace("local", tools(str(tmp_path)), pytest.fail).state() == {"resources": [{"urn": "u"}]}
    calls = (tmp_path / "pulumi.calls").read_text().splitlines()
    assert calls == ["--non-interactive stack export --show-secrets --stack local"]


@pytest.mark.usefixtures("own_environ")
@pytest.mark.parametrize(
    ("said", "told"),
    [("error: no stack named 'local' found", "create it:  pgstack up local"), ("error: incorrect passphrase", "salt")],
)
def test_a_state_that_can_t_be_had_is_told_in_words(tmp_path: Path, said: str, told: str) -> None:
    pulumi = tmp_path / "pulumi"
    pulumi.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 255\n')
    pulumi.chmod(0o700)
    with pytest.raises(PgstackError, match=told):
        w.Workspace("local", tools(str(tmp_path)), pytest.fail).state()


# the summary of an operation


def written(history: Path, number: int, **fields: object) -> Path:
    """What Pulumi's own backend writes after an operation."""
    history.mkdir(parents=True, exist_ok=True)
    file = history / f"pr-123-{number}.history.json"
    told = {"kind": "update", "startTime": 1795890801, "message": "", "environment": {}, "config": {}, "version": 0,
            "result": "succeeded", "endTime": 1795890809, "resourceChanges": {"create": 8}}  # fmt: skip
    file.write_text(json.dumps(told | fields))
    return file


@given(st.lists(st.integers(1, 10**19), min_size=1, unique=True))
def test_the_last_operation_has_the_largest_number(numbers: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        history = Path(folder)
        (history / "pr-123-9.checkpoint.json").touch()
        (history / "pr-123-x.history.json").touch()
        for number in numbers:
            written(history, number)
        found = w.find_last_operation(history)
        assert found is not None
        assert found.name == f"pr-123-{max(numbers)}.history.json"


def test_a_summary_is_read_from_the_file_that_the_operation_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there is no new one, or none that can be read, Pulumi is asked."""
    monkeypatch.setattr(auto.Stack, "info", lambda *_: None)
    written(tmp_path, 1, result="failed")
    workspace = w.LocalWorkspace.__new__(w.LocalWorkspace)
    stack = w.Stack("pr-123", workspace, tmp_path)
    assert stack.info() is None
    new = written(tmp_path, 2, resourceChanges=None)
    found = stack.info()
    assert isinstance(found, auto.UpdateSummary)
    assert (found.kind, found.result, found.resource_changes) == ("update", "succeeded", None)
    for damaged in ("", "[]", "{}", new.read_text().replace("1795890809", '"soon"')):
        new.write_text(damaged)
        assert stack.info() is None

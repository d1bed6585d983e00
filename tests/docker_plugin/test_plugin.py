"""What the recordings don't show: refusals, names, grace, and what becomes of the plugin without its engine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import psutil
import pytest

from tests.docker_plugin.calls import Failed, RunningPlugin
from tests.docker_plugin.conftest import PREFIX
from tests.docker_plugin.container_spec import nano_cpus
from tests.docker_plugin.fields import Values
from tests.docker_plugin.resource_container import cpus
from tests.lacking import lacking

SEED = "AVgJqp6ks2b6EBMUvI6M8yZsafleUDr6EC6HSxLQulY="
CONTAINER = "urn:pulumi:dev::test::docker:index/container:Container::server"
VOLUME = "urn:pulumi:dev::test::docker:index/volume:Volume::data"
# ends at no signal but SIGKILL
STUBBORN = ["sh", "-c", "trap '' INT TERM; while :; do sleep 0.1; done"]


def check(plugin: RunningPlugin, urn: str, news: Values, **more: object) -> Values:
    return plugin.call("Check", {"urn": urn, "olds": {}, "news": news, "randomSeed": SEED, **more})


def failures(answer: Values) -> list[str]:
    return [failure["reason"] for failure in answer.get("failures", [])]


@pytest.mark.parametrize(
    ("news", "reason"),
    [
        ({"pidsLimit": 100}, "Invalid or unknown key. Examine values at 'server.pidsLimit'."),
        (
            {"ports": [{"internal": 1, "extern": 2}]},
            "Invalid or unknown key. Examine values at 'server.ports[0].extern'.",
        ),
        ({"gpus": "all"}, "The stand-in plugin does not cover this field. Examine values at 'server.gpus'."),
        ({"restart": "maybe"}, "doesn't match the pattern '^(no|on-failure|always|unless-stopped)$'"),
        ({"memory": -1}, "'-1' cannot be lower than 0"),
        ({"ports": [{"external": 1}]}, 'The argument "ports.0.internal" is required'),
    ],
)
def test_what_it_does_not_know_is_refused_by_name(plugin: RunningPlugin, news: Values, reason: str) -> None:
    found = failures(check(plugin, CONTAINER, {"image": "a"} | news))
    assert len(found) == 1
    assert reason in found[0]


def test_a_resource_without_a_name_gets_one_and_keeps_it(plugin: RunningPlugin) -> None:
    first = check(plugin, VOLUME, {})["inputs"]
    assert first["name"].startswith("data-")
    assert len(first["name"]) == len("data-") + 7
    assert check(plugin, VOLUME, {})["inputs"] == first, "the same seed gives the same name"
    later = plugin.call("Check", {"urn": VOLUME, "olds": first, "news": {}, "randomSeed": "AAAA"})
    assert later["inputs"] == first
    fixed = check(plugin, VOLUME, {}, autonaming={"proposedName": "fixed", "mode": "ENFORCE"})
    assert fixed["inputs"]["name"] == "fixed"
    with pytest.raises(Failed, match="automatic naming is disabled but no explicit name was provided"):
        check(plugin, VOLUME, {}, autonaming={"mode": "DISABLE"})


def test_another_resource_of_the_real_plugin_is_refused_by_name(plugin: RunningPlugin) -> None:
    with pytest.raises(Failed, match="the stand-in plugin does not cover docker:index/tag:Tag"):
        check(plugin, "urn:pulumi:dev::test::docker:index/tag:Tag::x", {})


@pytest.mark.parametrize("args", [{"host": "unix:///nowhere/docker.sock"}, {"host": "tcp://127.0.0.1:1"}])
def test_without_a_docker_engine_configure_fails(plugin: RunningPlugin, args: Values) -> None:
    with pytest.raises(Failed, match=r"unexpected error from Configure: failed to connect to any docker daemon$"):
        plugin.call("Configure", {"args": args | {"disableDockerDaemonCheck": "true"}})


def test_it_leaves_when_the_engine_is_killed(executable: Path) -> None:
    starter = "import subprocess, sys, time\nsubprocess.Popen(sys.argv[1:])\ntime.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", starter, str(executable), "127.0.0.1:1"], stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdout is not None
        assert int(engine.stdout.readline())
        (child,) = psutil.Process(engine.pid).children()
        engine.send_signal(signal.SIGKILL)
    assert psutil.wait_procs([child], timeout=10)[1] == []


# on a Docker Engine


def test_a_host_behind_ssh_is_reached_with_the_options_given(
    executable: Path, engine: docker.APIClient, tmp_path: Path
) -> None:
    if shutil.which("docker") is None:
        lacking("no Docker client, which is what answers behind ssh")
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\nexec docker system dial-stdio\n')
    ssh.chmod(0o755)
    environ = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    name = f"{PREFIX}-behind"
    with RunningPlugin(executable, environ) as plugin:
        plugin.call("Configure", {"args": {"host": "ssh://me@far:2222", "sshOpts": '["-o","BatchMode=yes"]'}})
        plugin.call("Create", {"urn": VOLUME, "properties": {"name": name}})
        assert engine.inspect_volume(name)["Name"] == name
        plugin.call("Delete", {"urn": VOLUME, "id": name, "properties": {}})
    asked = set((tmp_path / "asked").read_text().splitlines())
    assert asked == {"-o BatchMode=yes -l me -p 2222 -T -- far docker system dial-stdio"}


def test_a_host_behind_ssh_that_is_not_reached_is_named(executable: Path, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho no such host >&2\nexit 255\n")
    ssh.chmod(0o755)
    environ = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    with RunningPlugin(executable, environ) as plugin:
        plugin.call("Configure", {"args": {"host": "ssh://far"}})
        with pytest.raises(Failed, match=r"please make sure that ssh://far is reachable.*stderr=.*no such host"):
            plugin.call("Create", {"urn": VOLUME, "properties": {"name": "x"}})


class Container:
    """One container made through the plugin."""

    def __init__(self, plugin: RunningPlugin, news: Values) -> None:
        self.plugin = plugin
        self.inputs = check(plugin, CONTAINER, news)["inputs"]
        made = plugin.call("Create", {"urn": CONTAINER, "properties": self.inputs})
        self.id, self.state = made["id"], made["properties"]

    def delete(self) -> float:
        """How long it took, in seconds."""
        began = time.monotonic()
        self.plugin.call("Delete", {"urn": CONTAINER, "id": self.id, "properties": self.state})
        return time.monotonic() - began


@pytest.fixture
def made(plugin: RunningPlugin, engine: docker.APIClient, image: str) -> Iterator[Values]:
    plugin.call("Configure", {"args": {}})
    yield {"image": image, "name": f"{PREFIX}-one", "command": STUBBORN}
    for left in engine.containers(all=True, filters={"name": f"{PREFIX}-one"}):
        engine.remove_container(left["Id"], v=True, force=True)


def test_without_a_grace_it_is_killed_at_once(plugin: RunningPlugin, made: Values) -> None:
    assert Container(plugin, made | {"stopTimeout": 60}).delete() < 5


def test_with_a_grace_it_is_stopped_first(plugin: RunningPlugin, made: Values) -> None:
    assert 2 <= Container(plugin, made | {"destroyGraceSeconds": 2}).delete() < 15


@pytest.mark.parametrize("removed", [True, False])
def test_an_anonymous_volume_goes_with_it_unless_told_otherwise(
    plugin: RunningPlugin, engine: docker.APIClient, made: Values, removed: bool
) -> None:
    news = made | {"volumes": [{"containerPath": "/v"}]} | ({} if removed else {"removeVolumes": False})
    container = Container(plugin, news)
    (mount,) = engine.inspect_container(container.id)["Mounts"]
    container.delete()
    left = [one["Name"] for one in engine.volumes()["Volumes"] or [] if one["Name"] == mount["Name"]]
    assert left == ([] if removed else [mount["Name"]])
    for name in left:
        engine.remove_volume(name)


def test_one_that_failed_to_start_is_kept_in_the_state(plugin: RunningPlugin, made: Values) -> None:
    inputs = check(plugin, CONTAINER, made | {"command": ["no-such-program"], "entrypoints": ["/nowhere"]})["inputs"]
    with pytest.raises(Failed, match="Unable to start container") as failed:
        plugin.call("Create", {"urn": CONTAINER, "properties": inputs})
    assert len(failed.value.kept["id"]) == 64
    assert failed.value.kept["properties"]["name"] == made["name"]
    plugin.call("Delete", {"urn": CONTAINER, "id": failed.value.kept["id"], "properties": inputs})


def test_an_upload_is_in_the_container_before_it_starts(plugin: RunningPlugin, made: Values) -> None:
    upload = {"file": "/etc/answer", "content": "42", "permissions": "0600"}
    told = {"command": ["sh", "-c", "read x </etc/answer; echo $x"], "attach": True, "logs": True, "mustRun": False}
    container = Container(plugin, made | {"uploads": [upload]} | told)
    assert container.state["containerLogs"] == "42\n"
    container.delete()


def test_an_upload_into_a_read_only_container_fails(plugin: RunningPlugin, made: Values) -> None:
    with pytest.raises(Failed, match=r"Unable to upload volume content: .* marked read-only"):
        Container(plugin, made | {"readOnly": True, "uploads": [{"file": "/etc/x", "content": "x"}]})


def test_the_fields_of_a_hardened_server_reach_the_engine(
    plugin: RunningPlugin, engine: docker.APIClient, made: Values
) -> None:
    container = Container(
        plugin,
        made
        | {
            "command": ["postgres"],
            "user": "postgres",
            "readOnly": True,
            "capabilities": {"drops": ["ALL"]},
            "securityOpts": ["no-new-privileges"],
            "mounts": [{"target": "/t", "type": "tmpfs", "tmpfsOptions": {"sizeBytes": 65536, "mode": 0o1777}}],
            "tmpfs": {"/tmp": "rw,noexec,nosuid,size=1m"},
            "memory": 64,
            "memorySwap": 64,
            "shmSize": 16,
            "cpus": "0.5",
            "ulimits": [{"name": "nofile", "soft": 1024, "hard": 2048}],
            "healthcheck": {"tests": ["CMD", "true"], "interval": "1m30s", "startPeriod": "500ms"},
        },
    )
    found = engine.inspect_container(container.id)
    host = found["HostConfig"]
    assert found["Config"]["User"] == "postgres"
    assert found["Config"]["Healthcheck"]["Interval"] == 90 * 10**9
    assert found["Config"]["Healthcheck"]["StartPeriod"] == 5 * 10**8
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges"])
    assert host["Mounts"][0]["TmpfsOptions"] == {"SizeBytes": 65536, "Mode": 0o1777}
    assert host["Tmpfs"] == {"/tmp": "rw,noexec,nosuid,size=1m"}
    assert (host["Memory"], host["MemorySwap"], host["ShmSize"]) == (64 << 20, 64 << 20, 16 << 20)
    assert host["NanoCpus"] == 5 * 10**8
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 1024, "Hard": 2048}]
    answer = plugin.call(
        "Diff", {"urn": CONTAINER, "id": container.id, "olds": container.state, "news": container.inputs}
    )
    assert answer["changes"] == "DIFF_NONE"
    container.delete()


@pytest.mark.parametrize(("given", "seen"), [("2", "2.0"), ("1.5", "1.5"), ("0.5", "0.5"), ("10", "10.")])
def test_cpus_are_read_back_as_the_real_plugin_spells_them(given: str, seen: str) -> None:
    assert cpus(nano_cpus(given)) == seen


def test_it_ends_in_silence_when_the_engine_says_so(executable: Path) -> None:
    """The engine prints what a plugin said at its end, where that came unexpectedly."""
    process = subprocess.Popen([executable, "127.0.0.1:1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdigit()
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=60)
    assert (said, complained, process.returncode) == (b"", b"", -signal.SIGINT)

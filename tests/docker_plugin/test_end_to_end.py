"""A real Pulumi with the plugin: create, unchanged, in place, replaced, stopped, gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pulumi
import pulumi.automation as auto
import pulumi_docker
import pytest

from pgvector_stacks.automation.toolchain import find_or_get
from tests.docker_plugin.conftest import PREFIX
from tests.docker_plugin.install import Installed

pytestmark = pytest.mark.engine
NAME = f"{PREFIX}-e2e"
HIDDEN = "hunter2-in-the-environment"


def declare(image: str, memory: int, command: list[str]) -> Callable[[], None]:
    def program() -> None:
        held = pulumi_docker.RemoteImage("image", name=image, keep_locally=True)
        volume = pulumi_docker.Volume("data", name=NAME)
        network = pulumi_docker.Network("network", name=NAME)
        server = pulumi_docker.Container(
            "server",
            name=NAME,
            image=held.image_id,
            command=command,
            memory=memory,
            memory_swap=memory,
            envs=[pulumi.Output.secret(f"PASSWORD={HIDDEN}")],
            mounts=[pulumi_docker.ContainerMountArgs(target="/d", source=volume.name, type="volume")],
            networks_advanced=[pulumi_docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=["db"])],
            ports=[pulumi_docker.ContainerPortArgs(internal=5432, ip="127.0.0.1")],
            destroy_grace_seconds=20,
        )
        pulumi.export("id", server.id)
        pulumi.export("envs", server.envs)

    return program


@pytest.fixture
def stack(
    tmp_path: Path, docker_plugin: Installed, engine: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[auto.Stack]:
    """In a backend of its own, destroyed at the end."""
    (tmp_path / "Pulumi.yaml").write_text("name: test\nruntime: python\n")
    path = os.pathsep.join([*map(str, find_or_get(lambda _: None).path_dirs), os.environ["PATH"]])
    variables = {
        "PATH": path,
        "PULUMI_BACKEND_URL": f"file://{tmp_path}",
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_PYTHON_CMD": sys.executable,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        **docker_plugin.variables(),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stack = auto.create_stack(
        "dev",
        project_name="test",
        program=lambda: None,
        opts=auto.LocalWorkspaceOptions(work_dir=str(tmp_path), env_vars=variables),
    )
    try:
        yield stack
    finally:
        stack.destroy()


def up(stack: auto.Stack, program: Callable[[], None]) -> dict[str, int]:
    """How many resources are created, updated, replaced; those that stay the same aren't counted."""
    summary = stack.up(program=program).summary.resource_changes or {}
    return {str(getattr(kind, "value", kind)): count for kind, count in summary.items() if "same" not in str(kind)}


def test_a_stack_lives_through_its_changes(
    stack: auto.Stack, engine: docker.APIClient, image: str, tmp_path: Path
) -> None:
    sleeping = ["postgres"]
    assert up(stack, declare(image, 32, sleeping)) == {"create": 5}
    first = stack.outputs()["id"].value
    assert up(stack, declare(image, 32, sleeping)) == {}
    assert up(stack, declare(image, 48, sleeping)) == {"update": 1}
    assert engine.inspect_container(first)["HostConfig"]["Memory"] == 48 << 20
    assert up(stack, declare(image, 48, ["postgres", "again"])) == {"replace": 1}
    second = stack.outputs()["id"].value
    assert second != first
    assert [one["Id"] for one in engine.containers(all=True, filters={"name": NAME})] == [second]

    stack.refresh()
    assert up(stack, declare(image, 48, ["postgres", "again"])) == {}, "nothing changes by a refresh"
    engine.stop(second)
    stack.refresh()
    assert up(stack, declare(image, 48, ["postgres", "again"])) == {"replace": 1}

    assert stack.outputs()["envs"].secret
    state = (tmp_path / ".pulumi" / "stacks" / "test" / "dev.json").read_text()
    assert HIDDEN not in state
    stack.destroy()
    assert not engine.containers(all=True, filters={"name": NAME})
    assert not engine.volumes(filters={"name": NAME})["Volumes"]
    assert not engine.networks(filters={"name": NAME})

"""What runs beside the server is as hardened as the server: a throw-away container, as its kernel sees it."""

from __future__ import annotations

from collections.abc import Callable

import docker
import pytest

from pgvector_stacks.docker.docker_host import open_throw_away, run_to_end
from tests.docker.conftest import PG17
from tests.docker.conftest import docker_engine as docker_engine
from tests.docker.conftest import image as image

pytestmark = pytest.mark.docker
ROOTS = 0b11011  # CHOWN, DAC_OVERRIDE, FOWNER, FSETID: bits 0, 1, 3 and 4 of linux/capability.h


@pytest.mark.parametrize(("user", "most"), [("postgres", 0), ("root", ROOTS)])
def test_a_throw_away_container_has_no_power_it_does_not_need(
    docker_engine: docker.DockerClient, image: Callable[[str], str], user: str, most: int
) -> None:
    command = ["grep", "-E", "^(CapEff|CapBnd|NoNewPrivs):", "/proc/self/status"]
    with open_throw_away(
        docker_engine, "pgstack-test-hardened", image(PG17), command, user=user, network_mode="none"
    ) as container:  # fmt: skip
        said = run_to_end(container).output
        limit = container.attrs["HostConfig"]["PidsLimit"]
    seen = dict(line.split(":\t") for line in said.splitlines() if ":" in line)
    assert int(seen["CapEff"], 16) == most
    assert int(seen["CapBnd"], 16) == most
    assert seen["NoNewPrivs"] == "1"
    assert 0 < limit <= 1024

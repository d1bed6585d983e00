"""Looks at each throw-away container the moment it is made, as somebody does who waits for a weak one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import docker
from docker.errors import APIError

from pgvector_stacks.docker.docker_host import ROLE_LABEL, ROOT_CAPABILITIES

GIVEN = {*ROOT_CAPABILITIES, "SETUID", "SETGID"}  # the last two where a schedule is installed
MARK = "pgstack-test-seen-all"


def weaknesses(found: dict[str, Any], network: str) -> list[str]:
    """What a container can do that it needn't. `found`: as the engine has it; `network`: the stack's own."""
    host = found["HostConfig"]
    right = {
        "all capabilities dropped": host["CapDrop"] == ["ALL"],
        "few of root's given back": {word.removeprefix("CAP_") for word in host["CapAdd"] or []} <= GIVEN,
        "none for another user": not host["CapAdd"] or found["Config"]["User"] == "root",
        "no new privileges": "no-new-privileges:true" in (host["SecurityOpt"] or []),
        "few processes": 0 < (host["PidsLimit"] or 0) <= 1024,
        "limited memory": 0 < host["Memory"] == host["MemorySwap"],
        "read-only root": host["ReadonlyRootfs"],
        "no network but the stack's": host["NetworkMode"] in ("none", network),
        "no mode of the host's": not host["Privileged"] and not {host["PidMode"], host["IpcMode"]} & {"host"},
    }
    return [f"{found['Name']}: {what}" for what, holds in right.items() if not holds]


@dataclass
class Seen:
    """`containers` as the engine had them; `made`: how many there were, some gone before they were looked at."""

    containers: list[dict[str, Any]] = field(default_factory=list)
    made: int = 0

    def weaknesses(self, network: str) -> list[str]:
        return [line for each in self.containers for line in weaknesses(each, network)]


@contextmanager
def throw_aways(client: docker.DockerClient, name: str) -> Iterator[Seen]:
    """Those of the stack whose container is called `name`, complete at the end."""
    seen = Seen()
    events = client.events(decode=True, filters={"type": "container", "event": ["create", "destroy"]})
    ended = threading.Event()

    def look() -> None:
        for event in events:
            attributes = event["Actor"]["Attributes"]
            if event["Action"] == "destroy":
                if attributes["name"] == f"{name}-{MARK}":
                    return ended.set()
                continue
            if attributes.get(ROLE_LABEL) == "throw-away" and attributes["name"].startswith(name):
                seen.made += 1
                with suppress(APIError):
                    seen.containers.append(client.api.inspect_container(event["id"]))
        return None

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
        image = seen.containers[0]["Config"]["Image"]
        client.containers.create(image, name=f"{name}-{MARK}").remove(v=True)
        assert ended.wait(30)
    finally:
        events.close()
        thread.join(timeout=5)

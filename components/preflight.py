"""What must hold on the Docker host, looked at in every preview: `check` runs in each, and changes nothing.

The explicit docker Provider depends on it, so that a missing engine is told here, with the remedy, and not by the
plugin.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, UpdateResult

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config import offline
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.docker import preflight, relocation
from pgvector_stacks.docker.docker_host import Endpoint, connect

from .shared.props import is_unknown
from .shared.provider import DynamicResource, Provider, as_deployed, refused


class PreflightProvider(Provider):
    """Inputs: see `wanted`, and `docker` (URL), `dockerChosenBy`, `claim`."""

    name = "preflight"

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        if offline.requested(os.environ):
            pulumi.log.warn(offline.NOT_LOOKED_AT)
            news = as_deployed(_olds, news)
            moved = _olds and relocation.refusal(place_of(_olds), place_of(news), _olds["image"], other_engine=False)
            if moved:
                pulumi.log.warn(f"an `up` refuses this where there is data: {moved}")
            return CheckResult(news, [])
        if is_unknown({key: value for key, value in news.items() if key != "claim"}):
            return CheckResult(news, [])
        try:
            examine(news, _olds)
        except PgstackError as error:
            return refused(news, error)
        return CheckResult(news, [])

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(props["name"], props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_news)


def examine(props: dict[str, Any], olds: dict[str, Any]) -> None:
    """Warn of what is worth it. Raises PgstackError with every serious finding; before them, where data would be left
    behind: what else is found there is about a place that isn't wanted.
    """
    endpoint = Endpoint(props["docker"], props["dockerChosenBy"])
    wanted = from_props(props)
    client = connect(endpoint.url, endpoint.chosen_by)
    try:
        if olds:
            was, now = place_of(olds), place_of(props)
            relocation.check(client, olds["name"], was, now, wanted.claim, (olds["image"], props["image"]))
            wanted = replace(wanted, settled=was.same_on_one_engine(now))
        found = preflight.findings(wanted, preflight.gather(client, endpoint, wanted))
    finally:
        client.close()
    for finding in found:
        if not finding.good and not finding.serious:
            pulumi.log.warn(str(finding))
    bad = [str(finding) for finding in found if not finding.good and finding.serious]
    if bad:
        raise PgstackError("\n".join(bad))


def place_of(props: dict[str, Any]) -> relocation.Place:
    """Where the data lies by these inputs."""
    adopted = props.get("adoptVolume") or ""
    return relocation.Place(props["docker"], adopted or props["name"], props.get("dataPath") or "", bool(adopted))


def from_props(props: dict[str, Any]) -> preflight.Wanted:
    claim = props.get("claim")
    return preflight.Wanted(
        name=props["name"],
        image=props["image"],
        memory_mb=int(props["memoryMb"]),
        cpus=float(props["cpus"]),
        port=int(props["port"]),
        bind_address=props["bindAddress"],
        wal_mb=int(props["walMb"]),
        claim=None if is_unknown(claim) else claim,
        data_path=props.get("dataPath"),
        adopt=props.get("adoptVolume") or "",
    )


def to_props(environment: Environment, endpoint: Endpoint, wal_mb: int) -> dict[str, Any]:
    """The same, from the environment; `claim` comes from the state."""
    return {
        "name": environment.name,
        "image": environment.image,
        "memoryMb": environment.memory_mb,
        "cpus": environment.cpus,
        "port": environment.port,
        "bindAddress": environment.bind_address,
        "walMb": wal_mb,
        "dataPath": environment.data_path,
        "adoptVolume": environment.adopt_volume,
        "docker": endpoint.url,
        "dockerChosenBy": endpoint.chosen_by,
    }


class Preflight(DynamicResource, module="pgvector", name="Preflight"):
    """It has no outputs: it refuses, or it passes."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(PreflightProvider(), name, props, opts)

"""Checks the Docker host in every preview: `check` runs in each preview and changes nothing.

The explicit docker Provider depends on this resource. So a missing Docker Engine is reported here, with the remedy, and
not by the plugin.
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

from .shared.props import Props, is_unknown
from .shared.provider import DynamicResource, Provider, build_refusal, keep_docker_host


class PlaceProps(Props):
    """The place of the data. `docker`: the Docker Engine's URL."""

    name: str
    image: str
    docker: str
    data_path: str | None = None
    adopt_volume: str = ""

    @property
    def place(self) -> relocation.DataPlace:
        return relocation.DataPlace(
            self.docker, self.adopt_volume or self.name, self.data_path or "", bool(self.adopt_volume)
        )


class PreflightProps(PlaceProps):
    """The properties that `to_props` returns, and `claim`."""

    memory_mb: int
    cpus: float
    port: int
    bind_address: str
    wal_mb: int
    docker_chosen_by: str = ""
    claim: str | None = None

    @property
    def wanted(self) -> preflight.HostNeeds:
        return preflight.HostNeeds(
            name=self.name,
            image=self.image,
            memory_mb=self.memory_mb,
            cpus=self.cpus,
            port=self.port,
            bind_address=self.bind_address,
            wal_mb=self.wal_mb,
            claim=self.claim,
            data_path=self.data_path,
            adopt=self.adopt_volume,
        )


class PreflightProvider(Provider):
    """Inputs: `PreflightProps`."""

    name = "preflight"

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        was = PlaceProps.from_props(_olds) if _olds else None
        if offline.is_offline_requested(os.environ):
            pulumi.log.warn(offline.NOT_LOOKED_AT)
            news = keep_docker_host(_olds, news)
            place = PlaceProps.from_props(news).place
            moved = was and relocation.explain_refusal(was.place, place, was.image, other_engine=False)
            if moved:
                pulumi.log.warn(f"an `up` refuses this where there is data: {moved}")
            return CheckResult(news, [])
        if is_unknown({key: value for key, value in news.items() if key != "claim"}):
            return CheckResult(news, [])
        try:
            examine(PreflightProps.from_props(news), was)
        except PgstackError as error:
            return build_refusal(news, error)
        return CheckResult(news, [])

    def create(self, props: dict[str, Any]) -> CreateResult:
        wanted = PreflightProps.from_props(props)
        return CreateResult(wanted.name, wanted.to_props())

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(PreflightProps.from_props(_news).to_props())


def examine(inputs: PreflightProps, was: PlaceProps | None) -> None:
    """Warn of the lesser findings. Raises PgstackError with every serious finding.

    Raises PgstackError before it checks anything else if data would be left behind: the other findings would be about a
    place that nobody wants.
    """
    endpoint, wanted = Endpoint(inputs.docker, inputs.docker_chosen_by), inputs.wanted
    client = connect(endpoint.url, endpoint.chosen_by)
    try:
        if was:
            images = (was.image, inputs.image)
            relocation.refuse_relocation(client, was.name, was.place, inputs.place, wanted.claim, images)
            wanted = replace(wanted, is_recorded=was.place.has_same_files(inputs.place))
        found = preflight.run_checks(wanted, preflight.gather_facts(client, endpoint, wanted))
    finally:
        client.close()
    for finding in found:
        if not finding.is_ok and not finding.serious:
            pulumi.log.warn(str(finding))
    bad = [str(finding) for finding in found if not finding.is_ok and finding.serious]
    if bad:
        raise PgstackError("\n".join(bad))


def to_props(environment: Environment, endpoint: Endpoint, wal_mb: int) -> dict[str, Any]:
    """Return the properties of `PreflightProps` from the environment, without `claim`, which comes from the state."""
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
    """The check of the Docker host as a resource. It has no outputs: the check refuses or passes."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(PreflightProvider(), name, props, opts)

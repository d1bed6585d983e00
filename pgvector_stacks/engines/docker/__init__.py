"""The Docker engine: a server in a container of an image with pgvector, on this machine or another host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgvector_stacks.common.exported_state import ExportedState
from pgvector_stacks.common.image_names import MAJORS, parse_major
from pgvector_stacks.config.engines import EngineConfig
from pgvector_stacks.docker.container_spec import ANYWHERE, PORT, published_host
from pgvector_stacks.sizing.budget import tune_for_container
from pgvector_stacks.sizing.settings import Durability, Limits

CONTAINER = "docker:index/container:Container"


def _major(version: int | None, image: str) -> int:
    """Return the major version, from the image's name or from `version`.

    Raises ValueError if they differ, or if an image's name does not tell and `version` is None.
    """
    said = parse_major(image)
    if version is None and said is None and image:
        raise ValueError(f"the name {image!r} doesn't tell the major version of its PostgreSQL: set this key")
    if version is not None and said is not None and version != said:
        raise ValueError(f"the image {image!r} is PostgreSQL {said}: leave this key out, or choose another image")
    return version or said or MAJORS[-1]


def _settings(limits: Limits, durability: Durability, given: Mapping[str, str]) -> Mapping[str, str]:
    return tune_for_container(limits, durability, given).settings


def _find_server(state: ExportedState) -> dict[str, Any] | None:
    """Find the server's properties in the state; None if there is no server.

    Host and port are those that the container publishes. How far the last `up` came decides which resource has the
    other properties.
    """
    known = [found for kind in ("Readiness", "DataDirectory") if (found := state.resource(kind)) is not None]
    published = _find_published(state)
    if published is None or not known:
        return None
    fitting = (each for each in known if published.items() <= (each | {"port": int(each.get("port") or PORT)}).items())
    server = next(fitting, known[0] | published)
    return server | {"network": str(server["name"]), "internalHost": str(server["name"])}


def _find_published(state: ExportedState) -> dict[str, Any] | None:
    """Return the host and port that the container publishes; None if the state has no container."""
    container = state.inputs(CONTAINER, "server")
    if container is None:
        return None
    (port, *_) = container.get("ports") or [{}]
    return {"host": published_host(port.get("ip") or ANYWHERE[0]), "port": int(port.get("external") or PORT)}


CONFIG = EngineConfig(
    component=".docker_server",
    major=_major,
    settings=_settings,
    find_server=_find_server,
    version_key="pgvector:image",
    is_published=True,
)

"""The embedded engine: a PostgreSQL from PyPI on this machine, with the rights of the user who runs the program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgvector_stacks.common.exported_state import ExportedState
from pgvector_stacks.config.engines import EngineConfig
from pgvector_stacks.embedded.embedded_server import VERSIONS
from pgvector_stacks.sizing.settings import Durability, Limits, derive_settings


def _major(version: int | None, _image: str) -> int:
    if version is not None and version not in VERSIONS:
        raise ValueError(f"the embedded engine has {' and '.join(map(str, VERSIONS))}")
    return version or VERSIONS[-1]


def _settings(limits: Limits, durability: Durability, _given: Mapping[str, str]) -> Mapping[str, str]:
    return derive_settings(limits, durability=durability)


def _find_server(state: ExportedState) -> dict[str, Any] | None:
    found = state.resource("EmbeddedServer")
    return found if found and found.get("host") and found.get("port") else None


CONFIG = EngineConfig(
    component=".embedded_server",
    major=_major,
    settings=_settings,
    find_server=_find_server,
    version_key="pgvector:postgresVersion",
    has_files_of_user=True,
    lacks={
        "schedule": "the embedded engine has no schedule: let cron run `pgstack backup create STACK`",
    },
)

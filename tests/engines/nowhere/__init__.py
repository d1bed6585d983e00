"""An engine that does nothing: a server that somebody runs at 127.0.0.1, pgvector:port; no upgrade, no backup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgvector_stacks.common.exported_state import ExportedState
from pgvector_stacks.config.engines import EngineConfig
from pgvector_stacks.sizing.settings import Durability, Limits


def _major(version: int | None, _image: str) -> int:
    return version or 18


def _settings(_limits: Limits, _durability: Durability, _given: Mapping[str, str]) -> Mapping[str, str]:
    return {}


def _find_server(state: ExportedState) -> dict[str, Any] | None:
    return state.resource("SqlSchema")


CONFIG = EngineConfig(
    component="tests.engines.nowhere.component",
    major=_major,
    settings=_settings,
    find_server=_find_server,
    version_key="pgvector:postgresVersion",
    lacks={
        "upgrade": "the nowhere engine has no upgrade: ask who runs the server of STACK",
        "backup": "the nowhere engine has no backup: ask who runs the server of STACK",
        "schedule": "the nowhere engine has no schedule: ask who runs the server of STACK",
    },
)

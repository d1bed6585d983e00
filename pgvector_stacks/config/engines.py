"""Lists the engines that can run a server. To add one, write a package and add a line to `REGISTRY`.

An engine's package contains `CONFIG`, which other modules need to read a stack file or a state. Every command imports
it, so its import must be fast. The package's module `operations` contains `ENGINE`, which carries out what the commands
need (engines/interface.py). `CONFIG.component` names the module that declares the server to Pulumi.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.exported_state import ExportedState
from pgvector_stacks.sizing.settings import Durability, Limits

REGISTRY: dict[str, str] = {
    "embedded": "pgvector_stacks.engines.embedded",
    "docker": "pgvector_stacks.engines.docker",
}
Ability = Literal["upgrade", "backup", "schedule"]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How an engine reads the stack file and the state."""

    # a module with the function `declare` that components/database.py calls; a leading dot: relative to components/
    component: str
    # (pgvector:postgresVersion, image) → PostgreSQL's major version; raises ValueError if they contradict each other
    major: Callable[[int | None, str], int]
    # (limits, durability, pgvector:settings) → the settings that the server is started with; raises SettingRefused
    settings: Callable[[Limits, Durability, Mapping[str, str]], Mapping[str, str]]
    # host, port, adminPassword, database, sslmode, certificate …, as far as they are known; None: there is no server
    find_server: Callable[[ExportedState], dict[str, Any] | None]
    version_key: str  # the key that decides the version
    is_published: bool = False  # its port is bound to pgvector:bindAddress, and pgvector:tls applies
    has_files_of_user: bool = False  # its server's files belong to the user that runs the program
    lacks: Mapping[Ability, str] = field(default_factory=dict)  # the reason, and what to do instead


def get_config(engine: str) -> EngineConfig:
    """Return an engine's `CONFIG`. Raises PgstackError if it isn't registered: another version's state may name it."""
    if engine not in REGISTRY:
        raise PgstackError(f"this version has no engine {engine!r}; it has {', '.join(REGISTRY)}")
    found: EngineConfig = import_module(REGISTRY[engine]).CONFIG
    return found

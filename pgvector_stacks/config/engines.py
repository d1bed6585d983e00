"""Which engines run a server. One more is a package, and a line in `REGISTRY`.

The package itself says what the rest must know of the engine to read a stack file or a state (`CONFIG`); every command
imports it, so it is light. Its module `operations` does what the commands ask (`ENGINE`, engines/interface.py), and
`CONFIG.component` names the module that declares the server to Pulumi.
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
    """What the stack file and the state mean to an engine."""

    # its function `declare`, as components/database.py calls it; a name that begins with a dot is one of components/
    component: str
    # (pgvector:postgresVersion, image) → PostgreSQL's major version; raises ValueError where they don't go together
    major: Callable[[int | None, str], int]
    # (limits, durability, pgvector:settings) → what the server is started with; raises SettingRefused
    settings: Callable[[Limits, Durability, Mapping[str, str]], Mapping[str, str]]
    # host, port, adminPassword, database, sslmode, certificate …, as far as they are known; None: no server is there
    find_server: Callable[[ExportedState], dict[str, Any] | None]
    version_key: str  # which key says what version it is
    is_published: bool = False  # its port is bound to pgvector:bindAddress, and pgvector:tls holds
    has_files_of_user: bool = False  # its server's files belong to whoever runs the program
    lacks: Mapping[Ability, str] = field(default_factory=dict)  # why, and what to do instead


def config_of(engine: str) -> EngineConfig:
    """Raises PgstackError for an engine that isn't registered, as a state of another version may name one."""
    if engine not in REGISTRY:
        raise PgstackError(f"this version has no engine {engine!r}; it has {', '.join(REGISTRY)}")
    found: EngineConfig = import_module(REGISTRY[engine]).CONFIG
    return found

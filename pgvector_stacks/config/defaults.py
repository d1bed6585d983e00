"""The five environments, and the defaults of a stack in each. A stack file holds only what differs from them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

EnvironmentName = Literal["local", "dev", "test", "staging", "production"]
ENVIRONMENTS: tuple[str, ...] = get_args(EnvironmentName)

_CHATTY = {"log_min_duration_statement": "250ms", "log_statement": "ddl", "log_connections": "on"}
_AUDITED = {
    "log_connections": "on", "log_disconnections": "on", "log_statement": "ddl", "log_lock_waits": "on",
    "log_line_prefix": "%m [%p] %u@%d %r %a ",
}  # fmt: skip
_SMALL = {"statement_timeout_s": 300, "lock_timeout_s": 2, "lock_wait_s": 30, "drift": "report", "backup_keep": 3}
_STRICT = {"statement_timeout_s": 600, "lock_timeout_s": 1, "lock_wait_s": 120, "drift": "refuse", "backup_keep": 7}
# pgvector 0.8.3 and 0.8.4 fixed that VACUUM corrupts HNSW indexes (pgvector #988, #993)
_OF_EACH: Mapping[str, Mapping[str, Any]] = {
    "local": _SMALL | {"engine": "embedded", "memory_mb": 1024, "cpus": 2, "pgvector_minimum": "0.8.0"},
    "dev": _SMALL
    | {"engine": "docker", "memory_mb": 1024, "cpus": 1, "pgvector_minimum": "0.8.0", "port": 5433}
    | {"settings": _CHATTY},
    "test": _SMALL
    | {"engine": "docker", "memory_mb": 1024, "cpus": 1, "pgvector_minimum": "0.8.0", "port": 5434}
    | {"durability": "none", "volume": "delete", "stop_grace_s": 10, "restart": "no", "upgrade_backup": False},
    "staging": _STRICT
    | {"engine": "docker", "memory_mb": 4096, "cpus": 2, "pgvector_minimum": "0.8.4", "port": 5435}
    | {"tls": "require", "settings": _AUDITED},
    "production": _STRICT
    | {"engine": "docker", "memory_mb": 16384, "cpus": 4, "pgvector_minimum": "0.8.4", "port": 5432}
    | {"tls": "require", "settings": _AUDITED, "volume": "protect", "stop_grace_s": 300, "backup_keep": 14},
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {environment: {"environment": environment, **keys} for environment, keys in _OF_EACH.items()}
)

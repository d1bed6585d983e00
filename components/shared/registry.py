"""Finds a provider by the short name that the state of a stack has for it.

A state holds a call of `provider_named` with that name. So the path of this function and the names are storage formats,
but the module of a provider's class isn't. Older states, written before these names existed, hold the paths in FORMER
(pgvector_stacks/automation/provider_guard.py): a class that moves stays importable from its path there.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from pulumi.dynamic import ResourceProvider

from pgvector_stacks.automation.provider_process import Failed

# name in the state: module and class in `components`
PROVIDERS: Mapping[str, tuple[str, str]] = {
    "backup-files": ("backup_schedule", "BackupFilesProvider"),
    "backup-key": ("backup_key", "BackupKeyProvider"),
    "backup-runs": ("backup_schedule", "BackupRunsProvider"),
    "certificate": ("certificate", "GeneratedCertificateProvider"),
    "claim": ("claim", "ClaimProvider"),
    "data-directory": ("data_directory", "DataDirectoryProvider"),
    "embedded-server": ("embedded_server", "EmbeddedServerProvider"),
    "password": ("password", "GeneratedPasswordProvider"),
    "preflight": ("preflight", "PreflightProvider"),
    "readiness": ("readiness", "ReadinessProvider"),
    "sql-schema": ("sql_schema", "SqlSchemaProvider"),
}


def provider_named(name: str) -> ResourceProvider:
    """Return the provider of this name; unpickling a state's text calls this. Raises Failed for an unknown name."""
    if name not in PROVIDERS:
        raise Failed(
            f"this stack's state has a resource of the provider {name!r}, which this version of pgvector-stacks lacks"
            "\n  use the version that made it, or a newer one"
        )
    module, kind = PROVIDERS[name]
    found: ResourceProvider = getattr(importlib.import_module(f"..{module}", __package__), kind)()
    return found

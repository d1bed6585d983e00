"""Finds a provider by the short name that states know it by.

A state holds a call of `provider_named` with that name. So this function's path and the names are storage formats;
where a provider's class lies is not. States from before names hold the paths of FORMER in
pgvector_stacks/automation/provider_guard.py: a class that moves leaves its name there behind.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from pulumi.dynamic import ResourceProvider

from pgvector_stacks.automation.provider_process import Failed

# name in the state: where its class lies in `components`
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
    """What a state's text is unpickled with. Raises Failed for a name that this version has no provider for."""
    if name not in PROVIDERS:
        raise Failed(
            f"this stack's state has a resource of the provider {name!r}, which this version of pgvector-stacks lacks"
            "\n  use the version that made it, or a newer one"
        )
    module, kind = PROVIDERS[name]
    found: ResourceProvider = getattr(importlib.import_module(f"..{module}", __package__), kind)()
    return found

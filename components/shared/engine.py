"""The one thing the rest knows about an engine: it declares a server, and says where it answers and who it is.

And what both engines' data takes along for an upgrade.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from pgvector_stacks.config.environment import Environment

from .props import is_unknown

UPGRADE_INPUTS = (
    "upgradeMethod", "upgradeBackup", "drillMaxAgeH", "backupDirectory", "stack", "database", "driftPolicy",
    "upgradeReindex", "backupCopy", "backupKey",
)  # fmt: skip
BACKUP_INPUTS = ("upgradeBackup", "backupDirectory", "stack", "database", "backupKeep", "backupCopy", "backupKey")
ONLY_AT_AN_UPGRADE = ("driftPolicy", "upgradeReindex", "backupKeep", "backupCopy", "backupKey")


@dataclass(frozen=True)
class Server:
    """A declared server. `identity` changes when the data directory, the version or a setting does."""

    host: pulumi.Output[str]
    port: pulumi.Output[int]
    identity: pulumi.Output[str]
    version: pulumi.Output[str]
    settings: dict[str, str]
    admin: str
    admin_password: pulumi.Output[str]
    sslmode: str = ""  # as libpq names them; "" leaves it to libpq
    build_memory_mb: int = 0  # maintenance_work_mem an index build of the scripts may have, in MiB; 0: the server's own
    via: str = ""  # ssh://…: host and port are as seen from over there
    network: str | None = None  # where containers reach it as `internal_host`, port 5432
    internal_host: str | None = None
    backup_password: pulumi.Output[str] | None = None  # of inspection/backup_role.py; None: no backups are scheduled
    certificate: pulumi.Output[str] | None = None  # PEM; what a client checks the server's against


def upgrade_inputs(environment: Environment, key: pulumi.Output[str]) -> dict[str, Any]:
    """`UPGRADE_INPUTS` of the resource that has the data directory. What is None is no input."""
    return {
        "upgradeMethod": environment.upgrade_method,
        "upgradeBackup": environment.upgrade_backup,
        "drillMaxAgeH": environment.drill_max_age_h,
        "backupDirectory": environment.backup_directory,
        "stack": environment.stack,
        "database": environment.database,
        "driftPolicy": "refuse" if environment.drift == "refuse" else None,
        "upgradeReindex": "after" if environment.upgrade_reindex == "after" else None,
        "backupCopy": environment.backup_copy,
        "backupKey": key,
    }


def backup_inputs(environment: Environment, key: pulumi.Output[str]) -> dict[str, Any]:
    """`BACKUP_INPUTS` of the resource that knows when the new server serves."""
    return {
        "upgradeBackup": environment.upgrade_backup,
        "backupDirectory": environment.backup_directory,
        "stack": environment.stack,
        "database": environment.database,
        "backupKeep": environment.backups_kept,
        "backupCopy": environment.backup_copy,
        "backupKey": key,
    }


def keep_as_in_state(olds: Mapping[str, Any], news: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """The inputs of an `up` without an upgrade: `keys`, which count for an upgrade alone, as the state has them.

    So neither another value shows as a change of the server, nor the lack of them in a state from before they were.
    """
    return {key: value for key, value in news.items() if key not in keys} | {
        key: olds[key] for key in keys if key in olds
    }


def ignore_upgrade_only_changes(olds: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """`keep_as_in_state` for `ONLY_AT_AN_UPGRADE`, unless this is one."""
    major = news.get("major")
    if "major" in olds and not is_unknown(major) and int(olds["major"]) != int(news["major"]):
        return dict(news)
    return keep_as_in_state(olds, news, ONLY_AT_AN_UPGRADE)

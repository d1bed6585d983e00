"""The server that an engine declares, as the rest of the program sees it: its address, administrator and identity.

Also the inputs by which the data of both engines is upgraded and backed up.
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
class DeclaredServer:
    """A declared server. `identity` changes when the data directory, the version or a setting does."""

    host: pulumi.Output[str]
    port: pulumi.Output[int]
    identity: pulumi.Output[str]
    version: pulumi.Output[str]
    settings: dict[str, str]
    admin: str
    admin_password: pulumi.Output[str]
    sslmode: str = ""  # of our own connections, one of libpq's modes; "" leaves the choice to libpq
    build_memory_mb: int = 0  # maintenance_work_mem for index builds of the scripts, in MiB; 0: the server's setting
    via: str = ""  # ssh://…: host and port are as seen from that host
    network: str | None = None  # where containers reach it as `internal_host`, port 5432
    internal_host: str | None = None
    backup_password: pulumi.Output[str] | None = None  # for inspection/backup_role.py; None: no scheduled backups
    certificate: pulumi.Output[str] | None = None  # PEM; a client checks the server's certificate against it


def upgrade_inputs(environment: Environment, key: pulumi.Output[str]) -> dict[str, Any]:
    """Return the `UPGRADE_INPUTS` of the resource that has the data directory. A value of None isn't an input."""
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
    """Return the `BACKUP_INPUTS` of the resource that knows when the upgraded server accepts connections."""
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
    """Return the inputs of an `up` without an upgrade: `news`, with `keys` as the state has them.

    These keys matter only for an upgrade. So neither a changed value, nor a key that an older state lacks, shows as a
    change of the server.
    """
    return {key: value for key, value in news.items() if key not in keys} | {
        key: olds[key] for key in keys if key in olds
    }


def ignore_upgrade_only_changes(olds: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """Return `news` with `ONLY_AT_AN_UPGRADE` as in the state; for an upgrade, return `news` unchanged."""
    major = news.get("major")
    if "major" in olds and not is_unknown(major) and int(olds["major"]) != int(news["major"]):
        return dict(news)
    return keep_as_in_state(olds, news, ONLY_AT_AN_UPGRADE)

"""The server that an engine declares, as the rest of the program sees it: its address, administrator and identity.

Also the inputs by which the data of both engines is upgraded and backed up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from pgvector_stacks.backup.copies.remote import RemoteCopies
from pgvector_stacks.config.environment import Environment, backups_of
from pgvector_stacks.upgrade.backup_after import BackupAfter
from pgvector_stacks.upgrade.backup_first import BackupFirst
from pgvector_stacks.upgrade.no_drift import NoDrift

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
    sslmode: str = ""  # one of libpq's modes; "" leaves the choice to libpq
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


def backup_after(news: Mapping[str, Any]) -> BackupAfter | None:
    """Return the backup of the upgraded server that these inputs ask for; None: no backup."""
    if not news.get("upgradeBackup"):
        return None
    stack = news["stack"]
    into = backups_of(news.get("backupDirectory"), stack)
    return BackupAfter(into, stack, news["database"], int(news["backupKeep"]), _copies(news), _key(news))


def ignore_upgrade_only_changes(olds: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """Return `news` with `ONLY_AT_AN_UPGRADE` as in the state; for an upgrade, return `news` unchanged."""
    major = news.get("major")
    if "major" in olds and not is_unknown(major) and int(olds["major"]) != int(news["major"]):
        return dict(news)
    return keep_as_in_state(olds, news, ONLY_AT_AN_UPGRADE)


def no_drift(olds: Mapping[str, Any], news: Mapping[str, Any]) -> NoDrift | None:
    """Return the check for drift that these inputs ask for before an upgrade; None: no check."""
    if news.get("driftPolicy") != "refuse":
        return None
    return NoDrift(news["stack"], olds.get("database", news["database"]))


def backup_first(olds: Mapping[str, Any], news: Mapping[str, Any]) -> BackupFirst | None:
    """Return the backup that these inputs ask for before an upgrade; None: no backup. An older state's `olds` may lack
    keys.
    """
    if not news["upgradeBackup"]:
        return None
    stack = news["stack"]
    into = backups_of(news.get("backupDirectory"), stack)
    database = olds.get("database", news["database"])
    return BackupFirst(into, stack, database, float(news["drillMaxAgeH"]), _copies(news), _key(news))


def _key(news: Mapping[str, Any]) -> str:
    """Return the key of backups; "" in a preview that doesn't know it yet."""
    found = news.get("backupKey")
    return found if isinstance(found, str) else ""


def _copies(news: Mapping[str, Any]) -> RemoteCopies | None:
    return RemoteCopies(news["backupCopy"], news["stack"], _key(news)) if news.get("backupCopy") else None

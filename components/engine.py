"""The one thing the rest knows about an engine: it declares a server, and says where it answers and who it is.

And what both engines' data takes along for an upgrade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from components.provider import is_unknown
from postgres.upgrade.backup_first import BackupFirst
from postgres.upgrade.no_drift import NoDrift
from stacks.environment import Environment, backups_of

ONLY_AT_AN_UPGRADE = ("driftPolicy", "upgradeReindex")
UPGRADE_INPUTS = (
    "upgradeMethod", "upgradeBackup", "drillMaxAgeH", "backupDirectory", "stack", "database", *ONLY_AT_AN_UPGRADE,
)  # fmt: skip


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
    certificate: pulumi.Output[str] | None = None  # PEM; what a client checks the server's against


def upgrade_inputs(environment: Environment) -> dict[str, Any]:
    """`UPGRADE_INPUTS` of the resource that has the data directory. What is None is no input."""
    values = (environment.upgrade_method, environment.upgrade_backup, environment.drill_max_age_h,
              environment.backup_directory, environment.stack, environment.database,
              "refuse" if environment.drift == "refuse" else None,
              "after" if environment.upgrade_reindex == "after" else None)  # fmt: skip
    return dict(zip(UPGRADE_INPUTS, values, strict=True))


def as_far_as_they_count(olds: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs, those that count only at an upgrade as the state has them or not at all, unless there is one: they
    are no difference before.
    """
    major = news.get("major")
    if "major" in olds and not is_unknown(major) and int(olds["major"]) != int(news["major"]):
        return dict(news)
    found = {key: value for key, value in news.items() if key not in ONLY_AT_AN_UPGRADE}
    return found | {key: olds[key] for key in ONLY_AT_AN_UPGRADE if key in olds}


def no_drift(olds: Mapping[str, Any], news: Mapping[str, Any]) -> NoDrift | None:
    """What these inputs demand of the schema before an upgrade; None: nothing."""
    if news.get("driftPolicy") != "refuse":
        return None
    return NoDrift(news["stack"], olds.get("database", news["database"]))


def backup_first(olds: Mapping[str, Any], news: Mapping[str, Any]) -> BackupFirst | None:
    """The backup that these inputs want before an upgrade; None: none. `olds` may lack what older states lack."""
    if not news["upgradeBackup"]:
        return None
    into = backups_of(news.get("backupDirectory"), news["stack"])
    return BackupFirst(into, news["stack"], olds.get("database", news["database"]), float(news["drillMaxAgeH"]))

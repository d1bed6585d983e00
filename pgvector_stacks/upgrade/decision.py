"""Decides whether a server can be upgraded, and by which method, and describes the decision. Pure: facts in, text out.

Invariant of every method but `link`: the upgrade never writes to the old data directory, so the old server can start on
it at any time. The new directory gets its final name only after the new server was verified.

standby: creates a streaming standby while the old server serves. After the stop, only its promotion and `pg_upgrade
         --link` are left, so the downtime doesn't grow with the data. Space: the data once more.
copy:    `pg_upgrade --copy` after the stop. Space: the data once more. The downtime grows with the data.
clone:   `pg_upgrade --clone`, where the file system has reflinks: as safe as copy, as fast as link, nearly no space.
link:    `pg_upgrade --link`: no space, but once the new server has started, the old one can't start any more.
dump:    pg_dump and pg_restore: for what pg_upgrade can't do. The longest downtime: every index is rebuilt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.inspection.validation import version_tuple
from pgvector_stacks.upgrade.facts import Disk, SourceServer, TargetVersion

Method = Literal["standby", "copy", "clone", "link", "dump"]
METHODS: tuple[Method, ...] = get_args(Method)
Reindex = Literal["before", "after"]  # relative to when the new server accepts clients
# Space for a fresh cluster, the standby's WAL while it catches up, and the schema's dump.
MARGIN_BYTES = 512 * 2**20
# For the estimate of the downtime. pg_upgrade dumps and restores the schema: 21 s for 15,000 relations on two cores.
RELATIONS_A_SECOND, COPIED_A_SECOND = 700, 100 * 2**20
# Minor releases come out on one day for all majors, so that two majors' minors differ by a constant: 15.14, 16.10 and
# 17.6 are the round before 18.0, 15.18, 16.14 and 17.10 came with 18.4. Source: the release notes.
AHEAD_OF_18 = {15: 14, 16: 10, 17: 6, 18: 0}


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen method, the reason for it, and the space that it needs. `rollback`: the old data directory is kept."""

    method: Method
    why: str
    needs_bytes: int

    @property
    def rollback(self) -> bool:
        return self.method != "link"


def find_refusals(source: SourceServer, target: TargetVersion) -> list[str]:
    """Return why this server can't be upgraded, each with its remedy; empty if it can. `choose_method` checks space."""
    found = []
    if target.major < source.major:
        return [
            f"PostgreSQL {source.major} → {target.major} is a downgrade: no method goes back\n"
            f"  to the state before an upgrade, while it is kept:  pgstack upgrade rollback STACK\n"
            f"  or stay at an image of PostgreSQL {source.major}"
        ]
    if reason := _why_target_is_too_old(source, target):
        found.append(reason)
    if source.prepared:
        found.append(
            f"prepared transactions are open: {_shorten(source.prepared)}\n"
            "  end each:  COMMIT PREPARED 'gid';  or  ROLLBACK PREPARED 'gid';"
        )
    if source.logical_slots:
        found.append(
            f"logical replication slots: {_shorten(source.logical_slots)}: what they have not sent would be lost\n"
            "  let their subscribers catch up, then  SELECT pg_drop_replication_slot('name');"
        )
    if source.subscriptions:
        found.append(
            f"subscriptions: {_shorten(source.subscriptions)}: they would arrive disabled and without their position\n"
            "  drop each, but keep its slot:  ALTER SUBSCRIPTION name DISABLE;\n"
            "  ALTER SUBSCRIPTION name SET (slot_name = NONE);  DROP SUBSCRIPTION name;\n"
            "  afterwards  CREATE SUBSCRIPTION … WITH (create_slot = false, slot_name = 'name', copy_data = false)"
        )
    if source.tablespaces:
        found.append(
            f"tablespaces: {_shorten(source.tablespaces)}: their data lies outside of the data directory\n"
            "  move the tables in (ALTER TABLE … SET TABLESPACE pg_default), then DROP TABLESPACE"
        )
    if source.closed_databases:
        found.append(
            f"databases that take no connections: {_shorten(source.closed_databases)}: pg_upgrade can't read them\n"
            "  ALTER DATABASE … ALLOW_CONNECTIONS true;  or drop them"
        )
    if columns := source.all("reg_columns"):
        found.append(
            f"columns of types that hold catalog numbers, which change: {_shorten(columns)}\n"
            "  ALTER TABLE … ALTER COLUMN … TYPE text USING …::text;  and back afterwards"
        )
    if domains := source.all("acting_domains"):
        found.append(
            f"domains whose CHECK calls a volatile function of PostgreSQL or an extension: {_shorten(domains)}\n"
            "  an upgrade would run it as the superuser: ALTER DOMAIN … DROP CONSTRAINT …; a trigger can check the same"
        )
    return found + _missing_extensions(source, target)


def _why_target_is_too_old(source: SourceServer, target: TargetVersion) -> str:
    """Return why the target is too old, "" if it isn't: it may not know what a source released later has written."""
    if target.minor is None or target.major == source.major:
        return ""
    source_lead, target_lead = AHEAD_OF_18.get(source.major), AHEAD_OF_18.get(target.major)
    if source_lead is None or target_lead is None:
        return ""
    wanted = source.minor - source_lead + target_lead
    if target.minor >= wanted:
        return ""
    return (
        f"PostgreSQL {target.version} was released before {source.version}: it may not know what the newer one writes\n"
        f"  use {target.major}.{wanted} or later"
    )


def _missing_extensions(source: SourceServer, target: TargetVersion) -> list[str]:
    if target.extensions is None:
        return []
    found = []
    for database, each in source.databases.items():
        for name, version in each.extensions.items():
            there = target.extensions.get(name)
            if there is None:
                found.append(
                    f"database {database} has the extension {name} {version},"
                    f" PostgreSQL {target.version} doesn't have it\n"
                    f"  use an image with {name}, or:  DROP EXTENSION {name}"
                )
            elif name == "vector" and version_tuple(there) < version_tuple(version):
                found.append(
                    f"database {database} has pgvector {version}, PostgreSQL {target.version} comes with {there}\n"
                    f"  use an image with pgvector {version} or later"
                )
    return found


def decide(source: SourceServer, target: TargetVersion, disk: Disk, wanted: Method | None) -> Choice:
    """Return how to upgrade. Raises ServerError with every reason why it isn't possible."""
    if reasons := find_refusals(source, target):
        raise ServerError("\n".join(reasons))
    return choose_method(source, disk, wanted)


def choose_method(source: SourceServer, disk: Disk, wanted: Method | None) -> Choice:
    """Choose the method that the stack file names; without one, that of the shortest downtime that allows a rollback.

    Raises ServerError if it isn't possible here, with the reason.
    """
    if wanted is not None:
        reason = _why_impossible(source, disk, wanted)
        if reason:
            raise ServerError(f"pgvector:upgradeMethod = {wanted}: {reason}")
        return Choice(wanted, "as pgvector:upgradeMethod says", needed_bytes(source, wanted))
    reasons: list[str] = []
    order: tuple[Method, ...] = ("standby", "clone", "copy")
    for method in order:
        if not (reason := _why_impossible(source, disk, method)):
            return Choice(method, f"not standby: {reasons[0]}" if reasons else "", needed_bytes(source, method))
        reasons.append(reason)
    raise ServerError(
        f"{reasons[0]}; and for a copy: {reasons[-1]}\n"
        "  free disk space; or choose link, which needs none and allows no rollback:  pgvector:upgradeMethod: link"
    )


def needed_bytes(source: SourceServer, method: Method) -> int:
    """Return the free bytes that a method needs. dump: the new data, and a dump of about that size without indexes."""
    times = {"standby": 1, "copy": 1, "clone": 0, "link": 0, "dump": 2}[method]
    return times * source.data_bytes + MARGIN_BYTES


def _why_impossible(source: SourceServer, disk: Disk, method: Method) -> str:
    if method == "standby":
        if unlogged := source.all("unlogged"):
            return f"unlogged tables would arrive empty on a standby: {_shorten(unlogged)}"
        if source.wal_level == "minimal" or source.wal_senders < 2:
            return (
                f"the server can't feed a standby (wal_level {source.wal_level}, max_wal_senders {source.wal_senders})"
            )
    if method == "clone" and not disk.reflink:
        return "the file system has no reflinks (XFS and Btrfs have)"
    if disk.free_bytes < needed_bytes(source, method):
        return f"it needs {format_size(needed_bytes(source, method))} free, there are {format_size(disk.free_bytes)}"
    return ""


def describe_choice(source: SourceServer, target: TargetVersion, choice: Choice) -> str:
    """Describe what an `up` would do, for a preview."""
    least = 5 + sum(each.relations for each in source.databases.values()) // RELATIONS_A_SECOND
    short = f"about {least} s of downtime"
    downtime = {
        "standby": short, "clone": short, "link": short,
        "copy": f"downtime grows with the data: about {least + source.data_bytes // COPIED_A_SECOND} s",
        "dump": "downtime grows with the data, every index is rebuilt",
    }[choice.method]  # fmt: skip
    kept = f"keeps {source.major} for rollback" if choice.rollback else "no rollback once the new server has started"
    why = f" ({choice.why})" if choice.why else ""
    return (
        f"upgrades PostgreSQL {source.version} → {target.version}, {format_size(source.data_bytes)} of data "
        f"({choice.method}: {downtime}), needs {format_size(choice.needs_bytes)} free, {kept}{why}"
    )


def format_size(count: int) -> str:
    """Return a size as `4.1 GB`, in powers of 1,000 like `df -H` and the labels of disks."""
    if count < 10**9:
        return f"{max(1, round(count / 10**6))} MB"
    return f"{count / 10**9:.1f} GB"


def _shorten(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown

"""Finds lines of pg_hba.conf that accept connections which the stack doesn't allow.

Invariant: every connection needs a password that the server checks by SCRAM; where TLS is required, every connection
from another machine needs TLS. The files that the engines write follow this. A superuser, or anyone with access to the
volume, can replace them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from psycopg import Connection, errors

from pgvector_stacks.common import queries
from pgvector_stacks.common.plain_text import one_line

METHODS = ("scram-sha-256", "reject")
WITHOUT_TLS = ("host", "hostnossl")


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of `pg_hba_file_rules`. If the server can't parse the line, only `line` and `error` are set."""

    line: int
    type: str | None
    databases: Sequence[str] | None
    users: Sequence[str] | None
    address: str | None
    netmask: str | None
    method: str | None
    error: str | None = None


def describe_faults(rules: Iterable[Rule], *, tls: bool) -> tuple[str, ...]:
    """Return the lines that break the invariant, one sentence each. `tls`: TLS is required. Pure."""
    lines = []
    for rule in rules:
        where = f"pg_hba.conf line {rule.line}"
        if rule.error is not None:
            lines.append(f"{where} can't be read: {rule.error}")
            continue
        who = f"{', '.join(rule.users or ())} into {', '.join(rule.databases or ())}"
        who += f" from {rule.address}" if rule.address else " by the socket"
        if rule.method not in METHODS:
            lines.append(f"{where} lets {who} by {rule.method}, declared is {METHODS[0]}")
        elif tls and rule.method != "reject" and rule.type in WITHOUT_TLS and not _is_here(rule):
            lines.append(f"{where} lets {who} without TLS")
    return tuple(map(one_line, lines))


def find_faults(connection: Connection[Any], *, tls: bool) -> tuple[str, ...]:
    """Describe the faults in the server's current file; empty if the connection's role may not read it."""
    try:
        rows = connection.execute(queries.get("hba_rules")).fetchall()
    except errors.InsufficientPrivilege:
        return ()
    return describe_faults([Rule(*row) for row in rows], tls=tls)


def _is_here(rule: Rule) -> bool:
    """Return True if the line matches only connections from the server's own machine."""
    try:
        return ip_network(f"{rule.address}/{rule.netmask}", strict=False).is_loopback
    except ValueError:
        return False

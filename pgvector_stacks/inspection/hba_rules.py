"""Looks for lines of pg_hba.conf that let somebody in otherwise than the stack declares.

Invariant: nobody gets in without a password that the server checks by SCRAM, and where TLS is demanded nobody from
another machine without TLS. The engines' own files say so; a superuser, or who has the volume, can write another.
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
    """A line as `pg_hba_file_rules` has it; all but number and error are None where it can't be read."""

    line: int
    type: str | None
    databases: Sequence[str] | None
    users: Sequence[str] | None
    address: str | None
    netmask: str | None
    method: str | None
    error: str | None = None


def findings(rules: Iterable[Rule], *, tls: bool) -> tuple[str, ...]:
    """What breaks the invariant, a sentence each. `tls`: it is demanded. Pure."""
    told = []
    for rule in rules:
        where = f"pg_hba.conf line {rule.line}"
        if rule.error is not None:
            told.append(f"{where} can't be read: {rule.error}")
            continue
        who = f"{', '.join(rule.users or ())} into {', '.join(rule.databases or ())}"
        who += f" from {rule.address}" if rule.address else " by the socket"
        if rule.method not in METHODS:
            told.append(f"{where} lets {who} by {rule.method}, declared is {METHODS[0]}")
        elif tls and rule.method != "reject" and rule.type in WITHOUT_TLS and not _is_here(rule):
            told.append(f"{where} lets {who} without TLS")
    return tuple(map(one_line, told))


def find(connection: Connection[Any], *, tls: bool) -> tuple[str, ...]:
    """`findings` of the server's file as it is now. Empty where the connection's role may not read it."""
    try:
        rows = connection.execute(queries.get("hba_rules")).fetchall()
    except errors.InsufficientPrivilege:
        return ()
    return findings([Rule(*row) for row in rows], tls=tls)


def _is_here(rule: Rule) -> bool:
    """True for connections from the server's own machine alone."""
    try:
        return ip_network(f"{rule.address}/{rule.netmask}", strict=False).is_loopback
    except ValueError:
        return False

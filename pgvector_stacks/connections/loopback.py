"""Finds out which user owns a loopback connection, from the kernel's tables (Linux), by both of its endpoints.

One endpoint is not enough: another user may use the same port on another loopback address.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
NO_INODE = "0"
Endpoint = tuple[str, int]


def is_own_users_connection(client: Endpoint, server: Endpoint) -> bool:
    """Return True if our user owns the IPv4 connection from `client` to `server`, or if it can't be known (macOS)."""
    if not TABLES[0].is_file():
        return True
    return (
        find_owner("\n".join(table.read_text() for table in TABLES if table.is_file()), client, server) == os.geteuid()
    )


def find_owner(tables: str, client: Endpoint, server: Endpoint) -> int | None:
    """Return the uid that owns the connection from `client` to `server`, by the text of TABLES; None: no process's.

    The kernel lists a connection that its process has closed with uid 0 and inode 0. What was sent before can still be
    read, so where we are root it would pass as ours.
    """
    wanted = [[_written(client), _written(server)], [_mapped(client), _mapped(server)]]
    rows = (line.split() for line in tables.split("\n"))
    return next((int(row[7]) for row in rows if row[1:3] in wanted and row[9] != NO_INODE), None)


def _written(endpoint: Endpoint) -> str:
    """Format an endpoint as /proc/net/tcp does: the address in the CPU's byte order, in hexadecimal."""
    return f"{int.from_bytes(socket.inet_aton(endpoint[0]), sys.byteorder):08X}:{endpoint[1]:04X}"


def _mapped(endpoint: Endpoint) -> str:
    """Format an endpoint as /proc/net/tcp6 shows it for a dual-stack socket: ::ffff:127.0.0.1."""
    prefix = int.from_bytes(b"\0\0\xff\xff", sys.byteorder)
    return f"{'0' * 16}{prefix:08X}{_written(endpoint)}"

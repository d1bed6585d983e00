"""Whose a connection on loopback is, as the kernel tells it (Linux): by both of its ends.

One end isn't enough: another user may take the same port on another loopback address.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
Place = tuple[str, int]


def is_ours(client: Place, own: Place) -> bool:
    """Whether the connection from `client` to `own`, IPv4 both, is of our user; True where nobody can tell (macOS)."""
    if not TABLES[0].is_file():
        return True
    return owner("\n".join(table.read_text() for table in TABLES if table.is_file()), client, own) == os.geteuid()


def owner(tables: str, client: Place, own: Place) -> int | None:
    """The uid of the connection from `client` to `own`, by the text of TABLES; None: there is none. Pure."""
    wanted = [[_written(client), _written(own)], [_mapped(client), _mapped(own)]]
    rows = (line.split() for line in tables.split("\n"))
    return next((int(row[7]) for row in rows if row[1:3] in wanted), None)


def _written(place: Place) -> str:
    """As /proc/net/tcp has it: an address as the processor keeps it, in hexadecimal."""
    return f"{int.from_bytes(socket.inet_aton(place[0]), sys.byteorder):08X}:{place[1]:04X}"


def _mapped(place: Place) -> str:
    """The same in /proc/net/tcp6, from a socket that speaks both: ::ffff:127.0.0.1."""
    prefix = int.from_bytes(b"\0\0\xff\xff", sys.byteorder)
    return f"{'0' * 16}{prefix:08X}{_written(place)}"

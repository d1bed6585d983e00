"""Finds out which user owns a loopback connection, from the kernel's tables (Linux), by both of its endpoints.

One endpoint is not enough: another user may use the same port on another loopback address.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
NO_INODE = "0"
Endpoint = tuple[str, int]
# linux/netlink.h, sock_diag.h and inet_diag.h: one socket's data, by its endpoints
SOCK_DIAG, BY_FAMILY, IS_REQUEST, ANY = 4, 20, 1, 0xFFFFFFFF
HEADER = struct.Struct("=IHHII")  # length, type, flags, number, port
QUESTION = struct.Struct("=BBBxI")  # family, protocol, extensions, states
ENDPOINTS = struct.Struct("!HH16s16s")
INTERFACE_AND_COOKIE = struct.Struct("=III")
ANSWER = struct.Struct("=BBBB")  # family, state, timer, retransmits; the endpoints follow
REST = struct.Struct("=IIIII")  # expires, receive queue, send queue, uid, inode
ANSWER_TIMEOUT_S = 1.0


def is_own_users_connection(client: Endpoint, server: Endpoint) -> bool:
    """Return True if our user owns the IPv4 connection from `client` to `server`, or if it can't be known (macOS)."""
    if not TABLES[0].is_file():
        return True
    owner = query_owner(client, server)
    if owner is None:
        owner = find_owner("\n".join(table.read_text() for table in TABLES if table.is_file()), client, server)
    return owner == os.geteuid()


def query_owner(client: Endpoint, server: Endpoint) -> int | None:
    """Query the kernel for the uid that owns the connection from `client` to `server`; None: not known in this way.

    Reading TABLES takes milliseconds, more on a host with many connections, and gRPC asks at each call.
    """
    question = QUESTION.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, ANY)
    question += ENDPOINTS.pack(client[1], server[1], socket.inet_aton(client[0]), socket.inet_aton(server[0]))
    question += INTERFACE_AND_COOKIE.pack(0, ANY, ANY)
    answer = b""
    with (
        suppress(OSError),  # no such sockets here: TABLES are read
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as kernel,
    ):
        kernel.settimeout(ANSWER_TIMEOUT_S)
        kernel.sendto(HEADER.pack(HEADER.size + len(question), BY_FAMILY, IS_REQUEST, 0, 0) + question, (0, 0))
        answer = kernel.recv(4096)
    return parse_answer(answer, client, server)


def parse_answer(answer: bytes, client: Endpoint, server: Endpoint) -> int | None:
    """Return the uid in the kernel's answer; None if that is an error, or about another or a closed socket."""
    endpoints_at = HEADER.size + ANSWER.size
    rest_at = endpoints_at + ENDPOINTS.size + INTERFACE_AND_COOKIE.size
    if len(answer) < rest_at + REST.size or HEADER.unpack_from(answer)[1] != BY_FAMILY:
        return None
    family = ANSWER.unpack_from(answer, HEADER.size)[0]
    *ports, near, far = ENDPOINTS.unpack_from(answer, endpoints_at)
    prefix = b"\0" * 10 + b"\xff\xff" if family == socket.AF_INET6 else b""  # of a dual-stack socket
    addresses = [prefix + socket.inet_aton(address) for address, _ in (client, server)]
    found = [each[: len(address)] for each, address in zip((near, far), addresses, strict=True)]
    *_, uid, inode = REST.unpack_from(answer, rest_at)
    is_it = ports == [client[1], server[1]] and found == addresses and str(inode) != NO_INODE
    return int(uid) if is_it else None


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

"""Forwards a TCP port on loopback to a Unix socket. libpq does not speak TLS over a Unix socket, but a server that
requires TLS over TCP (`hostssl`) requires it through an ssh tunnel too.

This process binds the port before anyone knows its number, so no other process can take it, and the port closes with
the process. Only this user may connect, where the kernel shows who owns a connection (Linux); elsewhere the server
authenticates as usual. TLS runs from libpq to the server, so the relay can't read what it forwards.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from pgvector_stacks.connections.loopback import is_own_users_connection

CHUNK = 1 << 16
HOST = "127.0.0.1"
_PORTS: dict[str, int] = {}
_LOCK = threading.Lock()


def to_socket(path: str) -> int:
    """Return the port on 127.0.0.1 that forwards to the Unix socket `path`; each path has one port."""
    with _LOCK:
        if path not in _PORTS:
            listener = socket.create_server((HOST, 0))
            _PORTS[path] = int(listener.getsockname()[1])
            threading.Thread(target=_serve, args=(listener, path), daemon=True).start()
        return _PORTS[path]


def _serve(listener: socket.socket, path: str) -> None:
    while True:
        client, address = listener.accept()
        if not is_own_users_connection(address, listener.getsockname()):
            client.close()
            continue
        threading.Thread(target=_join, args=(client, path), daemon=True).start()


def _join(client: socket.socket, path: str) -> None:
    with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
        server.connect(path)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy until `source` ends, then close `sink` for writing. An error closes both: half a connection would hang."""
    try:
        while data := source.recv(CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

"""A TCP port of this process on loopback that leads to a Unix socket: libpq speaks no TLS over a Unix socket, and a
server that demands TLS of whoever comes by TCP (`hostssl`) demands it behind an ssh tunnel, too.

The port is bound by us before anybody hears of it, so nobody can take it, and it is gone with the process. Who connects
must be this user, where the kernel tells whose a connection is (Linux); elsewhere he meets the server's own demands, as
on the Docker host itself. TLS is from libpq to the server: what passes here can't be read here.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from pgvector_stacks.connections.loopback import is_ours

CHUNK = 1 << 16
HOST = "127.0.0.1"
_PORTS: dict[str, int] = {}
_LOCK = threading.Lock()


def to_socket(path: str) -> int:
    """The port on 127.0.0.1 that leads to the Unix socket `path`; one for each, for as long as this process lives."""
    with _LOCK:
        if path not in _PORTS:
            listener = socket.create_server((HOST, 0))
            _PORTS[path] = int(listener.getsockname()[1])
            threading.Thread(target=_serve, args=(listener, path), daemon=True).start()
        return _PORTS[path]


def _serve(listener: socket.socket, path: str) -> None:
    while True:
        client, address = listener.accept()
        if not is_ours(address, listener.getsockname()):
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
    """Until the one ends; then the other hears it. A broken one ends both: half a connection waits for ever."""
    try:
        while data := source.recv(CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

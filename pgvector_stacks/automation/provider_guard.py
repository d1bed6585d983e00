"""Keeps other accounts of this machine away from the providers' process, which listens on loopback.

The SDK's server asks nobody who he is, and makes an object of whatever pickle it is sent: who can connect could run
code as the operator. So a connection of another user is refused, and a pickle may name nothing but a provider's class.
"""

from __future__ import annotations

import io
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dill
import grpc
from pulumi.dynamic import ResourceProvider

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
PEER = re.compile(r"ipv[46]:.*:(\d+)")


class _Providers(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if not (isinstance(found, type) and issubclass(found, ResourceProvider)):
            raise pickle.UnpicklingError(f"{module}.{name} is no provider of this program")
        return found


def load(text: bytes, *_: Any, **__: Any) -> Any:
    """The provider that a state or a program names. Raises UnpicklingError for anything else."""
    return _Providers(io.BytesIO(text)).load()


def owner(tables: str, client: int, server: int) -> int | None:
    """The uid of the connection from port `client` to port `server`, by the text of /proc/net/tcp and tcp6.

    The client's own row has its port as the local one. None: there is none. Pure.
    """
    rows = (line.split() for line in tables.split("\n"))
    ends = (f":{client:04X}", f":{server:04X}")
    return next(
        (int(row[7]) for row in rows if len(row) > 7 and row[1].endswith(ends[0]) and row[2].endswith(ends[1])), None
    )


def is_ours(peer: str, port: int) -> bool:
    """Whether a peer, as gRPC names it, that connected to `port` is of our user. True where nobody can tell (macOS)."""
    found = PEER.fullmatch(peer)
    if found is None or not TABLES[0].is_file():
        return True
    text = "\n".join(table.read_text() for table in TABLES if table.is_file())
    return owner(text, int(found[1]), port) == os.geteuid()


class _OursAlone(grpc.ServerInterceptor):  # type: ignore[misc]
    port = 0

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        answer = handler.unary_unary

        def guarded(request: Any, context: Any) -> Any:
            if not is_ours(context.peer(), self.port):
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "this process serves another user")
            return answer(request, context)

        return grpc.unary_unary_rpc_method_handler(guarded, handler.request_deserializer, handler.response_serializer)


def guard() -> None:
    """Call it before the SDK's server is made: it takes both from its modules' names."""
    server = grpc.server

    def guarded(*arguments: Any, **options: Any) -> Any:
        ours = _OursAlone()
        made = server(*arguments, **options | {"interceptors": (ours, *(options.get("interceptors") or ()))})
        listen = made.add_insecure_port

        def listening(address: str) -> int:
            ours.port = int(listen(address))
            return ours.port

        made.add_insecure_port = listening
        return made

    grpc.server = guarded
    dill.loads = load

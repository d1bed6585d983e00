"""Protects our processes that listen on loopback, the providers' and pgstack itself, from other users of this machine.

The SDK's servers authenticate nobody. In the providers' process one unpickles whatever it receives, so anyone who can
connect could run code as the operator. In pgstack one runs the program for any engine that asks, with the config that
it sends; another takes any events for those of the `up`. So connections of other users are refused, and a pickle may
name only the function that finds our providers, and the provider classes that older states name.
"""

from __future__ import annotations

import functools
import io
import pickle
import re
from collections.abc import Callable
from typing import Any

import dill
import grpc

from pgvector_stacks.connections import loopback

PACKAGES = ("components", "pgvector_stacks.components")  # the first in a checkout, the second in a wheel
LOOKUP = ("shared.registry", "provider_named")
# How states from before LOOKUP name a provider. These names must stay here as long as such states can exist.
FORMER = (
    ("backup_key", "BackupKeyProvider"),
    ("backup_schedule", "BackupFilesProvider"),
    ("backup_schedule", "BackupRunsProvider"),
    ("certificate", "GeneratedCertificateProvider"),
    ("claim", "ClaimProvider"),
    ("data_directory", "DataDirectoryProvider"),
    ("embedded_server", "EmbeddedServerProvider"),
    ("password", "GeneratedPasswordProvider"),
    ("preflight", "PreflightProvider"),
    ("readiness", "ReadinessProvider"),
    ("sql_schema", "SqlSchemaProvider"),
)
ALLOWED = frozenset((f"{package}.{module}", name) for package in PACKAGES for module, name in (LOOKUP, *FORMER))
HOST = "127.0.0.1"  # where the SDK's servers listen
KINDS_OF_CALL = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
PEER = re.compile(r"ipv[46]:.*?((?:\d+\.){3}\d+)(?:\]|%5D)?:(\d+)")


class _Providers(pickle.Unpickler):
    """Unpickles only what ALLOWED names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:  # checked first, because importing a module runs code, too
            raise pickle.UnpicklingError(
                f"{module}.{name} is no provider of this program\n"
                "  dynamic resources of your own belong in a Pulumi program of their own, which reads this stack's\n"
                "  outputs: docs/outputs.md"
            )
        return super().find_class(module, name)


def load(text: bytes, *_: Any, **__: Any) -> Any:
    """Unpickle the provider that a state or a program names. Raises UnpicklingError for anything else."""
    return _Providers(io.BytesIO(text)).load()


def parse_peer(peer: str) -> loopback.Endpoint | None:
    """Parse the IPv4 address and port of a peer from gRPC's notation; None: the peer has none.

    >>> parse_peer("ipv4:127.0.0.2:40000"), parse_peer("ipv6:%5B::ffff:127.0.0.1%5D:7"), parse_peer("ipv6:%5B::1%5D:7")
    (('127.0.0.2', 40000), ('127.0.0.1', 7), None)
    """
    found = PEER.fullmatch(peer)
    return (found[1], int(found[2])) if found else None


def is_own_user(peer: str, port: int) -> bool:
    """Return True if a peer, in gRPC's notation, is a process of our user; also if that can't be known.

    `port`: the port of HOST to which the peer connected.
    """
    if not peer.startswith(("ipv4:", "ipv6:")):
        return True
    client = parse_peer(peer)
    return client is not None and loopback.is_own_users_connection(client, (HOST, port))


class _OnlyOurUser(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls from other users. `port`: the port on which the server listens."""

    port = 0

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return handler
        kind = next(kind for kind in KINDS_OF_CALL if getattr(handler, kind))
        answer = getattr(handler, kind)

        def guarded(request: Any, context: Any) -> Any:
            if not is_own_user(context.peer(), self.port):
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "this process serves another user")
            return answer(request, context)

        wrap = getattr(grpc, f"{kind}_rpc_method_handler")
        return wrap(guarded, handler.request_deserializer, handler.response_serializer)


def guard() -> None:
    """Install both protections. Call this before the SDK creates its server: it looks up both functions then."""
    refuse_other_users()
    dill.loads = load


@functools.cache  # once in a process
def refuse_other_users() -> None:
    """Make every server that the SDK creates from now on refuse calls from other users."""
    server = grpc.server

    def guarded(*arguments: Any, **options: Any) -> Any:
        ours = _OnlyOurUser()
        made = server(*arguments, **options | {"interceptors": (ours, *(options.get("interceptors") or ()))})
        listen = made.add_insecure_port

        def listening(address: str) -> int:
            ours.port = int(listen(address))
            return ours.port

        made.add_insecure_port = listening
        return made

    grpc.server = guarded

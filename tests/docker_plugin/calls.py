"""Calls a Pulumi plugin as the engine does: for the tests, real plugin or stand-in alike."""

from __future__ import annotations

import subprocess
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import engine_pb2_grpc, provider_pb2, provider_pb2_grpc, status_pb2

from tests.docker_plugin.fields import Values
from tests.docker_plugin.server import whole

REQUESTS = {
    "CheckConfig": provider_pb2.CheckRequest,
    "DiffConfig": provider_pb2.DiffRequest,
    "Configure": provider_pb2.ConfigureRequest,
    "Check": provider_pb2.CheckRequest,
    "Diff": provider_pb2.DiffRequest,
    "Create": provider_pb2.CreateRequest,
    "Read": provider_pb2.ReadRequest,
    "Update": provider_pb2.UpdateRequest,
    "Delete": provider_pb2.DeleteRequest,
}
CALLERS_OWN = ("resourceStatusAddress", "resourceStatusToken")
STOP_TIMEOUT_S = 10


class Failed(Exception):
    """The call failed. kept: what the plugin says exists all the same: id, properties, reasons."""

    def __init__(self, message: str, kept: Values) -> None:
        super().__init__(message)
        self.kept = kept


class _Engine(engine_pb2_grpc.EngineServicer):
    """As much of an engine as a plugin talks to."""

    def __init__(self) -> None:
        self.logged: list[str] = []

    def Log(self, request: Any, context: Any) -> Any:
        self.logged.append(request.message)
        return empty_pb2.Empty()


class RunningPlugin:
    """A plugin's process, as a context manager."""

    def __init__(self, executable: Path, environ: dict[str, str] | None = None) -> None:
        self.engine = _Engine()
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        engine_pb2_grpc.add_EngineServicer_to_server(self.engine, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.process = subprocess.Popen(
            [str(executable), f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True, env=environ
        )
        assert self.process.stdout is not None
        self.channel = grpc.insecure_channel(f"127.0.0.1:{int(self.process.stdout.readline())}")
        self.stub = provider_pb2_grpc.ResourceProviderStub(self.channel)

    def __enter__(self) -> RunningPlugin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()
        self.process.terminate()
        self.process.wait(STOP_TIMEOUT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.server.stop(None).wait()

    def call(self, method: str, request: Values) -> Values:
        """The answer as plain values. Raises Failed."""
        if method == "GetPluginInfo":
            found: Values = json_format.MessageToDict(self.stub.GetPluginInfo(empty_pb2.Empty()))
            return found
        message = REQUESTS[method]()
        json_format.ParseDict({name: value for name, value in request.items() if name not in CALLERS_OWN}, message)
        try:
            answer: Values = whole(json_format.MessageToDict(getattr(self.stub, method)(message)))
        except grpc.RpcError as error:
            raise Failed(error.details(), _kept(error)) from None
        return answer


def _kept(error: Any) -> Values:
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            kept = provider_pb2.ErrorResourceInitFailed()
            status.details[0].Unpack(kept)
            found: Values = whole(json_format.MessageToDict(kept))
            return found
    return {}

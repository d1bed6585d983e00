"""The plugin as Pulumi sees it: one gRPC call in, a decision or a change of the Docker Engine, one answer out.

On top of `pulumi.provider.experimental`, which hands a provider neither the engine's names for unnamed resources nor a
way to say "made, but failed to start", and puts a traceback into every error.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import docker
import grpc
import grpc.aio
from google.protobuf import any_pb2, empty_pb2, json_format, struct_pb2
from pulumi.provider.experimental.provider import Provider
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2, provider_pb2_grpc, status_pb2

from tests.docker_plugin import daemon, resource_container, resource_simple
from tests.docker_plugin.changes import difference, planned
from tests.docker_plugin.daemon import Daemon
from tests.docker_plugin.fields import UNKNOWN, Values
from tests.docker_plugin.inputs import Naming, Refused, check
from tests.docker_plugin.schema import TYPES, Type
from tests.docker_plugin.states import applied, inputs_after, refreshed, settled, without_unknown

VERSION = "5.2.0"
MESSAGE_BYTES = 400 * 1024 * 1024
PARENT_CHECK_S = 0.2
MODES: Mapping[int, Literal["proposed", "enforced", "disabled"]] = {0: "proposed", 1: "enforced", 2: "disabled"}


class MadeButFailed(Exception):
    """The resource exists and is kept in the state, and the call fails."""

    def __init__(self, identity: str, state: Values, reason: str) -> None:
        super().__init__(reason)
        self.identity, self.state, self.reason = identity, state, reason


@dataclass(frozen=True)
class Actions:
    """What is done to one kind of resource. finish: what may fail once it exists."""

    create: Callable[[docker.APIClient, Values], str]
    read: Callable[[docker.APIClient, str, Values], tuple[str, Values] | None]
    delete: Callable[[docker.APIClient, str, Values], None]
    finish: Callable[[docker.APIClient, str, Values], Values] = field(default=lambda *_: {})
    update: Callable[[docker.APIClient, str, Values, Values], None] = field(default=lambda *_: None)
    read_after_update: bool = True


ACTIONS: Mapping[str, Actions] = {
    "docker:index/remoteImage:RemoteImage": Actions(
        resource_simple.create_image, resource_simple.read_image, resource_simple.delete_image
    ),
    "docker:index/volume:Volume": Actions(
        resource_simple.create_volume, resource_simple.read_volume, resource_simple.delete_volume
    ),
    "docker:index/network:Network": Actions(
        resource_simple.create_network, resource_simple.read_network, resource_simple.delete_network
    ),
    "docker:index/container:Container": Actions(
        resource_container.create,
        resource_container.read,
        resource_container.delete,
        resource_container.finish,
        resource_container.update,
        read_after_update=False,
    ),
}


def kind_of(urn: str) -> Type:
    token = urn.split("::")[2].split("$")[-1]
    try:
        return TYPES[token]
    except KeyError:
        raise Refused(f"the stand-in plugin does not cover {token}") from None


def plain(message: struct_pb2.Struct) -> Values:
    found: Values = whole(json_format.MessageToDict(message))
    return found


def whole(value: Any) -> Any:
    """Whole numbers as integers: protobuf knows but floats."""
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def struct(values: Values) -> struct_pb2.Struct:
    return json_format.ParseDict(values, struct_pb2.Struct())


class Plugin(ProviderServicer):
    """Configured by Configure; every other call may come in parallel."""

    def __init__(self, engine_address: str) -> None:
        super().__init__([], VERSION, Provider(), engine_address)
        self.daemon = Daemon(daemon.DEFAULT_HOST)

    # configuration

    async def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    async def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse()

    async def Configure(self, request: Any, context: Any) -> Any:
        config = {name.rsplit(":", 1)[-1]: value for name, value in request.variables.items()} | plain(request.args)
        try:
            self.daemon = await asyncio.to_thread(daemon.configured, config, os.environ, Path.home())
        except Refused as refused:
            await self._fail(context, str(refused))
        return provider_pb2.ConfigureResponse(supportsPreview=True, supports_autonaming_configuration=True)

    # decisions

    async def Check(self, request: Any, context: Any) -> Any:
        urn, naming = request.urn, Naming(request.urn.rsplit("::", 1)[-1], request.randomSeed)
        if request.HasField("autonaming"):
            naming = Naming(
                naming.resource, naming.seed, request.autonaming.proposed_name, MODES[request.autonaming.mode]
            )
        try:
            checked = check(kind_of(urn), plain(request.olds), plain(request.news), naming)
        except Refused as refused:
            await self._fail(context, str(refused))
        failures = [provider_pb2.CheckFailure(reason=reason) for reason in checked.failures]
        return provider_pb2.CheckResponse(inputs=struct(checked.inputs), failures=failures)

    async def Diff(self, request: Any, context: Any) -> Any:
        try:
            kind = kind_of(request.urn)
        except Refused as refused:
            await self._fail(context, str(refused))
        found = difference(kind, plain(request.olds), plain(request.news), list(request.ignoreChanges))
        answer = provider_pb2.DiffResponse
        return answer(
            replaces=found.replaces,
            stables=found.stables,
            deleteBeforeReplace=found.delete_before_replace,
            changes=answer.DIFF_SOME if found.detailed else answer.DIFF_NONE,
            diffs=found.fields,
            detailedDiff={
                path: provider_pb2.PropertyDiff(kind=provider_pb2.PropertyDiff.Kind.Value(change))
                for path, change in found.detailed.items()
            },
            hasDetailedDiff=True,
        )

    # changes

    async def Create(self, request: Any, context: Any) -> Any:
        inputs = plain(request.properties)
        if request.preview:
            kind = kind_of(request.urn)
            state = planned(kind.fields, inputs, None) | {"id": UNKNOWN}
            return provider_pb2.CreateResponse(properties=struct(state))
        identity, state = await self._run(request, context, "creating", self._create, inputs)
        return provider_pb2.CreateResponse(id=identity, properties=struct(state))

    async def Read(self, request: Any, context: Any) -> Any:
        inputs = plain(request.inputs)
        found = await self._run(
            request, context, "refreshing", self._read, request.id, plain(request.properties), inputs
        )
        if found is None:
            return provider_pb2.ReadResponse()
        identity, state, after = found
        return provider_pb2.ReadResponse(id=identity, properties=struct(state), inputs=struct(after))

    async def Update(self, request: Any, context: Any) -> Any:
        olds, news = plain(request.olds), plain(request.news)
        if request.preview:
            state = planned(kind_of(request.urn).fields, news, olds) | {"id": request.id}
            return provider_pb2.UpdateResponse(properties=struct(state))
        state = await self._run(request, context, "updating", self._update, request.id, olds, news)
        return provider_pb2.UpdateResponse(properties=struct(state))

    async def Delete(self, request: Any, context: Any) -> Any:
        await self._run(request, context, "deleting", self._delete, request.id, plain(request.properties))
        return empty_pb2.Empty()

    def _create(self, kind: Type, inputs: Values) -> tuple[str, Values]:
        wanted, actions = planned(kind.fields, inputs, None), ACTIONS[kind.token]
        with self.daemon.client() as client:
            identity = actions.create(client, without_unknown(wanted))
            try:
                said = actions.finish(client, identity, wanted)
                return self._state_of(client, kind, identity, wanted, said)
            except Refused as refused:
                raise MadeButFailed(
                    identity, self._kept(kind, identity, settled(kind.fields, wanted)), str(refused)
                ) from None

    def _state_of(
        self, client: docker.APIClient, kind: Type, identity: str, wanted: Values, said: Values
    ) -> tuple[str, Values]:
        found = ACTIONS[kind.token].read(client, identity, without_unknown(wanted))
        if found is None:
            raise Refused(f"{identity} was removed while it was made")
        identity, seen = found
        seen.pop("capabilities", None)  # the real plugin looks at them from the first refresh on
        return identity, self._kept(kind, identity, applied(kind.fields, wanted, seen | said))

    @staticmethod
    def _kept(kind: Type, identity: str, state: Values) -> Values:
        return {"__meta": kind.meta, **state, "id": identity}

    def _read(self, kind: Type, identity: str, prior: Values, inputs: Values) -> tuple[str, Values, Values] | None:
        with self.daemon.client() as client:
            found = ACTIONS[kind.token].read(client, identity, prior)
        if found is None:
            return None
        identity, seen = found
        state = refreshed(kind.fields, prior, seen)
        return identity, self._kept(kind, identity, state), inputs_after(kind, inputs, state)

    def _update(self, kind: Type, identity: str, olds: Values, news: Values) -> Values:
        wanted = planned(kind.fields, news, olds)
        after = self._kept(kind, identity, settled(kind.fields, wanted, olds))
        with self.daemon.client() as client:
            try:
                ACTIONS[kind.token].update(client, identity, olds, wanted)
            except Refused as refused:
                raise MadeButFailed(identity, after, str(refused)) from None
            if not ACTIONS[kind.token].read_after_update:
                return after
            return self._state_of(client, kind, identity, wanted, {})[1]

    def _delete(self, kind: Type, identity: str, state: Values) -> None:
        with self.daemon.client() as client:
            ACTIONS[kind.token].delete(client, identity, state)

    async def _run(self, request: Any, context: Any, doing: str, work: Callable[..., Any], *arguments: Any) -> Any:
        """`work` in a thread; its failure told as the real plugin does it: as a log line, and as the error."""
        try:
            return await asyncio.to_thread(work, kind_of(request.urn), *arguments)
        except MadeButFailed as failed:
            await self._log(request.urn, failed.reason)
            reason = f"{doing} {request.urn}: 1 error occurred:\n\t* {failed.reason}\n\n"
            detail = provider_pb2.ErrorResourceInitFailed(
                id=failed.identity, properties=struct(failed.state), reasons=[reason]
            )
            await self._fail(context, reason, detail)
        except Refused as refused:
            await self._log(request.urn, str(refused))
            await self._fail(context, f"1 error occurred:\n\t* {refused}\n\n")

    async def _log(self, urn: str, reason: str) -> None:
        message = f"  sdk-v2/provider2.go:571: sdk.helper_schema: {reason}: provider=docker@{VERSION}"
        request = engine_pb2.LogRequest(severity=engine_pb2.ERROR, message=message, urn=urn)
        with suppress(grpc.aio.AioRpcError):  # an engine that ends takes no more
            async with grpc.aio.insecure_channel(self._engine_address) as channel:
                await engine_pb2_grpc.EngineStub(channel).Log(request)

    @staticmethod
    async def _fail(context: Any, message: str, detail: Any = None) -> NoReturn:
        metadata: tuple[tuple[str, bytes], ...] = ()
        if detail is not None:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=message, details=[packed])
            metadata = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(grpc.StatusCode.UNKNOWN, message, metadata)
        raise AssertionError("abort raises")


def leave_with_the_engine() -> None:
    """An engine killed with -9 tells nobody: what it started must not go on changing things."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


async def serve(engine_address: str) -> None:
    """Until the engine ends this process. The port is told on stdout."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MESSAGE_BYTES)])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Plugin(engine_address), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


def main(arguments: list[str]) -> int:
    engine_address = next(one for one in arguments if not one.startswith("-"))
    leave_with_the_engine()
    asyncio.run(serve(engine_address))
    return 0

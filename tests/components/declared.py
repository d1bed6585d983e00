"""Runs a program against Pulumi's own mocks and records what it declares: inputs, secrets, outputs; no server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks, rpc

from components.database import Database
from pgvector_stacks.config.environment import SECRETS, from_config

ALL_SECRET = frozenset(SECRETS)
DYNAMIC = "pulumi-python:dynamic/pgvector:"
COMPUTED: dict[str, dict[str, Any]] = {
    f"{DYNAMIC}EmbeddedServer": {"host": "127.0.0.1", "port": 54321.0, "version": "18.1", "identity": "7/18.1/ab"},
    f"{DYNAMIC}Readiness": {"version": "17.6", "identity": "7/17.6/ab/cd"},
    f"{DYNAMIC}DataDirectory": {"systemIdentifier": "7", "madeBy": "initdb"},
    f"{DYNAMIC}Claim": {"value": "00c1a1m0"},
    f"{DYNAMIC}GeneratedCertificate": {"certificate": "CERTIFICATE", "key": "the certificate's key"},
    "docker:index/remoteImage:RemoteImage": {"imageId": "sha256:1234567890abcdef"},
    f"{DYNAMIC}SqlSchema": {
        "schemaRevision": "0123456789ab",
        "postgresVersion": "18.1",
        "pgvectorVersion": "0.8.6",
        "validation": {"vector": "ok"},
    },
}


@dataclass(frozen=True)
class Declared:
    """One registration. `inputs`: secrets unwrapped; `secret`: the keys of those that were marked."""

    type: str
    name: str
    inputs: Mapping[str, Any]
    secret: frozenset[str]
    parent: str
    secret_outputs: tuple[str, ...]
    delete_before_replace: bool
    retain_on_delete: bool = False
    ignore_changes: tuple[str, ...] = ()


class Engine(mocks.MockMonitor):
    """Records each registration, answers with the inputs and what a server would add; marks secrets as engines do."""

    def __init__(self) -> None:
        super().__init__(Echo())
        self.declared: dict[str, Declared] = {}

    def RegisterResource(self, request: Any) -> Any:
        if request.type != "pulumi:pulumi:Stack":
            given = rpc.deserialize_properties(request.object)
            self.declared[request.name] = Declared(
                type=request.type,
                name=request.name,
                inputs={key: plain(value) for key, value in given.items() if key != "__provider"},
                secret=frozenset(key for key, value in given.items() if rpc.is_rpc_secret(value)),
                parent=request.parent.rsplit("::", 1)[-1],
                secret_outputs=tuple(request.additionalSecretOutputs),
                delete_before_replace=request.deleteBeforeReplace,
                retain_on_delete=request.retainOnDelete,
                ignore_changes=tuple(request.ignoreChanges),
            )
            self.mocks.secret_outputs = tuple(request.additionalSecretOutputs)  # type: ignore[attr-defined]
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]


class Echo(mocks.Mocks):
    secret_outputs: tuple[str, ...] = ()

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        outs = args.inputs | COMPUTED.get(args.typ, {})
        if args.typ in (f"{DYNAMIC}GeneratedPassword", f"{DYNAMIC}BackupKey"):
            outs["value"] = f"generated {args.name}"
        return args.name, {
            key: pulumi.Output.secret(value) if key in self.secret_outputs else value for key, value in outs.items()
        }

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        pytest.fail(f"an invoke of {args.token}")


def plain(value: Any) -> Any:
    return rpc.unwrap_rpc_secret(value)


Program = Callable[[], Mapping[str, Any]]
Outputs = dict[str, tuple[Any, bool]]


@dataclass(frozen=True)
class Run:
    declared: dict[str, Declared]
    outputs: Outputs  # name: (value, secret)


class Runner:
    """Runs a program that returns its outputs. Every loop, the main thread's and the worker's, is its own."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.loops = [asyncio.new_event_loop()]
        self.pool = ThreadPoolExecutor(max_workers=1, initializer=self._loop_of_the_worker)
        self.loops[0].set_default_executor(self.pool)
        asyncio.set_event_loop(self.loops[0])

    def __call__(self, program: Program) -> Run:
        self.engine = Engine()
        mocks.set_mocks(self.engine.mocks, project="pgvector", stack="local", preview=False, monitor=self.engine)
        outputs: Outputs = {}

        async def resolved() -> None:
            for name, value in program().items():
                output = pulumi.Output.from_input(value)
                outputs[name] = (await output.future(), await output.is_secret())

        pulumi.runtime.test(resolved)()  # type: ignore[no-untyped-call]
        return Run(self.engine.declared, outputs)

    def refused(self, program: Program, error: type[Exception]) -> tuple[str, list[str]]:
        """The error's message, and the names of what was declared before it."""
        with pytest.raises(error) as raised:
            self(program)
        return str(raised.value), list(self.engine.declared)

    def close(self) -> None:
        left = asyncio.all_tasks(self.loops[0])  # of a program that was refused half-way
        for task in left:
            task.cancel()
        self.loops[0].run_until_complete(asyncio.wait(left) if left else asyncio.sleep(0))
        self.pool.shutdown()
        asyncio.set_event_loop(None)
        for loop in self.loops:
            loop.close()

    def _loop_of_the_worker(self) -> None:
        self.loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(self.loops[-1])


def database(config: Mapping[str, Any] | None = None, stack: str = "local") -> Program:
    environment = from_config(stack, config or {}, secret=ALL_SECRET)
    return lambda: Database(environment).outputs()


def declared(run: Runner, name: str, config: Mapping[str, Any] | None = None) -> Declared:
    return run(database(config)).declared[name]

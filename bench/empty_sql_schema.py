"""Stands in for components/sql_schema.py in the bench's second copy: the same outputs, and nothing behind them.

What a preview with this costs is Pulumi and the rest of the program; what the real one costs more is ours.
"""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from pgvector_stacks.config.environment import Environment

OUTPUTS = {"schemaRevision": "none", "postgresVersion": "18", "pgvectorVersion": "0", "validation": {}}


class SqlSchemaProvider(ResourceProvider):
    """Does nothing, in every method that the real one has."""

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        return CheckResult(news, [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult()

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("empty", props | OUTPUTS)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_news | OUTPUTS)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        inputs = {key: value for key, value in props.items() if key not in OUTPUTS and key != "__provider"}
        return ReadResult(id_, props, inputs)


class SqlSchema(Resource, module="pgvector", name="SqlSchema"):
    """The same outputs; of the inputs, only who it waits for."""

    schemaRevision: pulumi.Output[str]
    postgresVersion: pulumi.Output[str]
    pgvectorVersion: pulumi.Output[str]
    validation: pulumi.Output[dict[str, str]]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        kept = {key: props[key] for key in ("host", "port", "identity")}
        super().__init__(SqlSchemaProvider(), name, dict.fromkeys(OUTPUTS) | kept, opts)


def inputs(_environment: Environment) -> dict[str, Any]:
    """None: the scripts aren't even read."""
    return {}

"""The claim: a random number that says which state a container belongs to. The state and the container's label hold it.

Two checkouts, or two backends, may have a stack of the same name. A container with our name and another claim belongs
to another state and is never removed. A container with our claim that the state doesn't know was left by a killed `up`.
"""

from __future__ import annotations

import secrets
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, UpdateResult

from .shared.props import Props
from .shared.provider import DynamicResource, Provider


class ClaimProps(Props):
    value: str


class ClaimProvider(Provider):
    """Generates the claim in `create` and never again."""

    name = "claim"
    outputs = ("value",)

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("claim", ClaimProps(value=secrets.token_hex(8)).to_props())

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(ClaimProps(value=ClaimProps.from_props(_olds).value).to_props())


class Claim(DynamicResource, module="pgvector", name="Claim"):
    """`value`: str, 16 hex digits."""

    value: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(ClaimProvider(), name, {"value": None}, opts)

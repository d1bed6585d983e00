"""A password: the one in the stack file, otherwise one that is generated once and kept in the state, encrypted."""

from __future__ import annotations

import secrets
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, UpdateResult
from pydantic import SecretStr

from .shared.props import Props
from .shared.provider import DynamicResource, Provider

BYTES = 24  # 192 bits, 32 characters in URLs


class PasswordProps(Props):
    value: str


class GeneratedPasswordProvider(Provider):
    """Generates the password in `create` and never again."""

    name = "password"
    outputs = ("value",)

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("generated", PasswordProps(value=secrets.token_urlsafe(BYTES)).to_props())

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Keep the password: without this method, an update of another input would lose it."""
        return UpdateResult(PasswordProps(value=PasswordProps.from_props(_olds).value).to_props())


class GeneratedPassword(DynamicResource, module="pgvector", name="GeneratedPassword"):
    """`value`: str, always a secret."""

    value: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        options = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(additional_secret_outputs=["value"]), opts)
        super().__init__(GeneratedPasswordProvider(), name, {"value": None}, options)


def declare_password(name: str, configured: SecretStr | None, parent: pulumi.Resource) -> pulumi.Output[str]:
    """Return the configured password as a secret, or a generated one.

    The generated password is a resource even if the stack file sets a password. So the stack gets the same generated
    password back when the stack file no longer sets one.
    """
    generated = GeneratedPassword(name, pulumi.ResourceOptions(parent=parent))
    return generated.value if configured is None else pulumi.Output.secret(configured.get_secret_value())

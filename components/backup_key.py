"""The key that signs a stack's backups: in its state, encrypted, as its passwords are."""

from __future__ import annotations

import secrets
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, ResourceProvider, UpdateResult
from pydantic import SecretStr

from components.password import BYTES
from components.provider import DynamicResource


class BackupKeyProvider(ResourceProvider):
    """Input: configured (optional). It is made once, also while the config has one, which then counts."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("backup-key", _outs(props, secrets.token_hex(BYTES)))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_outs(_news, _olds["generated"]))


def _outs(props: dict[str, Any], generated: str) -> dict[str, Any]:
    configured = props.get("configured")
    return {"generated": generated, "value": configured or generated} | (
        {"configured": configured} if configured else {}
    )


class BackupKey(DynamicResource, module="pgvector", name="BackupKey"):
    """`value`: str, always a secret."""

    value: pulumi.Output[str]

    def __init__(self, name: str, configured: SecretStr | None, opts: pulumi.ResourceOptions | None = None) -> None:
        hidden = pulumi.ResourceOptions(additional_secret_outputs=["value", "generated", "configured"])
        given = pulumi.Output.secret(configured.get_secret_value()) if configured else None
        props = {"configured": given, "value": None, "generated": None}
        super().__init__(BackupKeyProvider(), name, props, pulumi.ResourceOptions.merge(hidden, opts))

"""The key that signs a stack's backups. It is in the state, encrypted like the passwords.

This resource is as old as the data and the first one that Pulumi checks. So it also records which engine has the data,
and refuses another engine before anything changes.
"""

from __future__ import annotations

import secrets
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, UpdateResult
from pydantic import SecretStr

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.docker import relocation

from .password import BYTES
from .shared.props import Props
from .shared.provider import DynamicResource, Provider, build_refusal


class BackupKeyProps(Props):
    """The keys: `value` is `configured` if that is set, otherwise `generated`."""

    engine: str
    configured: str = ""
    generated: str = ""
    value: str = ""

    def with_generated(self, generated: str) -> dict[str, Any]:
        return self.to_props(generated=generated, value=self.configured or generated)


class BackupKeyProvider(Provider):
    """Inputs: configured (optional), engine. A key is generated once, even if the stack file sets one."""

    name = "backup-key"
    outputs = ("generated", "value")

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        was = _olds.get("engine", news["engine"])  # an older state has none
        if was != news["engine"]:
            return build_refusal(news, PgstackError(relocation.explain_engine_refusal(was, news["engine"])))
        return CheckResult(news, [])

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("backup-key", BackupKeyProps.from_props(props).with_generated(secrets.token_hex(BYTES)))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        generated = BackupKeyProps.from_props(_olds).generated
        return UpdateResult(BackupKeyProps.from_props(_news).with_generated(generated))


class BackupKey(DynamicResource, module="pgvector", name="BackupKey"):
    """`value`: str, always a secret."""

    value: pulumi.Output[str]

    def __init__(
        self, name: str, configured: SecretStr | None, engine: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        hidden = pulumi.ResourceOptions(additional_secret_outputs=["value", "generated", "configured"])
        given = pulumi.Output.secret(configured.get_secret_value()) if configured else None
        props = {"configured": given, "engine": engine, "value": None, "generated": None}
        super().__init__(BackupKeyProvider(), name, props, pulumi.ResourceOptions.merge(hidden, opts))

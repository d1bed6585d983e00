"""What an engine that does nothing declares: the address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pulumi

from components.shared.engine import DeclaredServer
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.embedded.embedded_server import ADMIN

VARIABLE = "NOWHERE_PASSWORD"


def declare(
    environment: Environment, _parent: pulumi.Resource, _schema: Mapping[str, Any], _backup_key: pulumi.Output[str]
) -> DeclaredServer:
    """No resource."""
    return DeclaredServer(
        host=pulumi.Output.from_input("127.0.0.1"),
        port=pulumi.Output.from_input(int(environment.port or 0)),
        identity=pulumi.Output.from_input("nowhere"),
        version=pulumi.Output.from_input("18"),
        settings={},
        admin=ADMIN,
        admin_password=pulumi.Output.secret(os.environ[VARIABLE]),
    )

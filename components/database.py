"""The database of one environment: its engine's server, its passwords, its scripts, and what an application reads."""

from __future__ import annotations

import pulumi

from components import embedded_server, sql_schema
from components.engine import Server
from components.password import password
from postgres import roles
from postgres.connection import Address
from stacks.environment import Environment, check_built


class Database(pulumi.ComponentResource):
    """Declares all of a stack. `outputs()` is what the stack exports."""

    def __init__(self, environment: Environment, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pgvector:index:Database", environment.stack, None, opts)
        check_built(environment)
        self.environment = environment
        props = sql_schema.inputs(environment)  # first: a wrong script is reported before anything is declared
        self.server = embedded_server.declare(environment, self)
        self.app_password = password("app-password", environment.app_password, self)
        self.readonly_password = password("readonly-password", environment.readonly_password, self)
        self.schema = sql_schema.SqlSchema(
            "schema",
            props
            | {
                "host": self.server.host,
                "port": self.server.port,
                "identity": self.server.identity,
                "settings": self.server.settings,
                "admin": self.server.admin,
                "adminPassword": self.server.admin_password,
                "appPassword": self.app_password,
                "readonlyPassword": self.readonly_password,
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})

    def outputs(self) -> dict[str, pulumi.Output[object] | str]:
        """URLs hold a password and are secrets. No timestamps: a second `up` says unchanged."""
        server, schema = self.server, self.schema
        return {
            "host": server.host,
            "port": server.port,
            "database": self.environment.database,
            "appUrl": self._url(server, roles.APP, self.app_password),
            "readonlyUrl": self._url(server, roles.READONLY, self.readonly_password),
            "adminUrl": self._url(server, server.admin, server.admin_password),
            "engine": self.environment.engine,
            "postgresVersion": schema.postgresVersion,
            "pgvectorVersion": schema.pgvectorVersion,
            "schemaRevision": schema.schemaRevision,
            "validation": schema.validation,
        }

    def _url(self, server: Server, role: str, secret: pulumi.Output[str]) -> pulumi.Output[str]:
        """Known only once the scripts are applied, so that nothing downstream connects too early."""
        parts = pulumi.Output.all(server.host, server.port, secret, self.schema.schemaRevision)
        url = parts.apply(lambda p: Address(p[0], int(p[1]), self.environment.database, role, p[2]).url)
        return pulumi.Output.secret(url)

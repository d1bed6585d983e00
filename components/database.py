"""The database of one environment: its engine's server, its passwords, its scripts, and its outputs."""

from __future__ import annotations

import os
from importlib import import_module

import pulumi

from pgvector_stacks.config import offline
from pgvector_stacks.config.cautions import find_cautions, is_root_of_a_host
from pgvector_stacks.config.engines import get_config
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.connections.server_authentication import WITHOUT_TLS
from pgvector_stacks.docker.container_spec import PORT

from . import sql_schema
from .backup_key import BackupKey
from .password import declare_password
from .shared.engine import DeclaredServer
from .shared.schema_check import WANTED_INPUTS


class Database(pulumi.ComponentResource):
    """The component that declares all resources of a stack. `outputs()` returns what the stack exports."""

    def __init__(self, environment: Environment, opts: pulumi.ResourceOptions | None = None) -> None:
        if not pulumi.runtime.is_dry_run():
            offline.refuse_up(os.environ)
        super().__init__("pgvector:index:Database", environment.stack, None, opts)
        self.environment = environment
        for meaning, remedy in find_cautions(environment, os.environ, root=is_root_of_a_host(os.environ)):
            pulumi.log.warn(f"{meaning}\n  {remedy}")
        props = sql_schema.inputs(environment)  # first: a wrong script is reported before anything is declared
        inside = pulumi.ResourceOptions(parent=self)
        self.backup_key = BackupKey("backup-key", environment.backup_key, environment.engine, inside)
        wanted = {key: value for key, value in props.items() if key in WANTED_INPUTS}
        declaration = import_module(get_config(environment.engine).component, __package__)
        self.server: DeclaredServer = declaration.declare(environment, self, wanted, self.backup_key.value)
        self.app_password = declare_password("app-password", environment.app_password, self)
        self.readonly_password = declare_password("readonly-password", environment.readonly_password, self)
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
            }
            # only values that the engine sets: an added input would update the schema of every stack
            | {
                key: value
                for key, value in (
                    ("sslmode", self.server.sslmode),
                    ("via", self.server.via),
                    ("certificate", self.server.certificate),
                    ("buildMemoryMb", self.server.build_memory_mb),
                    ("backupPassword", self.server.backup_password),
                )
                if isinstance(value, pulumi.Output) or value
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})

    def outputs(self) -> dict[str, pulumi.Output[object] | str]:
        """Return the stack's outputs. URLs are secrets, as they hold a password. No value is a time, so a second `up`
        reports "unchanged".
        """
        server, schema = self.server, self.schema
        found: dict[str, pulumi.Output[object] | str] = {
            "host": server.host,
            "port": server.port,
            "database": self.environment.database,
            "sslmode": self._sslmode,
            "appUrl": self._url(server, roles.APP, self.app_password),
            "appUser": roles.APP,
            "appPassword": pulumi.Output.secret(self.app_password),
            "readonlyUrl": self._url(server, roles.READONLY, self.readonly_password),
            "engine": self.environment.engine,
            "postgresVersion": schema.postgresVersion,
            "pgvectorVersion": schema.pgvectorVersion,
            "schemaRevision": schema.schemaRevision,
            "validation": schema.validation,
        }
        if self.environment.admin_url:
            found["adminUrl"] = self._url(server, server.admin, server.admin_password)
        if server.network is not None and server.internal_host is not None:
            internal = self._url(server, roles.APP, self.app_password, host=server.internal_host, port=PORT)
            found |= {"network": server.network, "internalHost": server.internal_host, "appUrlInternal": internal}
        if server.certificate is not None:
            found["certificate"] = server.certificate
        return found

    @property
    def _sslmode(self) -> str:
        return self.server.sslmode or WITHOUT_TLS

    def _url(
        self, server: DeclaredServer, role: str, secret: pulumi.Output[str], *, host: str = "", port: int = 0
    ) -> pulumi.Output[str]:
        """Return a URL that is known only once the scripts are applied, so that nothing else connects too early."""
        parts = pulumi.Output.all(host or server.host, port or server.port, secret, self.schema.schemaRevision)
        database, mode = self.environment.database, self._sslmode
        url = parts.apply(lambda p: Address(p[0], int(p[1]), database, role, p[2], sslmode=mode).url)
        return pulumi.Output.secret(url)

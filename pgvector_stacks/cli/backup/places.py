"""Opens the toolbox in which a backup, a drill or a restore of a stack runs, with its engine's PostgreSQL programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from pgvector_stacks.cli.inspection import DatabaseAddresses
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.engines.interface import Need, Programs, get_engine
from pgvector_stacks.toolbox.interface import ServerConnection, Toolbox, connect_with_password


@dataclass(frozen=True, slots=True)
class DeployedStack:
    """A stack as its outputs describe it. `major`: of the running server; `key`: signs its backups; "": none yet."""

    environment: Environment
    admin: Address
    major: int
    key: str = field(default="", repr=False)

    @classmethod
    def from_outputs(cls, environment: Environment, outputs: Mapping[str, Any], key: str) -> DeployedStack:
        """Return the stack that the outputs describe."""
        admin = DatabaseAddresses.from_outputs(outputs, get_engine(environment).via(environment)).admin
        return cls(environment, admin, int(str(outputs["postgresVersion"]).split(".")[0]), key)


def count_jobs(environment: Environment) -> int:
    """Return how many jobs a dump or restore may run in parallel. At most 4: the server also serves clients."""
    return max(1, min(4, int(environment.cpus)))


@contextmanager
def open_server_toolbox(stack: DeployedStack) -> Iterator[tuple[Toolbox, ServerConnection]]:
    """Open a toolbox that reaches the stack's server as its superuser. Raises PgstackError."""
    with get_engine(stack.environment).open_programs(stack.environment, Need(server=True)) as beside:
        host, port = beside.address or (stack.admin.host, stack.admin.port)
        yield beside.toolbox, connect_with_password(beside.toolbox, stack.major, host, port, stack.admin)


def open_isolated_programs(environment: Environment) -> AbstractContextManager[Programs]:
    """Open programs that reach neither the server nor a network. Raises PgstackError."""
    return get_engine(environment).open_programs(environment, Need())

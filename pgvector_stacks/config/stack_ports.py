"""Which stack claims which port, as the stack files say, and which port is the next free one.

Two stacks of one environment have one default port. On one Docker host only one of them can have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pgvector_stacks.common.errors import ConfigError
from pgvector_stacks.config.defaults import DEFAULTS, ENVIRONMENTS
from pgvector_stacks.config.engines import REGISTRY, get_config
from pgvector_stacks.config.environment import NAMESPACE, Environment, list_stacks, read_stack_file

POSTGRESQL = 5432  # where neither the stack file nor the environment has a port
LAST = 65535


@dataclass(frozen=True, slots=True)
class PortClaim:
    """The port of one stack. `host`: the keys that choose its Docker host; `own`: its file has the port."""

    stack: str
    port: int
    host: tuple[object, object]
    own: bool


def find_claim(stack: str, keys: Mapping[str, Any]) -> PortClaim | None:
    """Return the claim of a stack with these keys; None if its engine publishes none, or its file isn't valid. Pure."""
    environment = keys.get("environment", stack)
    if environment not in ENVIRONMENTS:
        return None
    found = {**DEFAULTS[environment], **keys}
    port = str(found.get("port") or POSTGRESQL)
    if found["engine"] not in REGISTRY or not get_config(found["engine"]).is_published or not port.isdecimal():
        return None
    return PortClaim(
        stack, int(port), (keys.get("dockerHost"), keys.get("dockerContext")), keys.get("port") is not None
    )


def read_claims() -> list[PortClaim]:
    """Return the claims of all stacks. Raises ConfigError if a stack file isn't YAML."""
    claims = (find_claim(stack, read_stack_file(stack)) for stack in list_stacks())
    return [claim for claim in claims if claim is not None]


def choose_port(first: int, is_taken: Callable[[int], bool]) -> int:
    """Return the first port from `first` on that isn't taken. Raises ConfigError if there is none. Pure."""
    for port in range(first, LAST + 1):
        if not is_taken(port):
            return port
    raise ConfigError(f"no port from {first} to {LAST} is free\n  choose one yourself: {NAMESPACE}:port")


def find_conflict(environment: Environment, claims: Iterable[PortClaim]) -> str | None:
    """Return why the stack can't have its default port, with the next free one; None if it can. Pure.

    A port in the stack's own file isn't questioned. A stack named like an environment keeps its default.
    """
    known = list(claims)
    own = any(claim.own for claim in known if claim.stack == environment.stack)
    if own or environment.stack in ENVIRONMENTS or not get_config(environment.engine).is_published:
        return None
    port, host = environment.port or POSTGRESQL, (environment.docker_host, environment.docker_context)
    others = [claim for claim in known if claim.stack != environment.stack]
    holders = [claim.stack for claim in others if claim.port == port and claim.host == host]
    if not holders:
        return None
    free = choose_port(port, {claim.port for claim in others}.__contains__)
    return (
        f"stack {environment.stack}: its port would be {port}, the default of {environment.environment}, "
        f"and that is the port of {', '.join(holders)}\n"
        f"  set it in stacks/Pulumi.{environment.stack}.yaml; the next free one:  {NAMESPACE}:port: {free}"
    )


def refuse_conflict(environment: Environment) -> None:
    """Raise ConfigError if the stack has no port of its own, and another stack on its Docker host has the default."""
    if conflict := find_conflict(environment, read_claims()):
        raise ConfigError(conflict)

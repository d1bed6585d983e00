"""Writes the file of a new stack. Its port is one that no other stack has, and that is free on its Docker host."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
import yaml

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config import environment as config
from pgvector_stacks.config import stack_ports
from pgvector_stacks.config.stack_names import choose_environment, parse_name

HEAD = "# yaml-language-server: $schema=schema.json\n# Keys that are not here have the defaults of the environment.\n"
# what only one stack can have, or what says something of its database
KEPT_OUT = (
    "environment", "port", "containerName", "adoptVolume", "dataPath", "baseline", "tlsCertificate", *config.SECRETS,
)  # fmt: skip


def create_stack_file(
    name: Annotated[str, typer.Argument(help="Of the new stack: letters, digits, -, _ and .")],
    environment: Annotated[str, typer.Option(help=f"One of {', '.join(config.ENVIRONMENTS)}: its defaults.")],
    source: Annotated[str | None, typer.Option("--from", help="A stack whose keys are taken, without secrets.")] = None,
) -> None:
    """Write the file of a new stack, with a port that is free on its Docker host."""
    typer.echo(create_stack(name, environment, source, ask_docker_host))


def fill_in(environment: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of the new stack: its environment, and what may be taken from another stack's. Pure."""
    return {"environment": environment} | {key: value for key, value in source.items() if key not in KEPT_OUT}


def create_stack(
    stack: str, environment: str, source: str | None, ask: Callable[[config.Environment], Callable[[int], bool]]
) -> str:
    """Write the stack file and return a message about it. Raises PgstackError.

    `source`: the stack whose keys are taken; `ask`: returns whether a port is taken on a stack's Docker host.
    """
    name = parse_name(stack)
    path = config.STACKS / f"Pulumi.{name}.yaml"
    if path.exists():
        raise PgstackError(f"stacks/{path.name} exists already; nothing was written\n  see it:  cat stacks/{path.name}")
    choose_environment(name, environment, config.list_stacks())
    if source is not None:
        config.check_name(source)
    keys = fill_in(environment, config.read_stack_file(parse_name(source)) if source else {})
    found = config.from_config(name, keys)  # reports what of the source doesn't fit
    if claim := stack_ports.find_claim(name, keys):
        claimed = {each.port for each in stack_ports.read_claims()}
        if name in config.ENVIRONMENTS:  # its own default
            claimed.discard(claim.port)
        is_taken = ask(found)
        keys["port"] = stack_ports.choose_port(claim.port, lambda port: port in claimed or is_taken(port))
    content = {"config": {f"{config.NAMESPACE}:{key}": value for key, value in keys.items()}}
    path.write_text(HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    port = f", port {keys['port']}" if "port" in keys else ""
    return f"wrote stacks/{path.name} (environment {environment}{port}); next:  pgstack up {name}"


def ask_docker_host(environment: config.Environment) -> Callable[[int], bool]:
    """Return whether a port is taken on the stack's Docker host: by a container, also a stopped one, or a process.

    Processes are seen on this machine only. Raises DockerFailed, if no Docker Engine answers.
    """
    from pgvector_stacks.docker import docker_host, preflight  # slow to import; the other commands don't need them

    endpoint = docker_host.choose_endpoint(environment.docker_host, environment.docker_context, os.environ)
    client = docker_host.connect(endpoint.url, endpoint.chosen_by)
    try:
        with docker_host.docker_errors():
            containers = client.containers.list(all=True, ignore_removed=True)
    finally:
        client.close()
    published = {port for container in containers for port in find_published_ports(container.attrs["HostConfig"])}
    address = environment.bind_address

    def is_taken(port: int) -> bool:
        return port in published or (endpoint.is_local and preflight.try_to_bind(address, port) == errno.EADDRINUSE)

    return is_taken


def find_published_ports(host_config: Mapping[str, Any]) -> set[int]:
    """Return the ports that a container publishes when it runs. Pure."""
    bound = [each for ports in (host_config.get("PortBindings") or {}).values() for each in ports or []]
    return {int(each["HostPort"]) for each in bound if each.get("HostPort")}

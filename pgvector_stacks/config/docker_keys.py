"""The keys of a stack that only the Docker engine reads."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo

from pgvector_stacks.common.image_names import FROZEN, MAJORS, parse_major

IMAGE = "pgvector/pgvector:0.8.6-pg17-trixie"


def _known_major(image: str) -> str:
    """Refuse an image whose name says an unsupported major version."""
    major = parse_major(image)
    if major is not None and major not in MAJORS:
        raise ValueError(f"PostgreSQL {major}; supported are {', '.join(map(str, MAJORS))}")
    return image


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError("no IP address; 127.0.0.1 is only this machine, 0.0.0.0 every network") from None


def _absolute(value: str | None) -> str | None:
    if value is not None and not PurePosixPath(value).is_absolute():
        raise ValueError("an absolute path on the Docker host")
    return value


def _docker_host(value: str | None) -> str | None:
    if value is not None and not value.startswith(("unix://", "ssh://", "tcp://")):
        raise ValueError("begins with unix://, ssh:// or tcp://")
    return value


def _kept(value: str | None, info: ValidationInfo) -> str | None:
    """Refuse to adopt a volume that `down` would delete, or that a dataPath would move."""
    if value is not None and info.data.get("volume") == "delete":
        raise ValueError("an adopted volume isn't deleted with the stack: set pgvector:volume to retain or protect")
    if value is not None and info.data.get("data_path") is not None:
        raise ValueError("an adopted volume lies where it is: leave pgvector:dataPath out")
    return value


HostName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$")]


class DockerKeys(BaseModel):
    """The keys that configure the container, its volume and its network."""

    image: Annotated[str, AfterValidator(_known_major)] = Field(
        default=IMAGE,
        min_length=1,
        description=f"Image of the docker engine, best with a digest; {FROZEN} may be used.",
    )
    container_name: HostName | None = Field(
        default=None,
        description="Name of the container, its volume and its network; left out: pgvector-STACK.",
    )
    bind_address: Annotated[str, AfterValidator(_address)] = Field(
        default="127.0.0.1", description="Address of the Docker host on which the port is published."
    )
    network_aliases: tuple[HostName, ...] = Field(
        default=("db",), description="Names by which containers on the same network reach the server."
    )
    data_path: Annotated[str | None, AfterValidator(_absolute)] = Field(
        default=None, description="Directory on the Docker host for the data; left out: where Docker keeps volumes."
    )
    volume: Literal["delete", "retain", "protect"] = Field(
        default="retain",
        description="What `down` does to the data: `delete`, `retain`, or `protect`: never while the stack exists.",
    )
    adopt_volume: Annotated[str | None, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]+$"), AfterValidator(_kept)] = Field(
        default=None, description="Existing volume to go on with, as Docker Compose made it; docs/upgrade.md."
    )
    tls: Literal["off", "require"] = Field(
        default="off", description="`require`: connections over TCP without TLS are refused."
    )
    tls_certificate: str | None = Field(
        default=None, description="PEM certificate for TLS; left out, one is made and kept in the state."
    )
    settings: dict[str, str | int | float | bool] = Field(
        default={}, description="Settings of postgresql.conf besides or instead of those derived from the limits."
    )
    pids_limit: int = Field(default=512, ge=64, le=65536, description="Processes and threads the container may have.")
    open_files: int = Field(default=16384, ge=1024, le=1 << 20, description="Files a process may have open.")
    log_max_size_mb: int = Field(default=20, ge=1, le=10240, description="MiB after which the log begins a new file.")
    log_max_files: int = Field(default=5, ge=1, le=100, description="Log files kept.")
    restart: Literal["no", "on-failure", "unless-stopped", "always"] = Field(
        default="unless-stopped", description="When Docker starts the container again."
    )
    stop_grace_s: int = Field(
        default=120, ge=10, le=3600, description="Seconds PostgreSQL has to shut down before it is killed."
    )
    docker_host: Annotated[str | None, AfterValidator(_docker_host)] = Field(
        default=None, description="Docker Engine to use; left out: DOCKER_HOST, else the current context."
    )
    docker_context: str | None = Field(default=None, description="Docker context to use instead of dockerHost.")

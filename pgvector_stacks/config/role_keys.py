"""The keys of a stack that limit what the application's roles may use of the server."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pgvector_stacks.connections.role_limits import IDLE_IN_TRANSACTION_S


class RoleKeys(BaseModel):
    """Limits of `app` and `readonly` (other roles have none), and whether the administrator's URL is an output."""

    admin_url: bool = Field(
        default=False,
        description="An output `adminUrl`, the superuser's, for programs; `pgstack psql --as admin` needs none.",
    )

    app_connections: int | None = Field(
        default=None, ge=1, le=100000, description="Connections `app` may have; left out: what `readonly` and we leave."
    )
    readonly_connections: int | None = Field(
        default=None, ge=1, le=100000, description="Connections `readonly` may have; left out: a fifth of all."
    )
    temp_file_limit_mb: int | None = Field(
        default=None,
        ge=0,
        le=1 << 21,
        description="MiB of temporary files a session of `app` or `readonly` may have; left out: 2 x memoryMb; 0: any.",
    )
    idle_in_transaction_s: float = Field(
        default=IDLE_IN_TRANSACTION_S,
        ge=0,
        le=86400,
        description="Seconds after which an idle transaction of `app` or `readonly` is ended; 0: never.",
    )

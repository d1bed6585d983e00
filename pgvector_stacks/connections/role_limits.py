"""Limits what `app` and `readonly` may use of the server, so that neither blocks the other, the scripts or pgstack.

Invariant: however many connections both open, `RESERVED` are left for the administrator, the scripts' owner and a
backup. Temporary files and idle transactions of a session are limited too; `schema_owner` and pgstack have no limits.
Pure. `apply` sets the limits, `role_drift` compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgvector_stacks.common.errors import SettingRefused

RESERVED = 5
OF_A_BACKUP = 4  # psql, pg_dump and its workers: reserved connections are for superusers only
LEAST_TEMPORARY_MB = 1024
IDLE_IN_TRANSACTION_S: float = 600


@dataclass(frozen=True, slots=True)
class RoleLimits:
    """`temporary_mb`: MiB of temporary files per session, 0: no limit. `idle_in_transaction_s`: 0: no limit."""

    app_connections: int
    readonly_connections: int
    temporary_mb: int
    idle_in_transaction_s: float

    def connections(self, role: str) -> int:
        """Return the role's CONNECTION LIMIT; -1: no limit of its own."""
        return {"app": self.app_connections, "readonly": self.readonly_connections}.get(role, -1)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of `app` and `readonly`, spelled as pg_db_role_setting stores them."""
        return {
            "temp_file_limit": f"{self.temporary_mb}MB" if self.temporary_mb else "-1",
            "idle_in_transaction_session_timeout": f"{round(self.idle_in_transaction_s * 1000)}ms",
        }


def derive_role_limits(
    max_connections: int,
    memory_mb: int,
    *,
    reserved: int = 0,
    scheduled: bool = False,
    app: int | None = None,
    readonly: int | None = None,
    temporary_mb: int | None = None,
    idle_in_transaction_s: float = IDLE_IN_TRANSACTION_S,
) -> RoleLimits:
    """Return the limits for a server with `max_connections`, of which its settings reserve `reserved` for superusers.

    `scheduled`: backups run on a schedule, under a role that is not a superuser.

    `readonly` gets a fifth of the connections, `app` the rest. A session may have temporary files of twice the
    server's memory. Raises SettingRefused where the configured limits leave too few connections.
    """
    most = max_connections - max(RESERVED, reserved + 2) - 1 - (OF_A_BACKUP if scheduled else 0)
    if readonly is None:
        rest = most - app if app is not None else most
        readonly = max(1, min(most // 5, rest))
    if app is None:
        app = max(1, most - readonly)
    if app + readonly > max(2, most):
        raise SettingRefused(
            f"pgvector:appConnections {app} and readonlyConnections {readonly} are {app + readonly}: of max_connections"
            f" {max_connections} at most {max(2, most)} are theirs, or scripts and backups find none\n"
            "  lower one of them, or raise pgvector:memoryMb (or max_connections in pgvector:settings)"
        )
    if temporary_mb is None:
        temporary_mb = max(LEAST_TEMPORARY_MB, 2 * memory_mb)
    return RoleLimits(app, readonly, temporary_mb, idle_in_transaction_s)

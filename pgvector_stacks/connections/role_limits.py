"""What `app` and `readonly` may take of the server, so that neither locks the other, the scripts or us out.

Invariant: however many connections both open, `RESERVED` are left for the administrator, the scripts' owner and a
backup. A session's temporary files and an idle transaction end at a limit; none holds for `schema_owner` or for us.
Pure. `roles.ensure_cluster` sets it, `role_drift` compares it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgvector_stacks.common.errors import SettingRefused

RESERVED = 5
OF_A_BACKUP = 4  # psql, pg_dump and its workers: as no superuser's they get none of those the server reserves
LEAST_TEMPORARY_MB = 1024
IDLE_IN_TRANSACTION_S: float = 600


@dataclass(frozen=True, slots=True)
class RoleLimits:
    """`temporary_mb`: MiB of temporary files one session may have; 0: no limit. `idle_in_transaction_s`: 0: none."""

    app_connections: int
    readonly_connections: int
    temporary_mb: int
    idle_in_transaction_s: float

    def connections(self, role: str) -> int:
        """-1: as many as the server has."""
        return {"app": self.app_connections, "readonly": self.readonly_connections}.get(role, -1)

    @property
    def settings(self) -> dict[str, str]:
        """What ALTER ROLE … SET says for `app` and `readonly`, as pg_db_role_setting keeps it."""
        return {
            "temp_file_limit": f"{self.temporary_mb}MB" if self.temporary_mb else "-1",
            "idle_in_transaction_session_timeout": f"{round(self.idle_in_transaction_s * 1000)}ms",
        }


def derive(
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
    """The limits of a server with `max_connections`, of which it keeps `reserved` for superusers by its own settings.

    `scheduled`: there is a schedule of backups, whose role is no superuser.

    A fifth of the connections is `readonly`'s, the rest `app`'s; a session's temporary files take twice the memory.
    Raises SettingRefused where what is asked for leaves too few connections.
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

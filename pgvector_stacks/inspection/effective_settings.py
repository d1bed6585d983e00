"""Compares the settings that a stack requires with those of its server, by their values instead of their spelling.

The comparison uses a separate session in the database postgres that sets nothing: our other sessions set timeouts, a
search_path and more, and would read their own values. A value that a database or role sets for its sessions hides the
server's value from every such session. This is reported as hidden, not as a difference.

Invariant: two spellings are equal exactly if the server stores the same value for both. `setting_values.py` decides for
numbers, booleans and enums. A setting with its own rules (DateStyle, TimeZone) is set on the server, and rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import Connection

from pgvector_stacks.common import queries
from pgvector_stacks.connections import setting_values

DATABASE = "postgres"
# A space: if the value is empty, libpq reads PGOPTIONS instead.
NO_OPTIONS = " "
OURS = ("dbname", "options", "application_name", "connect_timeout")
CONNECT_S = 10
HIDDEN_BY: Mapping[str, str] = MappingProxyType(
    {
        "global": "set for every role", "database": f"set for the database {DATABASE}", "user": "set for the role",
        "database user": f"set for the role in the database {DATABASE}", "client": "set by the environment of libpq",
        "session": "set by the environment of libpq",
    }
)  # fmt: skip
# The server replaces these values by one that it computes.
BY_ITSELF: Mapping[str, int] = MappingProxyType(
    {"wal_buffers": -1, "commit_timestamp_buffers": 0, "subtransaction_buffers": 0, "transaction_buffers": 0,
     "multixact_member_buffers": -1, "multixact_offset_buffers": -1}
)  # fmt: skip
FORMER_NAMES: Mapping[str, str] = MappingProxyType(  # which the server still accepts
    {"sort_mem": "work_mem", "vacuum_mem": "maintenance_work_mem", "force_parallel_mode": "debug_parallel_query",
     "ssl_ecdh_curve": "ssl_groups"}
)  # fmt: skip
CAN_BE_TRIED = ("user", "superuser")


@dataclass(frozen=True, slots=True)
class ServerSetting:
    """A row of `server_settings.sql`. `value`: pg_settings.setting; `stored`: reset_val, where a string is as given."""

    name: str
    value: str
    stored: str
    unit: str | None
    kind: str
    context: str
    source: str

    def is_(self, wanted: str) -> bool:
        """Return True if the server's value equals `wanted`."""
        if any(
            setting_values.are_equal(self.name, self.kind, self.unit, wanted, each)
            for each in (self.stored, self.value)
        ):
            return True
        itself = BY_ITSELF.get(self.name.lower())
        return itself is not None and setting_values.parse_number(self.kind, self.unit, wanted) == itself


@dataclass(frozen=True, slots=True)
class SettingsComparison:
    """The result of a comparison. `equal`: a count; `different`, `hidden`: one text per setting."""

    equal: int
    different: tuple[str, ...]
    hidden: tuple[str, ...]


def compare(connection: Connection[Any], wanted: Mapping[str, str]) -> SettingsComparison:
    """Compare the settings of `connection`'s server with `wanted`. Raises psycopg.Error."""
    with _session(connection) as asked:
        rows = asked.execute(queries.get("server_settings")).fetchall()
        known = {row[0].lower(): ServerSetting(row[0], *(each or "" for each in row[1:3]), *row[3:]) for row in rows}
        different, hidden = [], []
        for name, value in sorted(wanted.items()):
            setting = known.get(name.lower()) or known.get(FORMER_NAMES.get(name.lower(), ""))
            if setting is not None and setting.source in HIDDEN_BY:
                hidden.append(f"{name} can't be seen: {HIDDEN_BY[setting.source]}")
            elif not (_unlisted_is(asked, name, value) if setting is None else _is(asked, setting, value)):
                different.append(f"{name} is {_shown(asked, name)}, derived {value}")
    return SettingsComparison(len(wanted) - len(different) - len(hidden), tuple(different), tuple(hidden))


def _session(connection: Connection[Any]) -> Connection[Any]:
    """Open another session of the same role on the same server."""
    given: dict[str, Any] = {key: value for key, value in connection.info.get_parameters().items() if key not in OURS}
    return psycopg.connect(
        **given, password=connection.info.password, dbname=DATABASE, options=NO_OPTIONS, connect_timeout=CONNECT_S,
        autocommit=True,
    )  # fmt: skip


def _is(connection: Connection[Any], setting: ServerSetting, wanted: str) -> bool:
    """Return True if the setting equals `wanted`; if necessary, set it in a transaction that is rolled back."""
    if setting.is_(wanted):
        return True
    if setting.kind not in ("string", "enum") or setting.context not in CAN_BE_TRIED:
        return False
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", (setting.name, wanted))
            return _shown(connection, setting.name) == setting.value
    except psycopg.Error:
        return False


def _unlisted_is(connection: Connection[Any], name: str, wanted: str) -> bool:
    """Compare a setting of an extension that isn't loaded: the server stores it exactly as written."""
    return _shown(connection, name) == wanted


def _shown(connection: Connection[Any], name: str) -> str | None:
    """Return the setting's value as SHOW prints it; None if there is no such setting."""
    row: Sequence[Any] | None = connection.execute("SELECT pg_catalog.current_setting(%s, true)", (name,)).fetchone()
    return None if row is None else row[0]

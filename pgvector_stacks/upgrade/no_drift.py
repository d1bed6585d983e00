"""Refuses to upgrade a server with drift where the environment refuses drift: `up` would fail after the upgrade."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pgvector_stacks.common.errors import DriftRefused
from pgvector_stacks.connections.connection import INSPECTION_OPTIONS, Address, connect
from pgvector_stacks.inspection import role_drift, schema_drift
from pgvector_stacks.upgrade.facts import SourceServer


@dataclass(frozen=True, slots=True)
class NoDrift:
    """The check that a schema has no drift. `database`: the stack's own, which has the scripts' schema."""

    stack: str
    database: str

    def must_hold(self, address: Address, source: SourceServer) -> None:
        """Query the running server. Raises DriftRefused, ConnectionFailed, psycopg.Error."""
        if self.database not in source.databases:
            return  # no `up` has created the database yet
        with connect(replace(address, database=self.database), options=INSPECTION_OPTIONS) as connection:
            if differences := role_drift.sort_drift(schema_drift.find_drift_unless_locked(connection), ()).drift:
                raise DriftRefused(schema_drift.explain_refusal(self.stack, differences))

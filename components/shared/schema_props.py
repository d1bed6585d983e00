"""The properties of the schema, from where its database is to what its `up` needs; and what older states hold of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pgvector_stacks.connections.connection import Address
from pgvector_stacks.connections.role_limits import RoleLimits

from .props import Props

LISTINGS = ("scripts", "verify")


class RoleLimitProps(Props):
    """By the keys of the stack file, for a preview."""

    app_connections: int
    readonly_connections: int
    temp_file_limit_mb: int
    idle_in_transaction_s: float

    @classmethod
    def of(cls, limits: RoleLimits) -> Self:
        return cls(
            app_connections=limits.app_connections,
            readonly_connections=limits.readonly_connections,
            temp_file_limit_mb=limits.temporary_mb,
            idle_in_transaction_s=limits.idle_in_transaction_s,
        )

    @property
    def limits(self) -> RoleLimits:
        return RoleLimits(
            self.app_connections, self.readonly_connections, self.temp_file_limit_mb, self.idle_in_transaction_s
        )


class DatabaseProps(Props):
    """Where the database is, and how its administrator reaches it."""

    host: str
    port: int
    database: str
    admin: str
    admin_password: str | None = None
    sslmode: str = ""
    via: str = ""
    certificate: str = ""

    def addresses(self, *former: str | None) -> list[Address]:
        """The administrator's, and with `former` passwords for as long as a new one isn't set yet."""
        return [
            Address(
                self.host, self.port, self.database, self.admin, word,
                sslmode=self.sslmode, via=self.via, certificate=self.certificate,
            )
            for word in dict.fromkeys((self.admin_password, *former)) if word
        ]  # fmt: skip

    @property
    def demands_tls(self) -> bool:
        return self.sslmode in ("require", "verify-ca", "verify-full")


class MadeProps(DatabaseProps):
    """And what an `up` makes in it besides the scripts. None of it was in every state."""

    extensions: tuple[str, ...] = ()
    app_password: str = ""
    readonly_password: str = ""
    backup_password: str = ""
    role_limits: RoleLimitProps | None = None

    @property
    def limits(self) -> RoleLimits | None:
        return self.role_limits.limits if self.role_limits else None


class SchemaProps(MadeProps):
    """And all that an `up` needs, with the outputs."""

    stack: str
    scripts: str
    verify: str
    order: tuple[str, ...]
    baseline: tuple[str, ...]
    app_password: str
    readonly_password: str
    settings: dict[str, str]
    pgvector_minimum: str
    statement_timeout_s: float
    lock_timeout_s: float
    lock_wait_s: float
    build_memory_mb: int = 0
    adopt: bool = False
    accepted_recall: tuple[str, ...] = ()
    schema_revision: str = ""
    postgres_version: str = ""
    pgvector_version: str = ""
    validation: dict[str, str] | None = None
    ledger: str = ""


def as_of_today(props: Mapping[str, Any]) -> dict[str, Any]:
    """What older states hold in other forms: listings as maps, and no `revision`.

    Under `ledger` those had the revision to be reached or the one that was found, maybe with a reason behind it.
    """
    found = {**props} | {key: _as_lines(props[key]) for key in LISTINGS if key in props}
    if "ledger" in props and "revision" not in props:
        word = props["ledger"].split(" ", 1)[0]
        found |= {"revision": props.get("schemaRevision") or word, "ledger": word}
    return found


def _as_lines(listing: str | Mapping[str, str]) -> str:
    """The listing of scripts in the order of its numbers: of a map Pulumi keeps none."""
    if isinstance(listing, str):
        return listing
    places = sorted(listing, key=lambda place: int(place.split(" ", 1)[0]))
    return "".join(f"{place}  {listing[place]}\n" for place in places)

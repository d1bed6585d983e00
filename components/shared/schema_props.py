"""The properties of the resource `schema`, in models that build on each other, and how older states are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pgvector_stacks.connections.connection import Address
from pgvector_stacks.connections.role_limits import RoleLimits

from .props import Props

LISTINGS = ("scripts", "verify")


class RoleLimitProps(Props):
    """The limits of the roles, named as in the stack file, so that a preview shows those names."""

    app_connections: int
    readonly_connections: int
    temp_file_limit_mb: int
    idle_in_transaction_s: float

    @classmethod
    def from_limits(cls, limits: RoleLimits) -> Self:
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
    """The database's address, and how its administrator connects to it."""

    host: str
    port: int
    database: str
    admin: str
    admin_password: str | None = None
    sslmode: str = ""
    via: str = ""
    certificate: str = ""

    def addresses(self, *former: str | None) -> list[Address]:
        """Return the administrator's addresses: with the present password, then with each of the `former` passwords.

        A former password works until an `up` has set the new one.
        """
        return [
            Address(
                self.host, self.port, self.database, self.admin, word,
                sslmode=self.sslmode, via=self.via, certificate=self.certificate,
            )
            for word in dict.fromkeys((self.admin_password, *former)) if word
        ]  # fmt: skip


def demands_tls(sslmode: str | None) -> bool:
    """Return whether the server accepts TCP connections only with TLS, by the sslmode that its clients use."""
    return sslmode in ("require", "verify-ca", "verify-full")


class MadeProps(DatabaseProps):
    """The database, and what an `up` creates in it besides the scripts' objects. Older states lack some of it."""

    extensions: tuple[str, ...] = ()
    app_password: str = ""
    readonly_password: str = ""
    backup_password: str = ""
    role_limits: RoleLimitProps | None = None

    @property
    def limits(self) -> RoleLimits | None:
        return self.role_limits.limits if self.role_limits else None


class SchemaProps(MadeProps):
    """All that an `up` needs, and the outputs."""

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


def modernise(props: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of any state in the present form. Older states have listings as maps, and no `revision`.

    Their `ledger` is the revision to be reached or the one that was found, in some states followed by a reason.
    """
    found = {**props} | {key: _as_lines(props[key]) for key in LISTINGS if key in props}
    if "ledger" in props and "revision" not in props:
        word = props["ledger"].split(" ", 1)[0]
        found |= {"revision": props.get("schemaRevision") or word, "ledger": word}
    return found


def _as_lines(listing: str | Mapping[str, str]) -> str:
    """Return the listing as lines, sorted by the scripts' numbers, because Pulumi doesn't keep the order of a map."""
    if isinstance(listing, str):
        return listing
    places = sorted(listing, key=lambda place: int(place.split(" ", 1)[0]))
    return "".join(f"{place}  {listing[place]}\n" for place in places)

"""The facts that an upgrade needs: about the running server, the target's programs, and the disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg.rows import dict_row

from pgvector_stacks.common import queries
from pgvector_stacks.connections.connection import Address, connect


@dataclass(frozen=True, slots=True)
class Collation:
    """A collation of an index. `provider`: c (the C library), i (ICU); `recorded`: the provider's version that
    PostgreSQL has recorded for it; `actual`: the provider's installed version.
    """

    name: str
    provider: str
    recorded: str | None = None
    actual: str | None = None


@dataclass(frozen=True, slots=True)
class CollatedIndex:
    """An index whose order depends on the C library or ICU. `name`: quoted, with its schema."""

    name: str
    bytes: int
    unique: bool = False
    exclusion: bool = False
    collations: Sequence[Collation] = ()

    @property
    def stale(self) -> bool:
        """Whether PostgreSQL has recorded another version than is installed. REFRESH VERSION changes the record."""
        return any(c.recorded is not None and c.actual is not None and c.recorded != c.actual for c in self.collations)


def parse_collated_indexes(found: Iterable[Mapping[str, Any]]) -> tuple[CollatedIndex, ...]:
    """Convert the rows of the query `upgrade_collation_indexes`."""
    return tuple(
        CollatedIndex(
            row["index"], int(row["bytes"]), row["is_unique"], row["is_exclusion"],
            tuple(Collation(**each) for each in row["collations"]),
        )
        for row in found
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What an upgrade needs to know about one database. Sizes are in bytes."""

    extensions: Mapping[str, str] = field(default_factory=dict)
    reg_columns: Sequence[str] = ()
    acting_domains: Sequence[str] = ()  # their CHECK calls a function that may have side effects
    checked_domains: Sequence[str] = ()  # they have a CHECK, and no superuser owns them
    inherited_checks: Sequence[str] = ()  # tables whose inherited CHECK calls a function that no superuser owns
    calling_domains: Sequence[str] = ()  # their CHECK calls a function that no superuser owns
    owners_members: Sequence[str] = ()  # members of extensions that no superuser owns
    unlogged: Sequence[str] = ()
    large_objects: int = 0
    relations: int = 0  # tables, their indexes and TOAST, sequences, views
    text_indexes: Sequence[CollatedIndex] = ()


@dataclass(frozen=True, slots=True)
class SourceServer:
    """The server to upgrade."""

    version_num: int
    checksums: bool
    wal_level: str
    wal_senders: int
    wal_segment_bytes: int
    superuser: str
    standby_settings: Mapping[str, str]
    preload: str
    written: Mapping[str, str]  # settings by name, from postgresql.conf
    altered: Mapping[str, str]  # the same from postgresql.auto.conf
    data_bytes: int
    prepared: Sequence[str]
    logical_slots: Sequence[str]
    subscriptions: Sequence[str]
    tablespaces: Sequence[str]
    closed_databases: Sequence[str]
    encoding: str
    collate: str
    ctype: str
    databases: Mapping[str, DatabaseFacts]

    @property
    def major(self) -> int:
        return self.version_num // 10000

    @property
    def minor(self) -> int:
        return self.version_num % 10000

    @property
    def version(self) -> str:
        """`17.6`."""
        return f"{self.major}.{self.minor}"

    @property
    def preloading(self) -> dict[str, str]:
        """The setting that loads the libraries that some functions of this server need."""
        return {"shared_preload_libraries": self.preload}

    @property
    def wal_segment_mb(self) -> int:
        return self.wal_segment_bytes // 2**20

    def all(self, what: str) -> list[str]:
        """Return one kind of finding of all databases, each after its database's name: `app: "public.t"`."""
        return [f"{name}: {found}" for name, each in self.databases.items() for found in getattr(each, what)]


@dataclass(frozen=True, slots=True)
class TargetVersion:
    """The programs to upgrade to. `extensions`: default versions by name, None if unknown; `libc`: the version of the C
    library, in the form that collations record, None if unknown.
    """

    major: int
    minor: int | None = None
    extensions: Mapping[str, str] | None = None
    libc: str | None = None

    @property
    def version(self) -> str:
        return str(self.major) if self.minor is None else f"{self.major}.{self.minor}"


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that holds the data: free bytes, and whether a trial reflink worked on it."""

    free_bytes: int
    reflink: bool = False


def query_source(address: Address) -> SourceServer:
    """Query the running server as the administrator. Raises ConnectionFailed, psycopg.Error."""
    with connect(replace(address, database="postgres")) as connection:
        connection.row_factory = dict_row  # type: ignore[assignment]
        found: dict[str, Any] = connection.execute(queries.get("upgrade_facts")).fetchone()  # type: ignore[assignment]
    databases = {}
    for name in found.pop("databases"):
        with connect(replace(address, database=name)) as connection:
            connection.row_factory = dict_row  # type: ignore[assignment]
            row: dict[str, Any] = connection.execute(queries.get("upgrade_database_facts")).fetchone()  # type: ignore[assignment]
            indexes: Any = connection.execute(queries.get("upgrade_collation_indexes")).fetchall()
        databases[name] = DatabaseFacts(**row, text_indexes=parse_collated_indexes(indexes))
    template = found.pop("template")
    return SourceServer(**found, **template, databases=databases)

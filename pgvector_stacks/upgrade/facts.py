"""What an upgrade has to know: of the running server, of the target's programs, of the disk. Asked, not guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg.rows import dict_row

from pgvector_stacks.common import queries
from pgvector_stacks.connections.connection import Address, connect


@dataclass(frozen=True, slots=True)
class Collation:
    """One that an index is sorted by. `provider`: c (the C library), i (ICU); `recorded`: by which of its versions, as
    PostgreSQL has it written down; `actual`: the version that is there.
    """

    name: str
    provider: str
    recorded: str | None = None
    actual: str | None = None


@dataclass(frozen=True, slots=True)
class TextIndex:
    """An index whose order depends on a library. `name`: quoted, with its schema."""

    name: str
    bytes: int
    unique: bool = False
    exclusion: bool = False
    collations: Sequence[Collation] = ()

    @property
    def stale(self) -> bool:
        """Sorted by another version than is there, and PostgreSQL knows it: it stays so until REFRESH VERSION."""
        return any(c.recorded is not None and c.actual is not None and c.recorded != c.actual for c in self.collations)


def text_indexes(found: Iterable[Mapping[str, Any]]) -> tuple[TextIndex, ...]:
    """From the rows of `upgrade_collation_indexes`."""
    return tuple(
        TextIndex(
            row["index"], int(row["bytes"]), row["is_unique"], row["is_exclusion"],
            tuple(Collation(**each) for each in row["collations"]),
        )
        for row in found
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Database:
    """What is in one database. Sizes in bytes."""

    extensions: Mapping[str, str] = field(default_factory=dict)
    reg_columns: Sequence[str] = ()
    acting_domains: Sequence[str] = ()  # whose CHECK calls a function that could do something, not only compute
    checked_domains: Sequence[str] = ()  # those with a CHECK that no superuser owns
    inherited_checks: Sequence[str] = ()  # tables whose inherited CHECK calls a function that no superuser owns
    calling_domains: Sequence[str] = ()  # whose CHECK calls a function that no superuser owns
    owners_members: Sequence[str] = ()  # of extensions, which no superuser owns
    unlogged: Sequence[str] = ()
    large_objects: int = 0
    relations: int = 0  # tables, their indexes and TOAST, sequences, views
    text_indexes: Sequence[TextIndex] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """The server that is to be upgraded."""

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
    databases: Mapping[str, Database]

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
        """The setting without which its functions may lack their library."""
        return {"shared_preload_libraries": self.preload}

    @property
    def wal_segment_mb(self) -> int:
        return self.wal_segment_bytes // 2**20

    def all(self, what: str) -> list[str]:
        """A finding of every database, each with the database's name in front: `app: "public.t"`."""
        return [f"{name}: {found}" for name, each in self.databases.items() for found in getattr(each, what)]


@dataclass(frozen=True, slots=True)
class Target:
    """The programs to be upgraded to. `extensions`: default versions by name; None where nobody has looked yet.
    `libc`: the version of its C library, as collations have it; None where it isn't known.
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


def of_source(address: Address) -> Source:
    """Ask the running server. `address`: as the administrator, any database. Raises ConnectionFailed, psycopg.Error."""
    with connect(replace(address, database="postgres")) as connection:
        connection.row_factory = dict_row  # type: ignore[assignment]
        found: dict[str, Any] = connection.execute(queries.get("upgrade_facts")).fetchone()  # type: ignore[assignment]
    databases = {}
    for name in found.pop("databases"):
        with connect(replace(address, database=name)) as connection:
            connection.row_factory = dict_row  # type: ignore[assignment]
            row: dict[str, Any] = connection.execute(queries.get("upgrade_database_facts")).fetchone()  # type: ignore[assignment]
            indexes: Any = connection.execute(queries.get("upgrade_collation_indexes")).fetchall()
        databases[name] = Database(**row, text_indexes=text_indexes(indexes))
    template = found.pop("template")
    return Source(**found, **template, databases=databases)

"""A PostgreSQL server of the bench's own, with the settings of the environment `local`, and a new database a run."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from psycopg import sql

from pgvector_stacks.config.environment import from_config
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.sizing.settings import derive_settings

MAJOR = 18


@dataclass(frozen=True, slots=True)
class Server:
    """`admin`: the administrator's address, in database postgres."""

    admin: Address
    psql: Path
    _numbers: Iterator[int]

    def database(self) -> str:
        """The name of a new, empty database. A checkpoint first: nobody pays for what earlier runs wrote.

        It stays until the server goes: ext4 passes over inodes deleted within the last minute when it makes files,
        so that the run after a DROP DATABASE would take up to half as long again.
        """
        name = f"bench_{next(self._numbers)}"
        with connect(self.admin, own_path=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            connection.execute("CHECKPOINT")
        return name

    @property
    def environment(self) -> dict[str, str]:
        """For child processes: the password, and none of the user's own PG variables."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return inherited | {"PGPASSWORD": self.admin.password}

    def url(self, database: str, scheme: str = "postgresql") -> str:
        """Without the password: that one goes through the environment."""
        return f"{scheme}://{self.admin.user}@{self.admin.host}:{self.admin.port}/{database}"

    def version(self) -> str:
        with connect(self.admin, own_path=True) as connection:
            return connection.info.parameter_status("server_version") or ""


@contextmanager
def running() -> Iterator[Server]:
    """Start it in a temporary directory; stop and remove it whatever happens."""
    root = Path(tempfile.mkdtemp(prefix="pgstack-bench-server-"))
    directory = embedded_server.Directory(root / str(MAJOR), MAJOR)
    try:
        password = secrets.token_urlsafe(16)
        embedded_server.initialise(directory, password)
        port = embedded_server.start(directory, derive_settings(from_config("local", {}).limits))
        admin = Address(embedded_server.HOST, port, "postgres", embedded_server.ADMIN, password)
        yield Server(admin, embedded_server.find_bin_directory(MAJOR) / "psql", count(1))
    finally:
        try:
            if directory.made:
                embedded_server.stop(directory)
        finally:  # a server that didn't stop ends itself once its directory is gone
            shutil.rmtree(root, ignore_errors=True)

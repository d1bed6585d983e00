"""The toolbox of an upgrade or a backup: PostgreSQL's programs, the data directories, and a user who may access them.

There are two implementations: `embedded_toolbox.py` uses this machine and the wheel's programs, `docker_toolbox.py` a
throw-away container with the volume. The code that uses a toolbox is the same for both engines.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.connections import server_authentication
from pgvector_stacks.connections.connection import Address

HOUR_S = 3600.0
PORT = 5432
# The server waits for no standby and fetches no replicated changes, which would be lost if the old server starts again.
ISOLATION_SETTINGS = {"synchronous_standby_names": "", "max_logical_replication_workers": "0"}
EVENT_TRIGGERS_MAJOR = 17  # the first major with the settings event_triggers and transaction_timeout
START_S = 3600  # a killed server's data is recovered first
SUPERUSER = "postgres"
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """The exit code of a command, and its output on both streams."""

    code: int
    output: str

    def tail(self, lines: int = 12) -> str:
        """Return the last lines, indented, for a message."""
        return "\n".join(f"    {line}" for line in self.output.strip().splitlines()[-lines:])


class Toolbox(Protocol):
    """The programs and files beside a server. `sockets`: a private folder for the sockets of servers started here.

    `lifetime_fifo`: a FIFO that background processes read: reads end when this process ends, even by a kill. "" if no
    process outlives this one anyway.
    """

    sockets: str
    lifetime_fifo: str

    def bin_directory(self, major: int) -> str:
        """Return the folder with the programs of that major."""

    def directory(self, major: int) -> str:
        """Return the path of a finished data directory of that major."""

    def sibling_path(self, major: int, name: str) -> str:
        """Return a path on the file system of `directory(major)`, for unfinished data or a note about the data."""

    def run(
        self, major: int, *command: str, environment: Mapping[str, str] | None = None,
        timeout_s: float = 12 * HOUR_S,
    ) -> ProgramResult:  # fmt: skip
        """Run a program of that major (`initdb`, …) as the data's user. May be called from several threads."""

    def sh(self, script: str, *, timeout_s: float = HOUR_S, **variables: str) -> ProgramResult:
        """Run a shell script (`sh -ec`) as the data's user, the variables in its environment."""

    def lock(self, path: str, held_message: str) -> AbstractContextManager[None]:
        """Hold an exclusive lock on the file or folder, until the end of this process at the latest.

        Raises ServerError with the message `held_message` if another process holds the lock.
        """

    def put(self, name: str, text: str) -> str:
        """Write a file that only the data's user can read, and return its path. For passwords.

        The file is deleted with the toolbox.
        """

    def move_out(self, folder: str, into: Path) -> None:
        """Move a folder from the toolbox to a path of this machine that doesn't exist yet. Raises ServerError."""

    def provide(self, folder: Path) -> str:
        """Make a folder of this machine readable for the toolbox's programs. Return its path in the toolbox."""


def require_success(what: str, done: ProgramResult) -> str:
    """Return the command's output. Raises ServerError with `what` and the last lines if the command failed."""
    if done.code != 0:
        raise ServerError(f"{what} failed\n{done.tail()}")
    return done.output


@dataclass(frozen=True, slots=True)
class ServerConnection:
    """How the toolbox connects to a server. `host`: a host name, or the socket's folder; `passfile`: as in libpq."""

    major: int
    host: str
    port: int = PORT
    user: str = SUPERUSER
    passfile: str = ""
    superuser: bool = True
    verification: Mapping[str, str] = field(default_factory=dict, hash=False)  # checks before it gets a password

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables for libpq."""
        found = {"PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": self.user, "PGCONNECT_TIMEOUT": "10"}
        found |= {
            "PGOPTIONS": isolated_session_options(self.major, superuser=self.superuser),
            "PGCLIENTENCODING": "UTF8",
        }
        return found | ({"PGPASSFILE": self.passfile} if self.passfile else {}) | dict(self.verification)


def isolated_session_options(major: int, *, superuser: bool = True) -> str:
    """Return libpq's options for a session that settings of databases and roles do not affect.

    The session has no timeouts, no read-only default and no event triggers, and its search_path holds no functions of
    users. `major`: the server's, or a lower one. Only a superuser can turn event triggers off.
    """
    settings = {
        "search_path": "pg_catalog,pg_temp", "role": "none", "local_preload_libraries": "",
        "extra_float_digits": "1", "quote_all_identifiers": "off",
        "statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
        "idle_session_timeout": "0", "default_transaction_read_only": "off", "default_transaction_deferrable": "off",
        "default_transaction_isolation": r"read\ committed",
    }  # fmt: skip
    if superuser:  # in this replication role, event triggers do not fire
        settings["session_replication_role"] = "replica"
    if major >= EVENT_TRIGGERS_MAJOR:
        settings |= {"transaction_timeout": "0"} | ({"event_triggers": "off"} if superuser else {})
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def passfile_line(password: str) -> str:
    """Return a passfile line with the password for any host, port, database and user."""
    return f"*:*:*:*:{escape_for_passfile(password)}\n"


def escape_for_passfile(value: str) -> str:
    """Return a field of a passfile line."""
    return value.replace("\\", "\\\\").replace(":", "\\:")


def connect_with_password(toolbox: Toolbox, major: int, host: str, port: int, admin: Address) -> ServerConnection:
    """Return the connection to a server that requires `admin`'s password. The toolbox keeps the password in a file.

    `host`, `port`: the server's, as seen from the toolbox.
    """
    root = server_authentication.extract_roots(admin.certificate) if admin.sslmode in server_authentication.TLS else ""
    verification = server_authentication.build_environment(admin.sslmode, toolbox.put("root.crt", root) if root else "")
    passfile = toolbox.put("passfile", passfile_line(admin.password))
    return ServerConnection(major, host, port, admin.user, passfile, verification=verification)


def query_rows(
    toolbox: Toolbox, server: ServerConnection, database: str, query: str, *, first: str = "", last: str = ""
) -> list[dict[str, Any]]:
    """Return the rows of a query, run by psql, with values as in JSON. Raises ServerError.

    `first` and `last`: statements before and after the query in the same transaction; they return nothing.
    """
    wrapped = f"SELECT coalesce(json_agg(row_to_json(found)), '[]') FROM (\n{query.strip().rstrip(';')}\n) AS found"
    said = execute_sql(toolbox, server, database, f"{first}\n{wrapped};\n{last}")
    try:
        found: list[dict[str, Any]] = json.loads(said)
    except ValueError:
        raise ServerError(f"psql returned no JSON in database {database}:\n    {said[-500:]}") from None
    return found


def execute_sql(
    toolbox: Toolbox,
    server: ServerConnection,
    database: str,
    sql: str,
    *,
    then: Sequence[str] = (),
    timeout_s: float = HOUR_S,
) -> str:
    """Run SQL with psql, and return what psql printed. Raises ServerError.

    The statements of one text are one transaction; `then`: further texts for the same session. Settings of databases
    and roles do not affect the session.
    """
    # The environment passes the texts, which avoids quoting, and the database, since -d parses a name with `=` as a
    # connection string. `ps` shows psql's arguments, so no text may hold a secret.
    texts = {f"SQL{number}": text for number, text in enumerate((sql, *then))}
    options = " ".join(f'-c "${name}"' for name in texts)
    # psql's warnings are shown only after a failure: a server with another C library than its data warns at every
    # connection
    script = f"""
        said=$(mktemp)
        psql -XAtq -v ON_ERROR_STOP=1 {options} 2>"$said" || code=$?
        if [ -n "${{code:-}}" ]; then cat "$said"; fi
        rm "$said"
        exit "${{code:-0}}"
    """
    done = toolbox.run(
        server.major, "sh", "-c", script, environment=server.environment | {"PGDATABASE": database} | texts,
        timeout_s=timeout_s,
    )  # fmt: skip
    return require_success(f"SQL in database {database}", done)


def write_trust_hba(toolbox: Toolbox) -> str:
    """Write a pg_hba.conf without passwords, for servers whose socket is in our private folder. Return its path."""
    return toolbox.put("pg_hba.conf", "local all all trust\n")


def start_server(
    toolbox: Toolbox, major: int, directory: str, settings: Mapping[str, str], user: str = SUPERUSER, *,
    wait_s: int = START_S,
) -> ServerConnection:  # fmt: skip
    """Start a server without TCP, its socket in our private folder. Raises ServerError with the server's log."""
    own = {"listen_addresses": "", "unix_socket_directories": toolbox.sockets, "unix_socket_permissions": "0700",
           "port": str(PORT), "hba_file": write_trust_hba(toolbox), "logging_collector": "off", "ssl": "off",
           "archive_mode": "off", **ISOLATION_SETTINGS}  # fmt: skip
    words = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in (dict(settings) | own).items())
    log = f"{directory}.log"
    done = toolbox.run(major, "pg_ctl", "start", "-w", "-t", str(wait_s), "-D", directory, "-l", log, "-o", words)
    if done.code != 0:
        said = toolbox.sh('tail -n 15 "$LOG"', LOG=log)
        raise ServerError(f"PostgreSQL {major} doesn't start on {directory}\n{said.tail(15)}")
    return ServerConnection(major, toolbox.sockets, user=user)


def stop_server(toolbox: Toolbox, major: int, directory: str) -> None:
    """Stop a server with a fast shutdown. Raises ServerError."""
    require_success(
        f"stopping PostgreSQL {major}",
        toolbox.run(major, "pg_ctl", "stop", "-w", "-m", "fast", "-t", "3600", "-D", directory),
    )


def read_control_data(toolbox: Toolbox, major: int, directory: str) -> dict[str, str]:
    """Return the output of pg_controldata as values by name. Raises ServerError."""
    said = require_success(
        f"pg_controldata of {directory}",
        toolbox.run(major, "pg_controldata", "-D", directory, environment={"LC_ALL": "C"}),
    )
    pairs = (line.partition(":") for line in said.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}

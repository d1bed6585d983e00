"""Where an upgrade and a backup work: programs of PostgreSQL, the data directories, and a user who may touch them.

Two kinds: `embedded_toolbox.py` is this machine with the wheel's programs, `docker_toolbox.py` a throw-away container
with the volume. What uses a toolbox is the same for both engines.
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
# nobody's standby is waited for, nobody's changes are fetched: they would be gone if the old server served again
SECLUDED = {"synchronous_standby_names": "", "max_logical_replication_workers": "0"}
EVENT_TRIGGERS_OFF = 17  # the first that knows it, and transaction_timeout
START_S = 3600  # a killed server's data is recovered first
SUPERUSER = "postgres"
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it said on both streams."""

    code: int
    output: str

    def tail(self, lines: int = 12) -> str:
        """The last lines, indented, for a message."""
        return "\n".join(f"    {line}" for line in self.output.strip().splitlines()[-lines:])


class Toolbox(Protocol):
    """`sockets`: a folder for the sockets of servers that are started here, closed to everybody else.

    `leash`: a FIFO that what works in the background reads: it ends with this process, however that ends. "" where
    nothing outlives it anyway.
    """

    sockets: str
    leash: str

    def programs(self, major: int) -> str:
        """The folder with the programs of that major."""

    def directory(self, major: int) -> str:
        """Where a finished data directory of that major lies."""

    def beside(self, major: int, name: str) -> str:
        """A path on the same file system as `directory(major)`, for what isn't finished, or a note about it."""

    def run(
        self, major: int, *command: str, environment: Mapping[str, str] | None = None,
        timeout_s: float = 12 * HOUR_S,
    ) -> Done:  # fmt: skip
        """Run a program of that major (`initdb`, …) as the data's user. May be called from several threads."""

    def sh(self, script: str, *, timeout_s: float = HOUR_S, **variables: str) -> Done:
        """Run a shell script (`sh -ec`) as the data's user, the variables in its environment."""

    def lock(self, path: str, taken: str) -> AbstractContextManager[None]:
        """The file or folder for us alone, until the end of this process at the latest.

        Raises ServerError, which says `taken`, where somebody has it.
        """

    def put(self, name: str, text: str) -> str:
        """A file that only the data's user reads, gone with the toolbox; its path. For passwords."""

    def bring(self, folder: str, into: Path) -> None:
        """Move a folder from the toolbox to a path of this machine that doesn't exist yet. Raises ServerError."""

    def hand(self, folder: Path) -> str:
        """A folder of this machine for programs to read; its path in the toolbox."""


def must(what: str, done: Done) -> str:
    """Its output. Raises ServerError naming what failed, with the last lines."""
    if done.code != 0:
        raise ServerError(f"{what} failed\n{done.tail()}")
    return done.output


@dataclass(frozen=True, slots=True)
class Server:
    """How a server is reached from the toolbox: a host name, or a folder with its socket. `passfile` as libpq's."""

    major: int
    host: str
    port: int = PORT
    user: str = SUPERUSER
    passfile: str = ""
    superuser: bool = True
    demands: Mapping[str, str] = field(default_factory=dict, hash=False)  # what it must prove before it gets a password

    @property
    def environment(self) -> dict[str, str]:
        """What libpq reads."""
        found = {"PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": self.user, "PGCONNECT_TIMEOUT": "10"}
        found |= {"PGOPTIONS": undisturbed(self.major, superuser=self.superuser), "PGCLIENTENCODING": "UTF8"}
        return found | ({"PGPASSFILE": self.passfile} if self.passfile else {}) | dict(self.demands)


def undisturbed(major: int, *, superuser: bool = True) -> str:
    """libpq's options for a session that no timeout, read-only default or event trigger of the databases and roles
    gets at, and none of the functions on their search_path. `major`: the server's, or a lower one. Only a superuser can
    turn event triggers off.
    """
    settings = {
        "search_path": "pg_catalog,pg_temp", "role": "none", "local_preload_libraries": "",
        "extra_float_digits": "1", "quote_all_identifiers": "off",
        "statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
        "idle_session_timeout": "0", "default_transaction_read_only": "off", "default_transaction_deferrable": "off",
        "default_transaction_isolation": r"read\ committed",
    }  # fmt: skip
    if superuser:  # event triggers fire as ordinary ones do, not for this role
        settings["session_replication_role"] = "replica"
    if major >= EVENT_TRIGGERS_OFF:
        settings |= {"transaction_timeout": "0"} | ({"event_triggers": "off"} if superuser else {})
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def passfile_line(password: str) -> str:
    """For any host, port, database and user."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n"


def with_password(toolbox: Toolbox, major: int, host: str, port: int, admin: Address) -> Server:
    """A server that asks for `admin`'s; it lies in a file of the toolbox. `host`, `port`: as seen from there."""
    root = server_authentication.root_of(admin.certificate) if admin.sslmode else ""
    demands = server_authentication.variables(admin.sslmode, toolbox.put("root.crt", root) if root else "")
    passfile = toolbox.put("passfile", passfile_line(admin.password))
    return Server(major, host, port, admin.user, passfile, demands=demands)


def rows(
    toolbox: Toolbox, server: Server, database: str, query: str, *, first: str = "", last: str = ""
) -> list[dict[str, Any]]:
    """What a query returns, through psql: values as JSON has them. `first` and `last`: statements of the same
    transaction that return nothing. Raises ServerError.
    """
    wrapped = f"SELECT coalesce(json_agg(row_to_json(found)), '[]') FROM (\n{query.strip().rstrip(';')}\n) AS found"
    said = execute(toolbox, server, database, f"{first}\n{wrapped};\n{last}")
    try:
        found: list[dict[str, Any]] = json.loads(said)
    except ValueError:
        raise ServerError(f"psql answered no JSON in database {database}:\n    {said[-500:]}") from None
    return found


def execute(
    toolbox: Toolbox, server: Server, database: str, sql: str, *, then: Sequence[str] = (), timeout_s: float = HOUR_S
) -> str:
    """Run SQL through psql, and what it printed. Statements of one text are one transaction; `then`: further texts of
    the same session. What databases and roles have set for the application doesn't count. Raises ServerError.
    """
    # through the environment: no quoting, and -d takes a `=` apart. `ps` shows psql's arguments: no secret is in a text
    texts = {f"SQL{number}": text for number, text in enumerate((sql, *then))}
    options = " ".join(f'-c "${name}"' for name in texts)
    # a server whose C library is another one than its data's warns at every connection: shown only after a failure
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
    return must(f"SQL in database {database}", done)


def trusting(toolbox: Toolbox) -> str:
    """A pg_hba.conf for servers that only the owner of our folder reaches; its path."""
    return toolbox.put("pg_hba.conf", "local all all trust\n")


def start(
    toolbox: Toolbox, major: int, directory: str, settings: Mapping[str, str], user: str = SUPERUSER, *,
    wait_s: int = START_S,
) -> Server:  # fmt: skip
    """Start a server that nobody but us reaches: no TCP, its socket in our folder. Raises ServerError with its log."""
    own = {"listen_addresses": "", "unix_socket_directories": toolbox.sockets, "unix_socket_permissions": "0700",
           "port": str(PORT), "hba_file": trusting(toolbox), "logging_collector": "off", "ssl": "off",
           "archive_mode": "off", **SECLUDED}  # fmt: skip
    words = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in (dict(settings) | own).items())
    log = f"{directory}.log"
    done = toolbox.run(major, "pg_ctl", "start", "-w", "-t", str(wait_s), "-D", directory, "-l", log, "-o", words)
    if done.code != 0:
        said = toolbox.sh('tail -n 15 "$LOG"', LOG=log)
        raise ServerError(f"PostgreSQL {major} doesn't start on {directory}\n{said.tail(15)}")
    return Server(major, toolbox.sockets, user=user)


def stop(toolbox: Toolbox, major: int, directory: str) -> None:
    """Fast shutdown. Raises ServerError."""
    must(
        f"stopping PostgreSQL {major}",
        toolbox.run(major, "pg_ctl", "stop", "-w", "-m", "fast", "-t", "3600", "-D", directory),
    )


def control(toolbox: Toolbox, major: int, directory: str) -> dict[str, str]:
    """What pg_controldata says. Raises ServerError."""
    said = must(
        f"pg_controldata of {directory}",
        toolbox.run(major, "pg_controldata", "-D", directory, environment={"LC_ALL": "C"}),
    )
    pairs = (line.partition(":") for line in said.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}

"""Opens connections, waiting for a server that is still starting, and says in words why one can't be had."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from pgvector_stacks.common import row_values
from pgvector_stacks.common.errors import ConnectionFailed, PgstackError
from pgvector_stacks.common.plain_text import one_line, quoted
from pgvector_stacks.connections import server_authentication, socket_relay, ssh_tunnel
from pgvector_stacks.connections.server_authentication import SCRAM

# A killed client lets go within a second (PostgreSQL 14+), also where the server's own setting is another. Timeouts of
# databases and roles are the application's, not ours: pg_dump sets them so, too.
SESSION = (
    "-c client_connection_check_interval=1000 -c statement_timeout=0 -c lock_timeout=0"
    " -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0"
)
# A name leads to PostgreSQL's own functions, operators and types, and a session is that of whoever logged in
OWN_NAMES = "-c search_path=pg_catalog,pg_temp"
OWN_ROLE = "-c role=none -c local_preload_libraries="
# Settings of database and role that would change what our own steps do, or keep us out, and no script needs
STEPS = (
    f"{OWN_ROLE} -c default_transaction_read_only=off"
    r" -c default_transaction_deferrable=off -c default_transaction_isolation=read\ committed"
)
# No name that we write leads to a function, operator or type that somebody else made, who would have our rights then;
# and what we read is written as we read it.
OURS = (
    f"{OWN_NAMES} {STEPS} -c datestyle=ISO,MDY -c intervalstyle=postgres -c bytea_output=hex"
    " -c standard_conforming_strings=on -c extra_float_digits=1 -c quote_all_identifiers=off"
)
RETRY_S = 0.2
REFUSED = "the server refuses the password"
MENDED = "somebody changed the role by hand: pgstack up STACK  puts the stack's own roles right"
OPENED = "somebody changed the database: pgstack up STACK  opens it again"
RESTARTED = (
    "end the session that holds them; where nobody gets in any more, restart the server, which ends all of them,\n"
    "  and find in its log who it was"
)
LIBRARY = (
    "pgstack up STACK  takes local_preload_libraries away; of session_preload_libraries, which a superuser has set:\n"
    "    ALTER DATABASE … RESET session_preload_libraries, or ALTER ROLE …, while connected to the database postgres"
)
LOOK = "-c lock_timeout=3000 -c statement_timeout=60000"  # a preview never waits behind anyone for long


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database answers and as whom. The password never shows in a repr."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str = ""  # as libpq names them; "" leaves it to libpq
    via: str = ""  # ssh://…: host and port are as seen from over there
    certificate: str = field(default="", repr=False)  # PEM, of the stack's own server; "" where it isn't known
    require_auth: str = SCRAM  # as libpq has it; another one only where a user's own URL says so

    @property
    def url(self) -> str:
        """`postgresql://user:password@host:port/database`, percent-encoded. A secret."""
        user, password = quote(self.user, safe=""), quote(self.password, safe="")
        host = f"[{self.host}]" if ":" in self.host else self.host
        mode = f"?sslmode={self.sslmode}" if self.sslmode else ""
        return f"postgresql://{user}:{password}@{host}:{self.port}/{quote(self.database, safe='')}{mode}"

    @property
    def where(self) -> str:
        """For messages: no password."""
        through = f" through {self.via}" if self.via else ""
        return f"{self.host}:{self.port}{through}, database {self.database}, role {self.user}"


def connect(
    address: Address,
    *,
    wait_s: float = 0.0,
    options: str = "",
    autocommit: bool = True,
    application: str = "pgstack",
    own_path: bool = False,
) -> Connection[TupleRow]:
    """Connect, trying again for `wait_s` seconds while nothing listens yet or the server is starting.

    `own_path`: the session has the database's own search_path and formats, as the application's have; never for the
    administrator, who would run what others have put on that path.

    Raises ConnectionFailed.
    """
    deadline = time.monotonic() + wait_s
    host, port = reached(address)
    while True:
        try:
            connection = psycopg.connect(
                host=host,
                port=port,
                dbname=address.database,
                user=address.user,
                password=address.password,
                connect_timeout=max(2, min(10, int(wait_s) or 5)),
                application_name=application,
                client_encoding="UTF8",  # of what we send, whatever the database has set
                options=" ".join(filter(None, (SESSION, "" if own_path else OURS, options))),
                autocommit=autocommit,
                **server_authentication.refused(address.sslmode, address.certificate, address.require_auth),
            )
        except psycopg.OperationalError as error:
            passing = is_passing(str(error))
            if passing and time.monotonic() < deadline:
                time.sleep(RETRY_S)
                continue
            raise ConnectionFailed(explain(address, error, waited_s=wait_s if passing else 0.0)) from None
        connection.prepare_threshold = None
        if not own_path and connection.info.server_version >= 170000:  # older servers refuse it as an option
            connection.execute("SET transaction_timeout = 0")
            if not autocommit:
                connection.commit()
        return connection


def reached(address: Address) -> tuple[str, int]:
    """Host and port as libpq takes them: through the tunnel where there is one."""
    if not address.via:
        return address.host, address.port
    folder = ssh_tunnel.to_port(address.via, address.host, address.port)
    if not address.sslmode:
        return folder, address.port
    return socket_relay.HOST, socket_relay.to_socket(f"{folder}/.s.PGSQL.{address.port}")


def is_passing(message: str) -> bool:
    """True for what a moment's patience can cure: nothing listens yet, starting up, shutting down."""
    return any(
        symptom in message
        for symptom in ("Connection refused", "starting up", "shutting down", "recovery", "closed the connection")
    )


def explain(address: Address, error: psycopg.OperationalError, *, waited_s: float = 0.0) -> str:
    """Why the connection failed, and the fix. libpq's text names host, port and role, never the password."""
    text = str(error)
    waited = f" (waited {waited_s:.0f} s)" if waited_s else ""
    for symptom, cause, fix in (
        ("Connection refused", "nothing listens there: the server is down", "start it: pgstack up STACK"),
        ("starting up", "the server is still starting", "wait, then try again; its log says what it is doing"),
        ("shutting down", "the server is shutting down", "start it again: pgstack up STACK"),
        ("password authentication failed", REFUSED, _password_remedy(address.user)),
        ("not permitted to log in", "the role may not log in (NOLOGIN)", MENDED),
        ("too many connections for role", "all connections that the role may have are taken", _more(address.user)),
        ("not currently accepting connections", "the database takes no connections (ALLOW_CONNECTIONS false)", OPENED),
        ("could not access file", "the database or the role loads a library that isn't there", LIBRARY),
        ("permission denied for database", "the role may not connect to the database", MENDED),
        ("does not exist", "the database or the role does not exist", "check pgvector:database"),
        ("too many clients", "all connections are taken", "close some: SELECT * FROM pg_stat_activity"),
        ("remaining connection slots", "all connections are taken", "close some: SELECT * FROM pg_stat_activity"),
        ("max_locks_per_transaction", "sessions hold as many locks as the server has room for", RESTARTED),
        *server_authentication.SYMPTOMS,
        ("timeout expired", "no answer in time", "check host, port and firewall"),
        ("not translate host name", "the host name is not known", "check the host name"),
    ):  # fmt: skip
        if symptom in text:
            return f"can't connect to {address.where}: {cause}{waited}\n  {fix}"
    last = text.strip().splitlines()[-1].strip() if text.strip() else type(error).__name__
    return f"can't connect to {address.where}{waited}: {last}"


def _more(role: str) -> str:
    """Where a role of the stack has used up its CONNECTION LIMIT."""
    key = {"app": "appConnections", "readonly": "readonlyConnections"}.get(role)
    fix = "close some: SELECT * FROM pg_stat_activity"
    return f"{fix}; or raise pgvector:{key}" if key else fix


def _password_remedy(role: str) -> str:
    """Of the administrator's password the state must have the real one; those of the stack's roles are set by `up`."""
    key = {"app": "appPassword", "readonly": "readonlyPassword"}.get(role)
    if key is None:
        return (
            "the password in Pulumi's state is not the server's: set pgvector:adminPassword to the real one\n"
            "    pulumi config set --stack STACK --secret pgvector:adminPassword …"
        )
    return (
        f"role {role} has another password than the stack's, or it is valid no more (VALID UNTIL). See which, "
        "and set it:\n"
        "    pgstack status STACK && pgstack up STACK\n"
        f"  or keep the new one:  pulumi config set --stack STACK --secret pgvector:{key} …"
    )


def server_version(connection: Connection[Any]) -> str:
    """`17.6`: without the packager's words in brackets."""
    return (connection.info.parameter_status("server_version") or "").split(" ")[0]


def as_pgstack_error(error: psycopg.Error) -> PgstackError:
    """A server's error that no statement of a script caused, in its words alone: psycopg's text may quote a query."""
    shown, recorded = (_told(error, show=show) for show in (row_values.shown(), False))
    return PgstackError(shown, recorded=recorded)


def said(error: psycopg.Error) -> str:
    """What the server says, in one line, for a message of ours; without values of rows unless they are asked for."""
    text = error.diag.message_primary or " ".join(str(error).split())
    return one_line(row_values.message(text, error.sqlstate, show=row_values.shown()))


def _told(error: psycopg.Error, *, show: bool) -> str:
    primary = error.diag.message_primary or " ".join(str(error).split())
    text = f"the server says: {quoted(row_values.message(primary, error.sqlstate, show=show))}"
    text += f" ({error.sqlstate})" if error.sqlstate else ""
    detail = row_values.detail(error.diag.message_detail or "", error.sqlstate, show=show)
    text += f"\n  detail: {quoted(detail)}" if detail else ""
    return text + (f"\n  hint: {quoted(error.diag.message_hint)}" if error.diag.message_hint else "")

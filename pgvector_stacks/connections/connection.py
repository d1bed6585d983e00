"""Opens connections, waits for a server that is still starting, and explains why a connection fails."""

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
from pgvector_stacks.common.plain_text import one_line, quote_lines
from pgvector_stacks.connections import server_authentication, socket_relay, ssh_tunnel
from pgvector_stacks.connections.server_authentication import SCRAM

# The server notices a killed client within a second (PostgreSQL 14+), whatever its own setting. Timeouts of databases
# and roles are meant for the application, so our sessions turn them off, as pg_dump does.
SESSION = (
    "-c client_connection_check_interval=1000 -c statement_timeout=0 -c lock_timeout=0"
    " -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0"
)
# Names resolve to PostgreSQL's own functions, operators and types; the session runs as the role that logged in
OWN_NAMES = "-c search_path=pg_catalog,pg_temp"
OWN_ROLE = "-c role=none -c local_preload_libraries="
# Overrides settings of the database or role that would change our own statements or keep us from connecting
STEPS = (
    f"{OWN_ROLE} -c default_transaction_read_only=off"
    r" -c default_transaction_deferrable=off -c default_transaction_isolation=read\ committed"
)
# No name in our SQL may resolve to another role's function, operator or type: it would run with our rights. The formats
# are those that our code parses. temp_buffers: our checks use temporary tables, and a script could set terabytes.
OURS = (
    f"{OWN_NAMES} {STEPS} -c datestyle=ISO,MDY -c intervalstyle=postgres -c bytea_output=hex"
    " -c standard_conforming_strings=on -c extra_float_digits=1 -c quote_all_identifiers=off -c temp_buffers=8MB"
)
RETRY_S = 0.2
REFUSED = "the server refuses the password"
REPAIR_ROLE = "somebody changed the role by hand: pgstack up STACK  puts the stack's own roles right"
OPENED = "somebody changed the database: pgstack up STACK  opens it again"
RESTARTED = (
    "end the session that holds them; where nobody gets in any more, restart the server, which ends all of them,\n"
    "  and find in its log who it was"
)
LIBRARY = (
    "pgstack up STACK  takes local_preload_libraries away; of session_preload_libraries, which a superuser has set:\n"
    "    ALTER DATABASE … RESET session_preload_libraries, or ALTER ROLE …, while connected to the database postgres"
)
INSPECTION_OPTIONS = (
    "-c lock_timeout=3000 -c statement_timeout=60000"  # a preview does not wait long for anybody's lock
)


@dataclass(frozen=True, slots=True)
class Address:
    """How to connect to a database, and as which role. The password is not in its repr."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str = ""  # as libpq names them; "" leaves it to libpq
    via: str = ""  # ssh://…: host and port as the remote host sees them
    certificate: str = field(default="", repr=False)  # PEM, of the stack's own server; "" if unknown
    require_auth: str = SCRAM  # libpq's parameter; differs only where a URL given by the user says so

    @property
    def url(self) -> str:
        """`postgresql://user:password@host:port/database`, percent-encoded. A secret."""
        user, password = quote(self.user, safe=""), quote(self.password, safe="")
        mode = f"?sslmode={self.sslmode}" if self.sslmode else ""
        return f"postgresql://{user}:{password}@{self.place_in_url}{mode}"

    @property
    def place_in_url(self) -> str:
        """`host:port/database`, percent-encoded, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{quote(self.database, safe='')}"

    @property
    def where(self) -> str:
        """The address for messages, without the password."""
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
    """Connect; retry for up to `wait_s` seconds while nothing listens yet or the server is starting.

    `own_path`: keep the database's own search_path and formats, as the application's sessions do. Never for the
    administrator: a function of another role on that path would run with the administrator's rights.

    Raises ConnectionFailed.
    """
    deadline = time.monotonic() + wait_s
    host, port = resolve_endpoint(address)
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
                client_encoding="UTF8",  # of what we send, whatever the database is set to
                options=" ".join(filter(None, (SESSION, "" if own_path else OURS, options))),
                autocommit=autocommit,
                **server_authentication.build_parameters(address.sslmode, address.certificate, address.require_auth),
            )
        except psycopg.OperationalError as error:
            passing = is_passing(str(error))
            if passing and time.monotonic() < deadline:
                time.sleep(RETRY_S)
                continue
            raise ConnectionFailed(explain(address, error, waited_s=wait_s if passing else 0.0)) from None
        connection.prepare_threshold = None
        if not own_path and (settings := _later_settings(connection)):
            connection.execute(settings.encode())
            if not autocommit:
                connection.commit()
        return connection


def _later_settings(connection: Connection[TupleRow]) -> str:
    """Return the statements for settings that some servers or roles refuse as options.

    An event trigger runs its function, which a script may have written, with the rights of whoever runs the DDL.
    """
    superuser = connection.info.parameter_status("is_superuser") == "on"
    if connection.info.server_version >= 170000:
        return "SET transaction_timeout = 0" + ("; SET event_triggers = off" if superuser else "")
    return "SET session_replication_role = replica" if superuser else ""


def resolve_endpoint(address: Address) -> tuple[str, int]:
    """Return host and port for libpq, those of the ssh tunnel where there is one."""
    if not address.via:
        return address.host, address.port
    folder = ssh_tunnel.to_port(address.via, address.host, address.port)
    if address.sslmode not in server_authentication.TLS:
        return folder, address.port
    return socket_relay.HOST, socket_relay.to_socket(f"{folder}/.s.PGSQL.{address.port}")


def is_passing(message: str) -> bool:
    """Return True for an error that may pass by itself: nothing listens yet, the server starts up or shuts down."""
    return any(
        symptom in message
        for symptom in ("Connection refused", "starting up", "shutting down", "recovery", "closed the connection")
    )


def explain(address: Address, error: psycopg.OperationalError, *, waited_s: float = 0.0) -> str:
    """Explain why the connection failed and how to fix it. libpq's text names host, port and role, no password."""
    text = str(error)
    waited = f" (waited {waited_s:.0f} s)" if waited_s else ""
    for symptom, cause, fix in (
        ("Connection refused", "nothing listens there: the server is down", "start it: pgstack up STACK"),
        ("starting up", "the server is still starting", "wait, then try again; its log says what it is doing"),
        ("shutting down", "the server is shutting down", "start it again: pgstack up STACK"),
        ("password authentication failed", REFUSED, _password_remedy(address.user)),
        ("not permitted to log in", "the role may not log in (NOLOGIN)", REPAIR_ROLE),
        ("too many connections for role", "all connections that the role may have are taken", _more(address.user)),
        ("not currently accepting connections", "the database takes no connections (ALLOW_CONNECTIONS false)", OPENED),
        ("could not access file", "the database or the role loads a library that isn't there", LIBRARY),
        ("permission denied for database", "the role may not connect to the database", REPAIR_ROLE),
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
    """Return the fix for a role that has used up its CONNECTION LIMIT."""
    key = {"app": "appConnections", "readonly": "readonlyConnections"}.get(role)
    fix = "close some: SELECT * FROM pg_stat_activity"
    return f"{fix}; or raise pgvector:{key}" if key else fix


def _password_remedy(role: str) -> str:
    """Return the fix for a wrong password: `up` sets those of the stack's roles, but must know the administrator's."""
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
    """Return the version without the packager's suffix: `17.6`."""
    return (connection.info.parameter_status("server_version") or "").split(" ")[0]


def wrap_server_error(error: psycopg.Error) -> PgstackError:
    """Wrap a server's error that no script caused. Uses only the server's message: psycopg's text may quote a query."""
    shown, recorded = (_format_error(error, show=show) for show in (row_values.are_shown(), False))
    return PgstackError(shown, recorded=recorded)


def format_server_message(error: psycopg.Error) -> str:
    """Return the server's message on one line, without values of rows unless the user asked for them."""
    text = error.diag.message_primary or " ".join(str(error).split())
    return one_line(row_values.redact_message(text, error.sqlstate, show=row_values.are_shown()))


def _format_error(error: psycopg.Error, *, show: bool) -> str:
    primary = error.diag.message_primary or " ".join(str(error).split())
    text = f"the server says: {quote_lines(row_values.redact_message(primary, error.sqlstate, show=show))}"
    text += f" ({error.sqlstate})" if error.sqlstate else ""
    detail = row_values.redact_detail(error.diag.message_detail or "", error.sqlstate, show=show)
    text += f"\n  detail: {quote_lines(detail)}" if detail else ""
    return text + (f"\n  hint: {quote_lines(error.diag.message_hint)}" if error.diag.message_hint else "")

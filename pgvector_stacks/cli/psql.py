"""`pgstack psql`: opens psql as one of the stack's roles. The password goes in the child's environment, which no other
user of the machine can read, never in an argument list, which everybody can.

Decides which psql: the one that suits the engine best; else the host's; else the one of the wheel, which can't do TLS;
else one beside the server.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pgvector_stacks.automation.deployed import own_address
from pgvector_stacks.common.errors import PgstackError, suggest_nearest
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.connections import server_authentication
from pgvector_stacks.connections.connection import OWN_NAMES, OWN_ROLE, Address, connect, reached
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.embedded.embedded_server import ADMIN
from pgvector_stacks.engines.interface import get_engine

URLS = {"app": "appUrl", "readonly": "readonlyUrl", "admin": "adminUrl"}
LIBPQ = re.compile(r"PG[A-Z]+")  # what libpq reads; neither psql's own PG_COLOR nor our PGSTACK_…


def address(outputs: Mapping[str, object], role: str) -> Address:
    """Where the stack's database answers, as this role. Raises PgstackError for another role, or one without a URL."""
    if role not in URLS:
        raise PgstackError(f"--as {role}{suggest_nearest(role, URLS)}: allowed are {', '.join(URLS)}")
    if URLS[role] not in outputs:
        raise PgstackError(f"the stack has no output {URLS[role]}, so nobody can log in as {role}")
    return own_address(outputs, URLS[role])


def variables(to: Address, inherited: Mapping[str, str], certificate: str = "") -> dict[str, str]:
    """The environment of psql: libpq's own variables are ours alone, whatever the shell has set.

    `certificate`: the file that the server's certificate is checked with; "": none is known, or it is no root.
    """
    found = {name: value for name, value in inherited.items() if not LIBPQ.fullmatch(name)}
    found |= {"PGHOST": to.host, "PGPORT": str(to.port), "PGDATABASE": to.database, "PGUSER": to.user}
    found |= {"PGPASSWORD": to.password, "PGAPPNAME": "pgstack psql"}
    if to.user == ADMIN:  # a name that he writes never leads to what a script put on the database's path
        found["PGOPTIONS"] = f"{OWN_NAMES} {OWN_ROLE}"
    return found | server_authentication.variables(to.sslmode, certificate)


def program(environment: Environment, suited: str) -> str | None:
    """`suited`, the engine's own choice; else this host's; else the wheel's, which can't do TLS. None: none will do."""
    wheels = embedded_server.find_psql() if environment.tls == "off" else ""
    return suited or shutil.which("psql") or wheels or None


def run(environment: Environment, outputs: Mapping[str, object], role: str, arguments: Sequence[str]) -> int:
    """Open psql and wait for its end; its exit code. Raises PgstackError."""
    to, engine = address(outputs, role), get_engine(environment)
    offered = engine.psql(environment, interactive=os.isatty(0) and os.isatty(1))
    found = program(environment, offered.program)
    with _certificate(server_authentication.root_of(to.certificate)) as certificate:
        if found is not None:
            via = engine.via(environment)
            connect(replace(to, via=via), application="pgstack psql").close()  # a psql before 16 would tell anybody
            if via:
                host, port = reached(replace(to, via=via))
                to = replace(to, host=host, port=port)
            return _wait([found, *arguments], variables(to, os.environ, certificate))
    if not offered.inside:
        raise PgstackError("no psql here\n  install it: on Debian and Ubuntu  apt install postgresql-client")
    return _wait([*offered.inside, *arguments], variables(to, os.environ))


@contextmanager
def _certificate(text: str) -> Iterator[str]:
    """The path of a file with it, in a folder of our own; "" without one."""
    if not text:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="pgstack-") as folder:
        file = Path(folder) / "server.crt"
        file.write_text(text)
        yield str(file)


def _wait(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Ctrl-C is psql's: it stops a query there and must not end us before it."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # a handler isn't inherited, SIG_IGN would be
    try:
        return subprocess.run(command, env=dict(environ), check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)

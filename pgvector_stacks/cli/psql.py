"""`pgstack psql`: opens psql as one of the stack's roles. psql gets the password in its environment, which other users
of this machine can't read; never in its arguments, which they can.

The first psql that is available is used: the engine's choice; this machine's; the wheel's, which has no TLS; one beside
the server.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pgvector_stacks.automation.deployed import find_output_address
from pgvector_stacks.cli.foreground import run_in_foreground
from pgvector_stacks.common.errors import PgstackError, suggest_nearest
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.connections import server_authentication
from pgvector_stacks.connections.connection import OWN_NAMES, OWN_ROLE, Address, connect, resolve_endpoint
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.embedded.embedded_server import ADMIN
from pgvector_stacks.engines.interface import get_engine

URLS = {"app": "appUrl", "readonly": "readonlyUrl", "admin": "adminUrl"}
LIBPQ = re.compile(r"PG[A-Z]+")  # libpq's variables; matches neither psql's PG_COLOR nor our PGSTACK_…


def find_role_address(outputs: Mapping[str, object], role: str, option: str = "--as") -> Address:
    """Return the database's address for this role. Raises PgstackError if the role is unknown or has no URL.

    `option`: what the user typed the role after, for the message.
    """
    if role not in URLS:
        raise PgstackError(f"{option} {role}{suggest_nearest(role, URLS)}: allowed are {', '.join(URLS)}")
    if URLS[role] not in outputs:
        raise PgstackError(f"the stack has no output {URLS[role]}, so nobody can log in as {role}")
    return find_output_address(outputs, URLS[role])


def build_environment(to: Address, inherited: Mapping[str, str], certificate: str = "") -> dict[str, str]:
    """Return the environment for psql. None of libpq's variables is inherited from the shell.

    `certificate`: the file against which the server's certificate is verified; "": unknown, or not usable as a root.
    """
    found = {name: value for name, value in inherited.items() if not LIBPQ.fullmatch(name)}
    found |= {"PGHOST": to.host, "PGPORT": str(to.port), "PGDATABASE": to.database, "PGUSER": to.user}
    found |= {"PGPASSWORD": to.password, "PGAPPNAME": "pgstack psql"}
    if to.user == ADMIN:  # the administrator's names must not resolve to what a script created on the path
        found["PGOPTIONS"] = f"{OWN_NAMES} {OWN_ROLE}"
    return found | server_authentication.build_environment(to.sslmode, certificate)


def find_psql(environment: Environment, suited: str) -> str | None:
    """Return `suited`, the engine's choice; else this machine's psql; else the wheel's, if TLS is off; else None."""
    if found := suited or shutil.which("psql"):
        return found
    return (embedded_server.find_psql() or None) if environment.tls == "off" else None


def run(environment: Environment, outputs: Mapping[str, object], role: str, arguments: Sequence[str]) -> int:
    """Open psql, wait for its end, and return its exit code. Raises PgstackError."""
    to, engine = find_role_address(outputs, role), get_engine(environment)
    offered = engine.psql(environment, interactive=os.isatty(0) and os.isatty(1))
    found = find_psql(environment, offered.program)
    with _certificate(server_authentication.extract_roots(to.certificate)) as certificate:
        if found is not None:
            via = engine.via(environment)
            # verifies the server first: a psql before 16 would reveal the password to an impostor
            connect(replace(to, via=via), application="pgstack psql").close()
            if via:
                host, port = resolve_endpoint(replace(to, via=via))
                to = replace(to, host=host, port=port)
            return run_in_foreground([found, *arguments], build_environment(to, os.environ, certificate))
    if not offered.inside:
        raise PgstackError("no psql here\n  install it: on Debian and Ubuntu  apt install postgresql-client")
    return run_in_foreground([*offered.inside, *arguments], build_environment(to, os.environ))


@contextmanager
def _certificate(text: str) -> Iterator[str]:
    """Write the certificate to a temporary file, and yield its path; "" if there is no certificate."""
    if not text:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="pgstack-") as folder:
        file = Path(folder) / "server.crt"
        file.write_text(text)
        yield str(file)

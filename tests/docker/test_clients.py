"""Every client of docs/clients.md connects over TLS, with an odd password; Docker's `--env-file` takes its format."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from components.certificate import generate_self_signed
from tests.client_programs import ODD, PROGRAMS, answer, read_variables
from tests.docker.conftest import Make

pytestmark = [pytest.mark.engine, pytest.mark.docker]


def test_every_client_connects_over_tls(make: Make, client_folder: Path, tmp_path: Path) -> None:
    """psql is left out: the wheel's has no TLS. psycopg is the same library."""
    stack = make("dev", tls="require")
    stack.up()
    stack.secret("appPassword", ODD)
    stack.up()
    variables = read_variables(stack)
    assert variables["PGVECTOR_SSLMODE"] == "require"
    said = {name: answer(name, client_folder, variables) for name in PROGRAMS if name != "psql"}
    assert said == dict.fromkeys(said, "app")
    strange = variables | {"PGVECTOR_CERTIFICATE": generate_self_signed(["127.0.0.1"])[0]}
    for name in ("asyncpg", "node-postgres", "SQLAlchemy with asyncpg"):
        with pytest.raises(AssertionError, match=r"(?i)self.signed certificate|certificate verify failed"):
            answer(name, client_folder, strange)

    file = tmp_path / "app.env"
    stack.ok("outputs", "dev", "--role", "app", "--format", "env", "--to", str(file))
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--env-file", str(file), "--entrypoint", "printenv", stack.image,
         "PGVECTOR_APP_PASSWORD", "PGVECTOR_APP_URL"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{ODD}\n{stack.outputs()['appUrl']}\n"
    assert "# PGVECTOR_CERTIFICATE has several lines" in file.read_text()

"""No command that the product prints or documents puts a secret where another user of the machine can read it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from pgvector_stacks.cli import psql
from pgvector_stacks.cli.outputs.files import write_private
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config.environment import ROOT, from_config
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.engines.docker.operations import build_psql_command
from tests.conftest import FreshDatabase

WORD = "s3cret and hidden"
TO = Address("db.example", 5433, "app", "postgres", WORD, "require")
# a secret that becomes an argument of another command, or a file with the rights of the umask
LEAKS = re.compile(
    r"\$\([^)]*--show-secrets[^)]*\)|--show-secrets[^\n]*>|`[^`\n]*\b(?:psql|curl)\b[^`\n]*--show-secrets"
)
WRITTEN = ("*.md", "*.py", "*.sh", "*.yml", "*.yaml", "Makefile")


def printed_texts() -> list[Path]:
    """Everything in the repository that is printed or read by people, this file apart."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *WRITTEN],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return [ROOT / name for name in listed if ROOT / name != Path(__file__) and (ROOT / name).is_file()]


def test_no_printed_command_puts_a_secret_into_an_argument_list() -> None:
    texts = printed_texts()
    assert len(texts) > 100
    found = {f"{file.relative_to(ROOT)}: {match[0]}" for file in texts for match in LEAKS.finditer(file.read_text())}
    assert found == set()


@pytest.mark.parametrize(
    "leak",
    ['psql "$(pgstack outputs local adminUrl --show-secrets)"', "outputs dev --format dotenv --show-secrets > .env"],
)
def test_the_search_finds_what_was_printed_once(leak: str) -> None:
    assert LEAKS.search(leak)


def test_git_ignores_a_file_of_secrets() -> None:
    for name in (".env", "dev.env", "examples/app-stack/.env"):
        assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False).returncode == 0, name


def test_a_file_of_secrets_is_its_owners_alone_whatever_the_umask_and_whatever_was_there(tmp_path: Path) -> None:
    file, elsewhere = tmp_path / ".env", tmp_path / "shared"
    elsewhere.write_text("readable by all")
    elsewhere.chmod(0o644)
    before = os.umask(0)
    try:
        write_private(file, WORD)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        file.chmod(0o666)
        write_private(file, "again")
        assert (stat.S_IMODE(file.stat().st_mode), file.read_text()) == (0o600, "again\n")
        file.unlink()
        file.symlink_to(elsewhere)  # a link that somebody laid there isn't followed
        write_private(file, WORD)
    finally:
        os.umask(before)
    assert elsewhere.read_text() == "readable by all"
    assert not file.is_symlink()
    with pytest.raises(PgstackError, match="can't be written: No such file or directory"):
        write_private(tmp_path / "missing" / ".env", WORD)


def test_psqls_environment_is_ours_alone() -> None:
    shell = {
        "PGSERVICE": "another",
        "PGSSLMODE": "disable",
        "PGHOSTADDR": "10.0.0.1",
        "PATH": "/bin",
        "PG_COLOR": "auto",
    }
    made = psql.build_environment(TO, shell)
    assert {name for name in made if name.startswith("PG")} == {
        "PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGREQUIREAUTH", "PGAPPNAME", "PGSSLMODE", "PG_COLOR",
        "PGCHANNELBINDING", "PGOPTIONS",
    }  # fmt: skip
    assert (made["PGREQUIREAUTH"], made["PGSSLMODE"], made["PATH"]) == ("scram-sha-256", "require", "/bin")
    verified = psql.build_environment(TO, shell, "/private/server.crt")
    assert (verified["PGSSLMODE"], verified["PGSSLROOTCERT"]) == ("verify-ca", "/private/server.crt")


def test_an_administrators_psql_finds_nothing_that_a_script_put_on_the_path(fresh_database: FreshDatabase) -> None:
    name = fresh_database.admin.database
    fresh_database.do(f"ALTER DATABASE {name} SET search_path = app, public, pg_catalog")
    fresh_database.do("CREATE FUNCTION app.now() RETURNS text LANGUAGE sql RETURN 'the owner''s'")
    ours = embedded_server.find_bin_directory(max(embedded_server.VERSIONS)) / "psql"
    said = subprocess.run(
        [ours, "-XAtc", "select now()::text"], env=psql.build_environment(fresh_database.admin, {}),
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "the owner" not in said


def test_the_containers_psql_gets_its_password_by_name_alone() -> None:
    command = build_psql_command("pgvector-dev", "unix:///run/docker.sock", interactive=False)
    assert command[:4] == ("docker", "--host", "unix:///run/docker.sock", "exec")
    assert WORD not in " ".join(command)
    assert [command[place + 1] for place, word in enumerate(command) if word == "-e"] == [
        "PGUSER", "PGPASSWORD", "PGDATABASE", "PGOPTIONS",
    ]  # fmt: skip


@pytest.mark.promise("Another user of the machine sees no password while psql runs")
@pytest.mark.parametrize("role", ["app", "readonly", "admin"])
def test_another_user_sees_no_password_while_psql_runs(
    fresh_database: FreshDatabase, role: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The attacker reads every command line of the machine, as any uid may; psql itself does it for him here."""
    to = {"app": fresh_database.app_url, "admin": fresh_database.admin.url, "readonly": fresh_database.app_url}[role]
    outputs = {psql.URLS[role]: to}
    local = from_config("local", {"engine": "embedded"})
    seen = r"\! cat /proc/*/cmdline | tr '\0' ' '"
    assert psql.run(local, outputs, role, ["-XAtc", "SELECT current_user", "-c", seen]) == 0
    said = capfd.readouterr().out
    password = fresh_database.admin.password if role == "admin" else fresh_database.app_password
    assert said.splitlines()[0] == ("postgres" if role == "admin" else "app")
    assert "SELECT current_user" in said  # psql's own command line is among them
    assert password not in said


def test_a_role_that_is_none_is_told_with_those_there_are() -> None:
    with pytest.raises(PgstackError, match='--as amin; did you mean "admin"\\?: allowed are app, readonly, admin'):
        psql.find_role_address({"appUrl": TO.url}, "amin")
    with pytest.raises(PgstackError, match="no output adminUrl"):
        psql.find_role_address({"appUrl": TO.url}, "admin")

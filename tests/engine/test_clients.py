"""Every client of docs/clients.md connects with the outputs as they are: without TLS, with an odd password."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import yaml

from pgvector_stacks.embedded import embedded_server
from tests.client_programs import ODD, PROGRAMS, answer, read_variables, run
from tests.engine.checkout import Checkout, running_copy

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, deployed_template: Checkout) -> Iterator[Checkout]:
    with running_copy(deployed_template, tmp_path_factory.mktemp("clients") / "check out") as mine:
        mine.secret("appPassword", ODD)
        mine.ok("up")
        yield mine


@pytest.fixture(scope="module")
def variables(stack: Checkout) -> dict[str, str]:
    return read_variables(stack)


@pytest.mark.promise("Each client of docs/clients.md connects with what the stack's outputs say")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_client_connects_without_tls(name: str, client_folder: Path, variables: dict[str, str]) -> None:
    assert answer(name, client_folder, variables) == "app"


def formatted(stack: Checkout, form: str, *more: str) -> str:
    return stack.ok("outputs", stack.stack, "--format", form, "--show-secrets", *more)


def test_psql_reads_the_lines_for_its_files(stack: Checkout, tmp_path: Path) -> None:
    psql, query = str(embedded_server.find_psql()), "SELECT current_user"
    files = {}
    for form in ("pgpass", "pgservice"):
        files[form] = tmp_path / form
        stack.ok("outputs", stack.stack, "--format", form, "--to", str(files[form]))
        assert files[form].stat().st_mode & 0o777 == 0o600
    outputs = stack.outputs()
    at = ["-h", outputs["host"], "-p", str(int(outputs["port"])), "-U", "app", "-d", outputs["database"]]
    assert run([psql, *at, "-wAtc", query], tmp_path, {"PGPASSFILE": str(files["pgpass"])}).strip() == "app"
    named = {"PGSERVICEFILE": str(files["pgservice"])}
    assert run([psql, "service=local", "-wAtc", query], tmp_path, named).strip() == "app"


def test_a_secret_of_kubernetes_has_the_keys_of_cloudnativepg(stack: Checkout) -> None:
    secret = yaml.safe_load(formatted(stack, "k8s-secret", "--role", "readonly"))
    assert (secret["kind"], secret["type"]) == ("Secret", "kubernetes.io/basic-auth")
    assert secret["metadata"]["name"] == "pgvector-local-readonly"
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    keys = {"username", "user", "password", "dbname", "host", "port", "uri", "jdbc-uri", "pgpass"}
    assert set(data) == keys
    with psycopg.connect(data["uri"]) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("readonly",)
    with psycopg.connect(host=data["host"], port=data["port"], dbname=data["dbname"], user=data["user"],
                         password=data["password"]) as connection:  # fmt: skip
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_github_job_gets_the_variables_and_masks_each_secret_first(stack: Checkout, tmp_path: Path) -> None:
    file = tmp_path / "github env"
    file.write_text("BEFORE=1\n")
    said = stack.ok(
        "outputs", "local", "--format", "github-env", "--role", "app", "--name", "appUrl=DATABASE_URL",
        GITHUB_ENV=str(file),
    )  # fmt: skip
    url = stack.outputs()["appUrl"]
    text = file.read_text()
    assert text.startswith("BEFORE=1\n")
    assert f"\nDATABASE_URL={url}\n" in text
    assert "PGVECTOR_APP_URL" not in text
    assert stack.outputs()["readonlyUrl"] not in text
    masks = [line.removeprefix("::add-mask::").replace("%25", "%") for line in said.splitlines() if "add-mask" in line]
    assert {url, ODD} <= set(masks)
    rest = "\n".join(line for line in said.splitlines() if "add-mask" not in line)
    assert quote(ODD, safe="") not in rest
    assert "GITHUB_ENV is not set" in stack.fails("outputs", "local", "--format", "github-env", GITHUB_ENV="")
    to = str(tmp_path / "elsewhere")
    elsewhere = stack.ok("outputs", "local", "--format", "github-env", "--to", to, GITHUB_ENV="")
    assert quote(ODD, safe="") not in elsewhere
    assert url in (tmp_path / "elsewhere").read_text()


def test_what_holds_a_password_is_printed_only_when_asked_for(stack: Checkout) -> None:
    for form in ("url", "jdbc", "pgpass", "pgservice", "k8s-secret"):
        said = stack.fails("outputs", "local", "--format", form)
        assert "this format contains the password" in said
        assert "--show-secrets" in said
    said = stack.ok("outputs", "local", "--format", "dotenv")
    assert "# PGVECTOR_APP_URL is a secret: add --show-secrets, or --to FILE\n" in said
    assert "[secret]" not in said
    done = subprocess.run(["sh", "-euc", said], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert '--role readonli; did you mean "readonly"?' in stack.fails("outputs", "local", "--role", "readonli")

"""The two scripts the document promises, run as they are called: by their path, with bash."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pgvector_stacks.config.environment import ROOT
from pgvector_stacks.connections.connection import Address
from tests.conftest import FreshDatabase
from tests.engine.checkout import Checkout

FOLDER = "scripts/deployment"
CHECKS = [
    "connection", "server version", "extension available", "extension installed", "roles and privileges", "TLS",
    "latency", "vector round trip",
]  # fmt: skip


def connection(*arguments: str, root: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = Checkout(root).environment(**variables)
    return subprocess.run(
        [str(root / FOLDER / "test_connection.sh"), *arguments], env=environment, text=True, capture_output=True,
        stdin=subprocess.DEVNULL, check=False, timeout=300, cwd="/",
    )  # fmt: skip


def test_a_good_connection_is_a_line_a_check_and_exit_code_0(fresh_database: FreshDatabase) -> None:
    done = connection(fresh_database.app_url)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"✓ {check}" for check in CHECKS]
    assert "✓ roles and privileges: role app: no superuser, reads " in done.stdout
    assert "✓ vector round trip: [1,2,3] stored and read" in lines
    assert fresh_database.app_password not in done.stdout + done.stderr


def test_the_url_may_come_from_the_environment_and_the_answer_as_json(fresh_database: FreshDatabase) -> None:
    done = connection("--json", DATABASE_URL=fresh_database.app_url)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["good"]
    assert [check["check"] for check in found["checks"]] == CHECKS


def test_a_superuser_is_more_than_an_application_needs(fresh_database: FreshDatabase) -> None:
    done = connection(fresh_database.admin.url)
    assert done.returncode == 1
    assert "✗ roles and privileges: role postgres has more rights than an application needs: SUPERUSER" in done.stdout
    assert done.stdout.count("✗") == 1


def test_a_missing_extension_and_a_missing_right_are_told_with_what_mends_them(fresh_database: FreshDatabase) -> None:
    fresh_database.do("REVOKE SELECT ON ALL TABLES IN SCHEMA app FROM app")
    fresh_database.do("DROP EXTENSION vector CASCADE")
    done = connection(fresh_database.app_url)
    assert done.returncode == 1
    assert "✗ extension installed: the extension vector is not installed in this database: CREATE EXTENSION vector" in (
        done.stdout
    )
    assert "✗ roles and privileges: role app can't read app." in done.stdout
    assert "✗ vector round trip: the extension vector is not installed" in (done.stdout)


def address(fresh_database: FreshDatabase) -> Address:
    return replace(fresh_database.admin, password="wrong and hidden")


def test_what_can_not_be_reached_is_one_line_and_exit_code_1(fresh_database: FreshDatabase) -> None:
    for url, told in (
        (address(fresh_database).url, "the server refuses the password"),
        (replace(fresh_database.admin, port=1).url, "nothing listens there"),
    ):
        done = connection(url)
        assert done.returncode == 1
        assert done.stdout.startswith("✗ connection: can't connect to ")
        assert told in done.stdout
        assert "Traceback" not in done.stdout + done.stderr
        assert "hidden" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("mysql://root@host/db", "that is no URL of a database"),
        ("postgresql://app@host:99999/db", "the URL's port is no number"),
        ("prodution", 'did you mean "production"'),
    ],
)
def test_a_target_that_is_none_is_told_in_one_message(target: str, told: str) -> None:
    done = connection(target)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.engine
def test_the_local_database_is_brought_up_and_checked(checkout: Checkout) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copy2(ROOT / name, checkout.root / name)
    shutil.copytree(ROOT / "scripts", checkout.root / "scripts")
    (checkout.root / ".venv").symlink_to(ROOT / ".venv")
    script = checkout.root / FOLDER / "test_local_db.sh"
    done = subprocess.run(
        [str(script)], env=checkout.environment(), text=True, capture_output=True, stdin=subprocess.DEVNULL,
        check=False, timeout=300, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [f"✓ {check}" for check in CHECKS]
    assert "local is up" in done.stderr
    again = connection("local", root=checkout.root)
    assert again.returncode == 0, again.stderr

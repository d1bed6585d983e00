"""What programs read: one JSON document on stdout, with the exit code as without it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.engine.checkout import Checkout

pytestmark = pytest.mark.engine


def read(checkout: Checkout, *arguments: str, code: int = 0) -> Any:
    """The document that `pgstack … --json` prints, all of stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "pgvector_stacks.cli", *arguments, "--json"],
        cwd=checkout.root, env=checkout.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


@pytest.mark.promise("`--json` prints one document, with the exit code of the command without it")
def test_each_command_that_reads_prints_one_document(deployed: Checkout) -> None:
    found = read(deployed, "status")
    assert (found["stack"], found["differs"], found["drift"], found["lastFailure"]) == ("local", False, [], None)
    assert [each["state"] for each in found["scripts"]] == ["applied"] * 3
    assert found["backup"] == "none yet"
    found = read(deployed, "verify")
    assert found["good"]
    assert {"check", "good", "found"} == set(found["checks"][0])
    found = read(deployed, "doctor")
    assert found["good"], found
    assert {"stack file", "Pulumi", "connection", "schema"} <= {each["check"] for each in found["checks"]}
    assert read(deployed, "outputs")["engine"] == "embedded"
    assert read(deployed, "backup", "list")["backups"] == []
    for command in ("status", "verify", "doctor"):
        assert deployed.ok(command, "--quiet") == ""

    deployed.do("CREATE TABLE app.byhand ()")
    assert any("app.byhand" in line for line in read(deployed, "status", code=2)["drift"])
    said = deployed.fails("status", "--quiet", code=2)
    assert "app.byhand" in said
    assert "applied" not in said
    (schema,) = (each for each in read(deployed, "doctor", code=1)["checks"] if not each["good"])
    assert (schema["check"], schema["remedy"]) == ("schema", "pgstack preview local")
    said = deployed.fails("doctor", "--quiet")
    assert "byhand" in said
    assert "stack file" not in said

    (deployed.root / "sql" / "verify" / "900_never.sql").write_text("SELECT 'é' AS problem;\n")
    found = read(deployed, "verify", "--show-rows", code=1)
    assert not found["good"]
    bad = {each["check"]: each["found"] for each in found["checks"] if not each["good"]}
    assert list(bad) == ["sql/verify/010_roles.sql", "sql/verify/900_never.sql"], bad
    assert "é" in bad["sql/verify/900_never.sql"]
    said = deployed.fails("verify", "--quiet")
    assert "✗" in said
    assert "✓" not in said


def test_an_ascii_output_gets_ascii_and_no_traceback(deployed: Checkout) -> None:
    for command in ("preview", "status", "verify", "doctor", "test-connection"):
        done = subprocess.run(
            [sys.executable, "-m", "pgvector_stacks.cli", command],
            cwd=deployed.root, env=deployed.environment(PYTHONIOENCODING="ascii"), capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (done.stdout + done.stderr).isascii(), command
        assert b"Traceback" not in done.stderr


def test_the_list_of_backups_is_a_document(deployed: Checkout) -> None:
    deployed.ok("backup", "create")
    found = read(deployed, "backup", "list")
    assert found["signaturesChecked"]
    (backup,) = found["backups"]
    assert (backup["damage"], backup["doubts"], backup["drill"]) == (None, [], None)
    assert (backup["revision"], backup["bytes"] > 0) == (deployed.outputs()["schemaRevision"], True)

    (manifest,) = (deployed.root / ".data").rglob("manifest.json")
    manifest.write_text("{")
    (backup,) = read(deployed, "backup", "list", code=1)["backups"]
    assert (backup["bytes"], bool(backup["damage"])) == (None, True)

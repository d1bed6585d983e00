"""States and ledgers that an earlier commit made: what today's code must take for its own, and call unchanged.

A folder a stack has `state.json` (our resources, the salt of their secrets) and `ledger.sql` (pg_dump of the schema
pgstack); beside them lies the `sql/` they are of.
With PGSTACK_KEEP_STATES set, the tests write the folder instead: by the commit whose states are to be kept.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pgvector_stacks.embedded import embedded_server
from tests.engine.checkout import Checkout

FORMER = Path(__file__).parent / "former"
COMMITS = ("before-the-rooms", "providers-by-name")
OURS, SALT = "pulumi-python:dynamic/", "encryptionsalt"
# who and where this deployment is; everything else of the former state is kept
OF_THIS_DEPLOYMENT = (
    "value", "generated", "adminPassword", "appPassword", "readonlyPassword", "backupKey", "identity", "port", "name",
    "volume", "volumeName", "image", "imageName", "docker", "container", "fingerprint", "systemIdentifier", "claim",
    "dockerChosenBy", "version", "postgresVersion", "pgvectorVersion",
)  # fmt: skip


def check(stack: Checkout, folder: Path, *, resources: int) -> None:
    """A preview, `status` and an `up` of `stack` on the state and the ledger in `folder` find `resources` unchanged."""
    if os.environ.get("PGSTACK_KEEP_STATES"):
        stack.ok("up", stack.stack)
        keep(stack, folder)
        pytest.skip("PGSTACK_KEEP_STATES is set: the state was kept, and nothing was compared")
    prepare(stack, folder)
    stack.ok("up", stack.stack)
    take(stack, folder)
    for command in ("preview", "up"):
        said = stack.ok(command, stack.stack)
        assert f"Resources:\n    {resources} unchanged\n" in said, said
    assert "drift    none" in stack.ok("status", stack.stack)


def keep(stack: Checkout, folder: Path) -> None:
    """Write the stack's state and ledger into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    resources = [each for each in _checkpoint(stack)["latest"]["resources"] if each["type"].startswith(OURS)]
    state = {SALT: stack.file()[SALT], "resources": resources}
    (folder / "state.json").write_text(json.dumps(state, indent=1, sort_keys=True) + "\n")
    (folder / "ledger.sql").write_text(_psql_of(stack, "pg_dump", "--schema=pgstack", "--no-comments"))
    shutil.copytree(
        stack.root / "sql", folder.parent / "sql", ignore=shutil.ignore_patterns("queries"), dirs_exist_ok=True
    )


def prepare(stack: Checkout, folder: Path) -> None:
    """Before the first `up`: the scripts of then, and the salt, without which the state's secrets can't be read."""
    shutil.copytree(folder.parent / "sql", stack.root / "sql", dirs_exist_ok=True)
    stack.write_file(stack.file() | {SALT: _former(folder)[SALT]})


def take(stack: Checkout, folder: Path) -> None:
    """Put the former state and ledger in the place of those of `stack`, which is up with the same scripts."""
    file = _file(stack)
    content = json.loads(file.read_text())
    former = {each["urn"]: each for each in _former(folder)["resources"]}
    latest = content["checkpoint"]["latest"]
    assert {each["urn"] for each in latest["resources"] if each["type"].startswith(OURS)} == set(former)
    latest["resources"] = [_as_of_here(former.get(each["urn"]), each) for each in latest["resources"]]
    file.write_text(json.dumps(content))
    stack.do("DROP SCHEMA pgstack CASCADE")
    _psql_of(stack, "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-1", "-f", str(folder / "ledger.sql"))


def _as_of_here(former: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    if former is None:
        return now
    found = now | {part: former[part] for part in ("inputs", "outputs") if part in former}
    for part in ("inputs", "outputs"):
        found[part] = {
            key: now[part][key] if key in OF_THIS_DEPLOYMENT and key in now[part] else value
            for key, value in former.get(part, {}).items()
        }
    return found


def _former(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "state.json").read_text())
    return found


def _checkpoint(stack: Checkout) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_file(stack).read_text())["checkpoint"]
    return found


def _file(stack: Checkout) -> Path:
    return stack.root / ".pulumi" / "stacks" / "pgvector" / f"{stack.stack}.json"


def _psql_of(stack: Checkout, program: str, *arguments: str) -> str:
    admin = stack.admin()
    return subprocess.run(
        [embedded_server.find_bin_directory(max(embedded_server.VERSIONS)) / program, *arguments],
        check=True, capture_output=True, text=True,
        env={"PGHOST": admin.host, "PGPORT": str(admin.port), "PGUSER": admin.user, "PGDATABASE": admin.database,
             "PGPASSWORD": admin.password},
    ).stdout  # fmt: skip

"""The workflows call what a person would call, and no fork's code ever runs beside a secret."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.environment import ENVIRONMENTS, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
COMMENT = ROOT / "scripts" / "deployment" / "comment_preview.sh"


def load(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def jobs() -> Iterator[tuple[str, dict[str, Any], str]]:
    """(file and name, job, the whole workflow's text)."""
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            yield f"{path.name} {name}", job, path.read_text()


def commands() -> list[str]:
    return [step["run"] for _, job, _ in jobs() for step in job.get("steps", []) if "run" in step]


def test_every_target_and_script_that_a_workflow_calls_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(commands())
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) == {"lint", "test-fast", "preview", "up"} <= targets
    called = set(re.findall(r"\bscripts/\S+\.sh", text))
    assert called == {"scripts/deployment/test_connection.sh", "scripts/deployment/comment_preview.sh"}
    assert all(os.access(ROOT / script, os.X_OK) for script in called)


def test_the_environments_are_previewed_in_parallel_and_deployed_in_their_order() -> None:
    preview, deploy = (load(ROOT / ".github/workflows" / f"{name}.yml") for name in ("preview", "deploy"))
    remote = [name for name in ENVIRONMENTS if name != "local"]
    assert preview["jobs"]["preview"]["strategy"]["matrix"]["stack"] == remote
    assert list(deploy["jobs"]) == remote
    for before, name in zip([None, *remote], remote, strict=False):
        assert (deploy["jobs"][name].get("needs"), deploy["jobs"][name]["with"]) == (before, {"stack": name})


def test_no_code_of_a_fork_runs_beside_a_secret() -> None:
    for path in WORKFLOWS:
        assert True not in load(path) or "pull_request_target" not in str(load(path)[True])  # YAML reads `on` as true
    guard = "github.event.pull_request.head.repo.full_name == github.repository"
    preview = load(ROOT / ".github/workflows/preview.yml")["jobs"]
    for name, job in preview.items():
        assert "secrets." not in str(job) or guard in job["if"].split(" && "), name
    assert "secrets." not in str(preview["check"])


def test_no_workflow_has_rights_that_its_jobs_did_not_ask_for() -> None:
    for path in WORKFLOWS:
        assert load(path)["permissions"] == {}, path.name
    assert all("permissions" in job for _, job, _ in jobs())


def test_zizmor_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("zizmor"), "--offline", "--no-progress", *WORKFLOWS],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_nothing() -> None:
    found = shutil.which("actionlint")
    if found is None and shutil.which("go") is None:
        pytest.skip("neither actionlint nor Go, which would get it")
    command = [found] if found else ["go", "run", ACTIONLINT]
    done = subprocess.run([*command, *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False)
    if not found and done.returncode and ".yml:" not in done.stdout:
        pytest.skip(f"actionlint can't be had: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout


# the comment


FAKE_GH = """#!/bin/sh
# keeps what it was asked; says that there is a comment where OLD is set
case "$*" in *--paginate*) printf '%s' "$OLD" ;; *) : ;; esac
"$PYTHON" -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@" >>"$ASKED"
"""


def comment(folder: Path, text: str, outcome: str = "success", old: str = "") -> list[str]:
    """What `gh` is called with last, after the text of a preview was to become a comment."""
    (folder / "gh").write_text(FAKE_GH)
    (folder / "gh").chmod(0o755)
    (folder / "preview.txt").write_text(text)
    given = {"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_REPOSITORY": "me/here", "PULL_REQUEST": "7", "OLD": old}
    given |= {"ASKED": str(folder / "asked"), "PYTHON": sys.executable}
    subprocess.run([COMMENT, "dev", outcome, folder / "preview.txt"], env=os.environ | given, check=True)
    asked: list[str] = json.loads((folder / "asked").read_text().splitlines()[-1])
    return asked


def test_a_preview_becomes_a_comment_and_the_next_one_takes_its_place(tmp_path: Path) -> None:
    text = "to run: sql/0004.sql (new)\n```\nthree backticks $HOME `id`\n"
    made = comment(tmp_path, text)
    assert "PATCH" not in made
    assert "repos/me/here/issues/7/comments" in made
    assert made[-1].startswith("body=<!-- pgstack preview dev -->\n### preview of `dev` ✓")
    assert f"````\n{text}" in made[-1]
    edited = comment(tmp_path, text, outcome="failure", old="42\n43")
    assert "PATCH" in edited
    assert "repos/me/here/issues/comments/42" in edited
    assert "✗ the preview failed" in edited[-1]


def test_a_long_preview_is_cut_at_its_beginning(tmp_path: Path) -> None:
    body = comment(tmp_path, "ä" * 70_000 + "\nResources: 1 to update\n")[-1]
    assert len(body) < 65_536
    assert "… the beginning is in the job's log" in body
    assert "Resources: 1 to update" in body

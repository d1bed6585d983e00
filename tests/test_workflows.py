"""The workflows call what a person would call, and no fork's code ever runs beside a secret."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvector_stacks.config.environment import ENVIRONMENTS, ROOT
from tests.lacking import lacking

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


DOCUMENTED = ROOT / "docs" / "ci.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| ([^|]+) \| (any|`main`) \| (\*\*required\*\*|none) \| ([^|]+) \|$", re.MULTILINE)
GUARDED = ("staging", "production")


def environments() -> dict[str, tuple[str, str]]:
    """docs/ci.md's table: the branches and the reviewers of each environment."""
    return {name: (branches, reviewers) for name, _, branches, reviewers, _ in ROW.findall(DOCUMENTED.read_text())}


def environment_of(job: Mapping[str, Any], stack: str) -> str:
    """The name of a job's environment when it runs for this stack; "" without one."""
    named = job.get("environment") or ""
    text = named["name"] if isinstance(named, dict) else named
    return re.sub(r"\$\{\{ (?:matrix|inputs)\.stack \}\}", stack, text)


@pytest.mark.promise("In CI nothing that nobody reviewed reaches a secret of staging or production")
def test_nothing_that_nobody_reviewed_reaches_a_secret_of_staging_or_production() -> None:
    """A branch's own code runs in a pull request's jobs, and a commit of `main` has been reviewed."""
    table, used = environments(), set()
    for path in WORKFLOWS:
        of_pull_requests = "pull_request" in load(path)[True]
        for name, job in load(path)["jobs"].items():
            if "secrets." not in str(job):
                continue
            for stack in [each for each in ENVIRONMENTS if each != "local"]:
                environment = environment_of(job, stack)
                assert environment in table, f"{path.name} {name}: docs/ci.md doesn't tell who reaches {environment!r}"
                used.add(environment)
                branches, reviewers = table[environment]
                assert branches == ("any" if of_pull_requests else "`main`"), environment
                if stack in GUARDED and of_pull_requests:
                    assert reviewers == "**required**", environment
                if environment in GUARDED:
                    assert reviewers == "**required**", environment
    assert used == set(table), "docs/ci.md tells of environments that no job uses"


def test_a_secret_reaches_only_the_step_that_needs_it() -> None:
    for path in WORKFLOWS:
        whole = load(path)
        outside = {key: value for key, value in whole.items() if key != "jobs"}
        assert "secrets." not in str(outside), path.name
        for name, job in whole["jobs"].items():
            assert "secrets." not in str({key: value for key, value in job.items() if key != "steps"}), name
            for step in job.get("steps", ()):
                assert "uses" not in step or "secrets." not in str(step), step


def test_an_up_is_held_to_the_plan_that_was_approved() -> None:
    jobs = load(ROOT / ".github/workflows/deploy-stack.yml")["jobs"]
    preview, up = (str(jobs[name]["steps"]) for name in ("preview", "up"))
    assert "PLAN=approved.json" in preview
    assert "actions/upload-artifact@" in preview
    assert "actions/download-artifact@" in up
    assert all("PLAN=approved.json" in line for line in re.findall(r"make up.*", up))
    assert jobs["up"]["needs"] == "preview"


def test_every_action_is_pinned_by_its_commit_with_the_release_beside_it() -> None:
    for path in WORKFLOWS:
        for line in re.findall(r"^.*\buses:.*$", path.read_text(), re.MULTILINE):
            assert re.search(r"uses: (\./|[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+\b)", line), line


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
        lacking("neither actionlint nor Go, which would get it")
    command = [found] if found else ["go", "run", ACTIONLINT]
    done = subprocess.run([*command, *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False)
    if not found and done.returncode and ".yml:" not in done.stdout:
        lacking(f"actionlint can't be had: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout


# the comment


MARK = "<!-- pgstack preview dev -->\nof the last push"
FAKE_GH = """#!/bin/sh
# keeps what it was asked; lists the comments, as GitHub's `gh` does, with jq
case "$*" in *--paginate*) for last in "$@"; do :; done; printf '%s' "$COMMENTS" | jq -r "$last" ;; esac
"$PYTHON" -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@" >>"$ASKED"
"""


def comment(folder: Path, text: str, outcome: str = "success", old: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """What `gh` is called with last, after the text of a preview was to become a comment."""
    (folder / "gh").write_text(FAKE_GH)
    (folder / "gh").chmod(0o755)
    (folder / "preview.txt").write_text(text)
    given = {"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_REPOSITORY": "me/here", "PULL_REQUEST": "7"}
    given |= {"COMMENTS": json.dumps(list(old)), "ASKED": str(folder / "asked"), "PYTHON": sys.executable}
    subprocess.run([COMMENT, "dev", outcome, folder / "preview.txt"], env=os.environ | given, check=True)
    asked: list[str] = json.loads((folder / "asked").read_text().splitlines()[-1])
    return asked


def written(number: int, user: Mapping[str, str] | None = None, body: str = MARK) -> dict[str, Any]:
    """A comment as GitHub tells it; by us where no user is given."""
    return {"id": number, "body": body, "user": user or {"login": "github-actions[bot]", "type": "Bot"}}


def test_a_preview_becomes_a_comment_and_the_next_one_takes_its_place(tmp_path: Path) -> None:
    text = "to run: sql/0004.sql (new)\n```\nthree backticks $HOME `id`\n"
    made = comment(tmp_path, text)
    assert "PATCH" not in made
    assert "repos/me/here/issues/7/comments" in made
    assert made[-1].startswith("body=<!-- pgstack preview dev -->\n### preview of `dev` ✓")
    assert f"````\n{text}" in made[-1]
    edited = comment(tmp_path, text, outcome="failure", old=[written(41, body="LGTM"), written(42), written(43)])
    assert "PATCH" in edited
    assert "repos/me/here/issues/comments/42" in edited
    assert "✗ the preview failed" in edited[-1]


def test_a_strangers_comment_with_our_mark_is_never_edited(tmp_path: Path) -> None:
    """The attacker may edit the comments that are his, so a preview in one of them could be changed by him."""
    user = {"login": "mallory", "type": "User"}
    posing = [written(7, user), written(8, {"login": "github-actions[bot]", "type": "User"})]
    assert "repos/me/here/issues/comments/9" in comment(tmp_path, "changes\n", old=[*posing, written(9)])
    assert "repos/me/here/issues/7/comments" in comment(tmp_path, "changes\n", old=posing)


def test_what_a_branch_prints_can_not_end_the_block(tmp_path: Path) -> None:
    body = comment(tmp_path, "````\n`````\n# all checks passed\n")[-1]
    assert body.count("``````\n") == 2
    assert body.rstrip().endswith("``````\n\n</details>")


def test_a_long_preview_is_cut_at_its_beginning(tmp_path: Path) -> None:
    body = comment(tmp_path, "ä" * 70_000 + "\nResources: 1 to update\n")[-1]
    assert len(body) < 65_536
    assert "… the beginning is in the job's log" in body
    assert "Resources: 1 to update" in body

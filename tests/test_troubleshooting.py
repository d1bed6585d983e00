"""The troubleshooting page has every diagnosis and every finding of the Preflight, in the words they are told in."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pgvector_stacks.config.environment import ROOT
from pgvector_stacks.docker.docker_host import Network
from pgvector_stacks.docker.exit_diagnosis import DIAGNOSES, Diagnosis
from pgvector_stacks.docker.preflight import CHECKS, HostFacts, HostNeeds, run_checks

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
WANTED = HostNeeds("pgvector-dev", "IMAGE", 1024, 2, 5433, "127.0.0.1", 1024, None)
GOOD = HostFacts(
    api=(1, 41), architecture="amd64", memory_mb=4096, cpus=4, can_limit_memory=True, root="/var/lib/docker",
    free_mb=9999,
    root_missing=False, has_image=True, image_architectures=("amd64",), image_problem="", port_holder="",
    other_users=(), container=None, network=None, has_volume=True, has_address=True,
)  # fmt: skip
BAD = {
    "Docker": replace(GOOD, api=(1, 39)),
    "image not there": replace(GOOD, image_problem="no such host"),
    "image of another architecture": replace(GOOD, image_architectures=("arm64",)),
    "memory not limited": replace(GOOD, can_limit_memory=False),
    "memory": replace(GOOD, memory_mb=512),
    "cpus": replace(GOOD, cpus=1),
    "disk": replace(GOOD, free_mb=10),
    "address": replace(GOOD, has_address=False),
    "port": replace(GOOD, port_holder="another process"),
    "volume": replace(GOOD, other_users=("NAME",)),
    "volume elsewhere": replace(GOOD, misplaced_source="/data"),
    "no such directory": replace(GOOD, root="/data", root_missing=True),
    "container": replace(GOOD, container={}),
    "network": replace(GOOD, network=Network("1", {}, ("other",))),
}


@pytest.mark.parametrize("diagnosis", DIAGNOSES, ids=lambda row: row.cause)
def test_every_diagnosis_is_there(diagnosis: Diagnosis) -> None:
    assert f"| `{re.sub(r'{[a-z_]+}', '…', diagnosis.cause)}` |" in PAGE


@pytest.mark.parametrize("case", BAD)
def test_every_finding_is_there(case: str) -> None:
    (bad,) = [finding for finding in run_checks(WANTED, BAD[case]) if not finding.is_ok]
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{bad.what}: ") and fits(line, str(bad)))
    assert re.split(r" \(API|:  |;", bad.remedy)[0].removeprefix("free some") in row


def test_no_check_is_left_out() -> None:
    checked = {finding.what for facts in BAD.values() for finding in run_checks(WANTED, facts) if not finding.is_ok}
    warned = {f.what for f in run_checks(replace(WANTED, image="ankane/pgvector:latest"), GOOD) if not f.is_ok}
    assert checked | warned == {finding.what for finding in run_checks(WANTED, GOOD)}
    assert len(run_checks(WANTED, GOOD)) == len(CHECKS)


def fits(row: str, said: str) -> bool:
    """True where the message, `…` standing for anything, is what was said."""
    message = row.split("`")[1]
    return re.fullmatch(re.escape(message).replace("…", ".*") + ".*", said, re.DOTALL) is not None

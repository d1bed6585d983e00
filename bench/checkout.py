"""Copies of this checkout, each with its own state and nothing of the user's: what is timed of a whole stack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.contenders import ROOT, Run, last_json, timed
from bench.figures import NotMeasured

# of the user's own: another backend, passphrase or stack than the copy's
NOT_INHERITED = ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_STACK",
                 "PULUMI_HOME", "PGSTACK_PID")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkout:
    """A copy of this one with one stack. `extra`: of the environment, besides what it inherits."""

    root: Path
    stack: str
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Makes Python and Pulumi use it and nothing of ours or the user's."""
        home = {"PULUMI_HOME": str(self.root.with_name(f"{self.root.name}-home"))}
        return inherited() | home | {"PYTHONPATH": str(self.root)} | dict(self.extra)

    def pgstack(self, *words: str) -> Run:
        """Raises NotMeasured with what it said."""
        return timed([sys.executable, "-m", "pgvector_stacks.cli", *words], self.environment, self.root)

    def preview(self) -> float:
        """Seconds in a new process, after its imports. Raises NotMeasured where it isn't a no-op."""
        command = [sys.executable, "-m", "bench.worker", "preview", self.stack]
        return seconds_of_no_op(timed(command, self.environment, self.root))

    def configure(self, keys: Mapping[str, Any]) -> None:
        file = self.root / "stacks" / f"Pulumi.{self.stack}.yaml"
        file.write_text(with_keys(file.read_text(), keys))


def inherited() -> dict[str, str]:
    """This process's environment without what leads to a stack of the user's."""
    return {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}


def seconds_of_no_op(run: Run) -> float:
    """What a worker's preview took. Raises NotMeasured where it would change something."""
    found = last_json(run.stdout)
    if found["changes"]:
        raise NotMeasured(f"the preview would change something: {found['changes']}")
    return float(found["seconds"])


def sources(root: Path) -> list[str]:
    """What git keeps or would keep. Raises NotMeasured."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise NotMeasured("this is no git checkout, so what to copy isn't known") from None
    return sorted({name for name in listed.split("\0") if name and (root / name).is_file()})


def copy(target: Path, stack: str, extra: Mapping[str, str] | None = None) -> Checkout:
    """This checkout's sources."""
    for name in sources(ROOT):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    return Checkout(target, stack, extra or {})


def with_keys(stack_file: str, keys: Mapping[str, Any]) -> str:
    """The stack file's text with these keys of its config, written without their namespace, set."""
    content = yaml.safe_load(stack_file) or {}
    config = {f"pgvector:{key}": value for key, value in keys.items()}
    content["config"] = (content.get("config") or {}) | config
    return yaml.safe_dump(content, sort_keys=False)

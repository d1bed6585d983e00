"""A child is gone when its work is, also where Ctrl-C comes while it is being started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pgvector_stacks.automation.child import run_child


def gone(process: int) -> bool:
    return not Path("/proc", str(process)).exists()


def test_a_child_and_what_it_started_are_gone_afterwards(tmp_path: Path) -> None:
    with run_child(["sh", "-c", "sleep 60 & echo $!; exec sleep 60"], cwd=tmp_path, env=os.environ) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while not gone(grandchild) and Path(f"/proc/{grandchild}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_that_ended_keeps_its_exit_code(tmp_path: Path) -> None:
    with run_child(["sh", "-c", "exit 3"], cwd=tmp_path, env=os.environ) as process:
        process.wait()
    assert process.returncode == 3


def test_an_interrupt_while_it_starts_leaves_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupt comes after the fork and before anybody knows the child."""
    started: list[int] = []
    original = subprocess.Popen.__init__

    def interrupted(self: subprocess.Popen[bytes], *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        started.append(self.pid)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(subprocess.Popen, "__init__", interrupted)
    with pytest.raises(KeyboardInterrupt), run_child(["sleep", "60"], cwd=tmp_path, env=os.environ):
        pytest.fail("the interrupt was swallowed")
    assert gone(started[0])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

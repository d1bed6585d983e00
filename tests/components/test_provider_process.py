"""The providers' process ends when the engine tells it to, whichever of its threads the kernel gives the signal to."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pgvector_stacks.config.environment import ROOT

PROVIDER = [str(Path(sysconfig.get_path("scripts")) / "pgstack-provider"), "-u", "-m", "pulumi.dynamic"]
PLUGIN = [sys.executable, "-m", "tests.docker_plugin"]


@pytest.mark.skipif(sys.platform != "linux", reason="sends a signal to one thread, by Linux' tgkill")
@pytest.mark.parametrize("command", [PROVIDER, PLUGIN], ids=["provider", "stand-in of the docker plugin"])
def test_a_signal_to_any_thread_ends_the_process(command: list[str]) -> None:
    """A handler in Python would run in the main thread alone, which sleeps on: the engine waited for five seconds."""
    with subprocess.Popen(
        [*command, "127.0.0.1:1"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout
            assert int(process.stdout.readline()) > 0  # it serves
            threads = {int(entry.name) for entry in Path(f"/proc/{process.pid}/task").iterdir()} - {process.pid}
            tgkill = 234 if os.uname().machine == "x86_64" else 131
            assert ctypes.CDLL(None).syscall(tgkill, process.pid, max(threads), signal.SIGINT) == 0
            _, said = process.communicate(timeout=30)
            assert (process.returncode, said) == (-signal.SIGINT, b"")
        finally:
            process.kill()

"""Runs a child process that is always stopped, even on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def run_child(argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start `argv` in its own session, both outputs on one pipe. On exit, kill its process group if it still runs."""
    process: subprocess.Popen[bytes] | None = None
    try:
        with _interrupts_later():  # Ctrl-C while Popen forks would leave an unknown child
            process = subprocess.Popen(
                argv, cwd=cwd, env=env, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        yield process
    finally:
        if process is not None:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Delay Ctrl-C until the block ends. In threads other than the main one do nothing: they don't receive it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt

"""Runs another program in this one's place: on its terminal, to its end."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_in_foreground(command: Sequence[str], environ: Mapping[str, str], folder: Path | None = None) -> int:
    """Run the command and return its exit code. Ctrl-C is left to it: in psql, for example, it cancels a query."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN: the command would inherit that
    try:
        return subprocess.run(command, env=dict(environ), cwd=folder, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)

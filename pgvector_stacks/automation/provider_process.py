"""The process in which providers run: it prints no traceback of a known failure, and it leaves with the engine."""

from __future__ import annotations

import functools
import io
import os
import runpy
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi

from pgvector_stacks.automation import provider_guard
from pgvector_stacks.common.plain_text import safe

POLL_S = 0.5
COMMAND_LINE = "PGSTACK_PID"


class Failed(Exception):
    """What the engine prints: the message alone, see `install_process_hooks`."""


def install_process_hooks() -> None:
    """Called first in a provider process, by `host` or by a provider's configure: all that is done once.

    The SDK sends `traceback.format_exc()` of whatever a provider raises to the engine, which prints it. For a known
    failure that is the message alone; a bug keeps its traceback. What goes to the engine's log is made safe to show.
    """
    original = traceback.format_exc
    if original.__module__ == __name__:
        return

    def format_exc(limit: int | None = None, chain: bool = True) -> str:
        error = sys.exc_info()[1]
        return str(error) if isinstance(error, Failed) else safe(original(limit, chain))

    traceback.format_exc = format_exc
    for level in ("debug", "info", "warn", "error"):
        setattr(pulumi.log, level, _logs_safely(getattr(pulumi.log, level)))
    _leave_with_the_engine()


def _logs_safely(log: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(log)
    def logs(msg: str, *rest: Any, **options: Any) -> None:
        log(safe(msg), *rest, **options)

    return logs


def _leave_with_the_engine() -> None:
    """End this process when the engine that started it is gone, or when the provider was told to stop.

    The engine starts a shell that starts us; a killed engine kills neither. Ctrl-C ends the provider's main thread
    while a statement goes on in another. In both cases nobody waits for the result: the connection closes with the
    process and the server rolls back.
    """
    shell = os.getppid()
    command_line = int(os.environ.get(COMMAND_LINE, "0"))  # pgstack: with it goes the program, and so the engine
    processes = (shell, _parent_of(shell), command_line or None)
    watcher = threading.Thread(target=_watch, args=(processes,), name="leave-with-the-engine", daemon=True)
    watcher.start()


def host() -> None:
    """What the engine starts as the providers' Python (PULUMI_PYTHON_CMD, `.venv/bin/pgstack-provider`).

    Called like python: `-u -m pulumi.dynamic ADDRESS`. It watches from the first moment: a provider that was started
    and never asked would otherwise outlive a killed engine for ever.
    """
    install_process_hooks()
    # Ctrl-C, and the engine's word that all is done: nobody waits for the result any more. Not a handler in Python: the
    # main thread alone would run it, which sleeps on where another thread took the signal. The engine would then wait
    # five seconds and report the plugin that it asks next as crashed. Set here, since a shell's background job starts
    # with it ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    provider_guard.guard()
    # `-u`: the SDK writes its port without flushing, and the engine waits for it
    sys.stdout = io.TextIOWrapper(io.FileIO(sys.stdout.fileno(), "w", closefd=False), write_through=True)
    module, sys.argv = sys.argv[3], sys.argv[3:]
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: the program's own modules come first
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _watch(processes: tuple[int | None, ...]) -> None:
    shell = processes[0]
    handles = [_open(process) for process in processes if process]
    ends = [handle for handle in handles if handle is not None]
    while True:
        if ends:
            gone = bool(select.select(ends, [], [], POLL_S)[0])
        else:
            time.sleep(POLL_S)
            gone = os.getppid() != shell
        if gone or not threading.main_thread().is_alive():
            os._exit(1)


def _open(process: int) -> int | None:
    """A descriptor that becomes readable when the process ends (Linux 5.3)."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return None


def _parent_of(process: int) -> int | None:
    try:
        with open(f"/proc/{process}/stat") as stat:  # noqa: PTH123
            return int(stat.read().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return None

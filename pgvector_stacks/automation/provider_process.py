"""Prepares the process in which our providers run: known failures print no traceback, and it ends with Pulumi."""

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
    """A known failure: Pulumi prints only its message, without a traceback. See `install_process_hooks`."""


def install_process_hooks() -> None:
    """Set up a provider process, once. `host` calls this first, or else a provider's `configure`.

    If a provider raises, the SDK sends `traceback.format_exc()` to Pulumi, which prints it. The replaced function
    returns only the message of a known failure, and the traceback of a bug. Control characters in text for
    Pulumi's log are escaped.
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
    """Wrap a function of `pulumi.log` so that its text is safe to show."""

    @functools.wraps(log)
    def logs(msg: str, *rest: Any, **options: Any) -> None:
        log(safe(msg), *rest, **options)

    return logs


def _leave_with_the_engine() -> None:
    """End this process when the Pulumi process that started it is gone, or when the provider was told to stop.

    Pulumi starts a shell, which starts this process; both survive if Pulumi is killed. Ctrl-C ends the provider's main
    thread, while a statement continues in another thread. In both cases nothing waits for the result any more. When
    this process ends, its connection closes and the server rolls back.
    """
    shell = os.getppid()
    command_line = int(os.environ.get(COMMAND_LINE, "0"))  # pgstack's: Pulumi ends with it
    processes = (shell, _parent_of(shell), command_line or None)
    watcher = threading.Thread(target=_watch, args=(processes,), name="leave-with-the-engine", daemon=True)
    watcher.start()


def host() -> None:
    """Run the providers, in place of the Python that Pulumi starts (PULUMI_PYTHON_CMD, `.venv/bin/pgstack-provider`).

    The arguments are those of python: `-u -m pulumi.dynamic ADDRESS`. The hooks are installed immediately: otherwise a
    provider that is started but never called would outlive a killed Pulumi for ever.
    """
    install_process_hooks()
    # SIGINT comes from Ctrl-C, and from Pulumi when all is done. Nothing waits for the result then, so the process ends
    # at once. A handler in Python would run only in the main thread, which stays asleep if another thread receives the
    # signal; Pulumi would then wait five seconds and report the next plugin that it calls as crashed. SIG_DFL is set
    # explicitly, because a shell starts background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    provider_guard.guard()
    # in place of `-u`: the SDK prints its port without flushing, and Pulumi waits for that line
    sys.stdout = io.TextIOWrapper(io.FileIO(sys.stdout.fileno(), "w", closefd=False), write_through=True)
    module, sys.argv = sys.argv[3], sys.argv[3:]
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: the program's own modules are found first
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _watch(processes: tuple[int | None, ...]) -> None:
    """Wait until one of the processes or this process's main thread has ended; then end this process."""
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
    """Return a file descriptor that becomes readable when the process ends (Linux 5.3); None if that fails."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return None


def _parent_of(process: int) -> int | None:
    """Return the id of the process's parent; None if that is unknown."""
    try:
        with open(f"/proc/{process}/stat") as stat:  # noqa: PTH123
            return int(stat.read().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return None

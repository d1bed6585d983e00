"""up, preview and down: passed through to the engine, whose words are shown as they come."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from typing import Any

import psutil
import pulumi.automation as auto

from pgstack.outputs import url_command
from pgstack.workspace import DeploymentFailed, Workspace, explain
from postgres import embedded
from postgres.errors import PgstackError
from stacks.environment import ROOT, from_file

NOTHING_CHANGED = "unchanged"


def up(workspace: Workspace) -> None:
    """Deploy. Raises DeploymentFailed, whose message is only what the engine has not said already."""
    stack = workspace.select(create=True)
    result = _run(stack.up, suppress_outputs=True)
    changes = result.summary.resource_changes or {}
    changed = {kind: count for kind, count in changes.items() if kind != "same" and count}
    workspace.say(
        f"{workspace.name} is up: " + (", ".join(f"{n} {kind}d" for kind, n in changed.items()) or NOTHING_CHANGED)
    )


def preview(workspace: Workspace, *, diff: bool) -> dict[str, int]:
    """What `up` would do; returns the number of resources for each kind of change, unchanged ones left out."""
    stack = workspace.select(create=workspace.backend.own)
    result = _run(stack.preview, diff=diff, suppress_outputs=True)
    return {str(kind.value if hasattr(kind, "value") else kind): count for kind, count in result.change_summary.items()
            if "same" not in str(kind).lower()}  # fmt: skip


def down(workspace: Workspace, *, delete_data: bool) -> None:
    """Take the stack's resources away. The data stays, unless asked otherwise."""
    stack = workspace.select(create=False)
    _run(stack.destroy)
    data = ROOT / ".data" / workspace.name
    if delete_data:
        shutil.rmtree(data, ignore_errors=True)
        workspace.say(f"{workspace.name} is down, its data deleted")
    elif data.is_dir():
        workspace.say(f"{workspace.name} is down; its data stays in {data.relative_to(ROOT)}/ for the next up")
    else:
        workspace.say(f"{workspace.name} is down")


def _watched(operation: Callable[..., Any], **options: Any) -> Any:
    """Run an engine operation and show its output as it comes."""
    color = "always" if sys.stdout.isatty() else "never"
    stopped = False

    def stop(*_: object) -> None:
        # The terminal told the engine too: it ends by itself and gives its lock back, so we wait for it. It keeps its
        # providers in groups of their own and waits for them; they are told here, and the server rolls back.
        nonlocal stopped
        stopped = True
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "pulumi.dynamic" in process.cmdline():
                    process.send_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, stop)
    try:
        return operation(on_output=_print, on_error=_print, color=color, **options)
    except auto.CommandError:
        if stopped:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _run(operation: Callable[..., Any], **options: Any) -> Any:
    """The same, its failures as PgstackErrors."""
    try:
        return _watched(operation, **options)
    except auto.ConcurrentUpdateError as error:
        raise PgstackError(_locked(str(error))) from None
    except auto.CommandError as error:
        if "error:" in str(error):
            raise DeploymentFailed("") from None
        raise DeploymentFailed(explain(str(error))) from None


def _locked(said: str) -> str:
    by = next((line.strip() for line in said.splitlines() if "created by" in line), "")
    return (
        f"another operation works on this stack{': ' + by if by else ''}\n"
        '  wait for it, then try again; if nobody is there any more:  eval "$(pgstack env STACK)" && pulumi cancel'
    )


# What the engine says about resources it only looks at; what changes, fails or is diagnosed is shown.
QUIET = re.compile(r"^( [~ ] {2}\S+:\S+ \S+( refreshing.*| refresh( \([\d.]+s\))?| running.*)?|@ .*|\s*)$")

LOCKED = re.compile(r"^error: the stack is currently locked|^\s+file://.*: created by ")  # _locked says it


def _print(line: str) -> None:
    if not QUIET.match(line) and not LOCKED.match(line):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def psql_line(stack: str) -> str:
    """A line to paste that opens psql as the application's role; the password is not on it."""
    psql = shutil.which("psql") or str(embedded.binaries(from_file(stack).postgres_version) / "psql")
    return f'{shlex.quote(psql)} "$({url_command(stack)})"'

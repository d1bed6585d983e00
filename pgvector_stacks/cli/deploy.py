"""The commands `up`, `preview` and `down`: they call Pulumi and show its output at once, each message only once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pulumi.automation as auto
import typer

from pgvector_stacks.automation import approval
from pgvector_stacks.automation.engine_output import EngineOutput, Verdict
from pgvector_stacks.automation.workspace import DeploymentFailed, Workspace, explain
from pgvector_stacks.cli.confirm import ask_before_loss
from pgvector_stacks.cli.deployed_stack import say, toolchain
from pgvector_stacks.cli.outputs.formats import Selection, render_table
from pgvector_stacks.cli.outputs.stack_outputs import Output, command, convert_outputs
from pgvector_stacks.cli.printing import echo, escape_except_colours, is_coloured
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.plain_text import safe
from pgvector_stacks.config import offline
from pgvector_stacks.config.environment import Environment, from_file
from pgvector_stacks.engines.interface import get_engine
from pgvector_stacks.migrations.ledger import find_git_commit

NOTHING_CHANGED = "unchanged"
SUMMARY = {"show_secrets": False}  # in Pulumi's history: nothing reads them, and decrypting takes 0.2 s
ROTATE = "PGSTACK_ROTATE_CERTIFICATE"  # read by components/certificate.py


def up(workspace: Workspace, approved: Path | None = None) -> dict[str, Output]:
    """Deploy, and return the outputs. Raises DeploymentFailed; its message says only what Pulumi has not yet printed.

    `approved`: a file of `preview --save-plan`. Raises PgstackError if this `up` would do anything else.
    """
    stack = workspace.select(create=True)
    if approved is None:
        result = _run(stack.up, suppress_outputs=True, **SUMMARY)
    else:
        wanted = approval.read(approved)
        with _plan_file() as plan:
            _run(stack.preview, plan=plan, suppress_outputs=True)
            approval.refuse_other(wanted, _approval(plan, workspace.name))
            workspace.say(f"this is what was approved: {approved}")
            result = _run(stack.up, plan=plan, suppress_outputs=True, **SUMMARY)
    changes = result.summary.resource_changes or {}
    changed = {kind: count for kind, count in changes.items() if kind != "same" and count}
    workspace.say(
        f"{workspace.name} is up: " + (", ".join(f"{n} {kind}d" for kind, n in changed.items()) or NOTHING_CHANGED)
    )
    return convert_outputs(result.outputs)


@contextlib.contextmanager
def _plan_file() -> Iterator[str]:
    """Yield a path for Pulumi's plan in a private temporary folder, because the plan contains encrypted secrets."""
    with tempfile.TemporaryDirectory(prefix="pgstack-") as folder:
        yield str(Path(folder) / "plan.json")


def _approval(plan: str, stack: str) -> approval.Approval:
    """Return the approval for the plan that Pulumi has written."""
    return approval.build_approval(json.loads(Path(plan).read_text()), stack, find_git_commit() or "")


def rotate_certificate(environment: Environment) -> None:
    """Make this `up` create a new certificate. Raises PgstackError if the stack doesn't generate its certificate."""
    if not environment.demands_tls:
        raise PgstackError(f"{environment.stack} has no TLS certificate: pgvector:tls is off")
    if environment.tls_certificate is not None:
        raise PgstackError(
            f"the certificate of {environment.stack} is that of its stack file\n"
            "  set pgvector:tlsCertificate and tlsKey to the next one, then `up`"
        )
    os.environ[ROTATE] = "1"


def up_and_print(stack: str, plan: Path | None = None) -> None:
    """Check everything that `up` needs, deploy, and print the outputs. Raises PgstackError."""
    offline.refuse_up(os.environ)
    check_engine(from_file(stack))  # reports all mistakes in the stack file before anything is created
    found = up(Workspace(stack, toolchain(), say), plan)
    echo(render_table(Selection(stack, found)))
    typer.echo(f"\n{command('psql', stack)}")


def preview(workspace: Workspace, *, diff: bool, save: Path | None = None) -> dict[str, int]:
    """Show what `up` would do. Return the number of resources per kind of change, without unchanged ones.

    `save`: where to write the approval for `up --plan`.
    """
    if save is not None and offline.is_offline_requested(os.environ):
        raise PgstackError(
            "an offline preview is nothing to approve: it looked at neither Docker host nor database\n"
            "  make it where both can be reached"
        )
    if offline.is_offline_requested(os.environ):  # a refresh would ask the Docker host through the plugin
        os.environ["PULUMI_OPTION_REFRESH"] = "false"
    stack = workspace.select(create=workspace.backend.own)
    with _plan_file() as plan:
        result = _run(stack.preview, diff=diff, suppress_outputs=True, **({"plan": plan} if save else {}))
        if save is not None:
            approval.write(save, _approval(plan, workspace.name))
    return {str(kind.value if hasattr(kind, "value") else kind): count for kind, count in result.change_summary.items()
            if "same" not in str(kind).lower()}  # fmt: skip


def down(workspace: Workspace, *, delete_data: bool, yes: bool) -> None:
    """Remove the stack's resources. The data remains, unless `delete_data` or the stack file says otherwise.

    `yes`: the user needn't type the stack's name. Raises PgstackError, and changes nothing, if it isn't typed.
    """
    stack = workspace.select(create=False)
    environment = from_file(workspace.name)
    _say_of_the_key(workspace, environment)
    engine = get_engine(environment)
    removal = engine.plan_removal(environment, lambda: workspace.exported(stack), delete_data=delete_data)
    loss = describe_removal(environment.stack, deletes_data=removal.deletes_data)
    ask_before_loss(environment, loss, yes=yes, say=workspace.say)
    _run(
        stack.destroy,
        suppress_outputs=True,
        **SUMMARY,
        **({"exclude_protected": True} if removal.exclude_protected else {}),
    )
    workspace.say(removal.finish())


def describe_removal(stack: str, *, deletes_data: bool) -> str:
    """Say what `down` takes away.

    >>> describe_removal("dev", deletes_data=True)
    '`down` removes the server of dev, its generated passwords and its data'
    """
    if deletes_data:
        return f"`down` removes the server of {stack}, its generated passwords and its data"
    return f"`down` removes the server of {stack} and its generated passwords; its data stays"


def _say_of_the_key(workspace: Workspace, environment: Environment) -> None:
    """Warn that `down` removes the key that signs the backups, because it is in the state."""
    kept = sum(1 for _ in environment.backups.glob("*Z")) if environment.backups.is_dir() else 0
    if kept and environment.backup_key is None:
        workspace.say(
            f"{kept} backup(s) stay in {environment.backups}; the key that signs them goes with the state:\n"
            "  they need --unsigned from then on. To keep it, before a `down`:"
            f"  pgstack backup key {workspace.name}  (docs/backup.md)"
        )


def check_engine(environment: Environment) -> None:
    """Check the engine before Pulumi and its plugins do, whose errors name no remedy. Raises PgstackError."""
    get_engine(environment).check(environment, offline=offline.is_offline_requested(os.environ))


def _watched(operation: Callable[..., Any], **options: Any) -> Any:
    """Run an operation of Pulumi and show its output at once. Raises DeploymentFailed if the `Verdict` says so."""
    color = "always" if is_coloured(sys.stdout) else "never"
    stopped = False
    verdict, output = Verdict(), EngineOutput()

    def line(text: str) -> None:
        verdict.line(text)
        for shown in output.shown(text):
            _print(shown)

    def stop(*_: object) -> None:
        # Pulumi has received Ctrl-C from the terminal, too. It ends by itself and releases its lock, so we wait for it.
        # It waits for its providers, which are in other process groups: so we signal these, and the server rolls back.
        nonlocal stopped
        stopped = True
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "pulumi.dynamic" in process.cmdline():
                    process.send_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, stop)
    try:
        result = operation(on_output=line, on_error=line, on_event=verdict.event, color=color, **options)
    except auto.CommandError:
        if stopped:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
        for left in output.rest():
            _print(left)
    summary = getattr(result, "summary", None)  # a preview has none
    if verdict.failed or (summary is not None and summary.result != "succeeded"):
        raise DeploymentFailed("")
    return result


def _run(operation: Callable[..., Any], **options: Any) -> Any:
    """Like `_watched`, but every failure is a PgstackError."""
    try:
        return _watched(operation, **options)
    except auto.ConcurrentUpdateError as error:
        raise PgstackError(_locked(str(error))) from None
    except auto.CommandError as error:
        if "error:" in str(error):
            raise DeploymentFailed("") from None
        raise DeploymentFailed(explain(str(error))) from None


def _locked(said: str) -> str:
    """Return the message for a stack that another operation has locked. `said`: Pulumi's error."""
    by = next((line.strip() for line in said.splitlines() if "created by" in line), "")
    return (
        f"another operation works on this stack{': ' + by if by else ''}\n"
        "  wait for it, then try again; if nobody is there any more:  pgstack pulumi STACK -- cancel"
    )


def _print(line: str) -> None:
    """Print a line of Pulumi's output, made safe to show."""
    try:
        sys.stdout.write(f"{escape_except_colours(line) if is_coloured(sys.stdout) else safe(line)}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # `pgstack up | head`: the reader is gone, but the work continues
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

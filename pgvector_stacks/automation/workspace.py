"""Drives the Automation API with the same stack, state and config as plain `pulumi`, wherever the CLI came from.

It decides which backend and passphrase a stack has, and which variables plain `pulumi` needs to see the same stack. It
removes a lock that a dead process of this host left. It runs `__main__.py` as an inline program, because only the
official CLI includes the language host.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pulumi.automation as auto
from semver import VersionInfo

from pgvector_stacks.automation import deployed, provider_guard, state_key
from pgvector_stacks.automation.provider_process import COMMAND_LINE
from pgvector_stacks.automation.toolchain import Toolchain
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.exported_state import ExportedState
from pgvector_stacks.config.environment import ROOT, read_environment_name
from pgvector_stacks.config.stack_names import parse_name

PROJECT = "pgvector"
PROVIDER_HOST = "pgstack-provider"


class DeploymentFailed(PgstackError):
    """Pulumi's engine failed. Its output has already said why, unless this error has a message."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Where the state is stored. `own`: in this checkout; then `url` is set, and the default passphrase is empty."""

    own: bool
    url: str | None


def choose_backend(environment: str, environ: Mapping[str, str], logged_in: bool, root: Path) -> Backend:
    """Return the user's backend if one is chosen, else the checkout's.

    A login alone doesn't apply to the environment `local`: its servers are on this machine, out of a team's reach.
    """
    if environ.get("PULUMI_BACKEND_URL"):
        return Backend(own=False, url=None)
    if logged_in and environment != "local":
        return Backend(own=False, url=None)
    return Backend(own=True, url=f"file://{root}")


def build_environment(
    backend: Backend, toolchain: Toolchain, python: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment variables with which plain `pulumi` does the same as `pgstack`."""
    path = [str(directory) for directory in toolchain.path_dirs]
    known = environ.get("PATH", "").split(os.pathsep)
    found = {
        "PATH": os.pathsep.join([*(entry for entry in path if entry not in known), *known]),
        # Pulumi doesn't find the virtual environment for the providers of an inline program
        "PULUMI_PYTHON_CMD": python,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    if backend.url is not None:
        found["PULUMI_BACKEND_URL"] = backend.url
        if "PULUMI_CONFIG_PASSPHRASE" not in environ and "PULUMI_CONFIG_PASSPHRASE_FILE" not in environ:
            found["PULUMI_CONFIG_PASSPHRASE"] = ""
    return found


def find_provider_host() -> Path:
    """Return what Pulumi starts for our providers: `pgstack-provider`, or this Python if that isn't installed."""
    host, python = Path(sys.executable).with_name(PROVIDER_HOST), Path(sys.executable)
    return host if host.exists() else python


def is_logged_in(environ: Mapping[str, str]) -> bool:
    """Return True if `pulumi login` has chosen a backend."""
    home = Path(environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    try:
        return bool(json.loads((home / "credentials.json").read_text())["current"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


class Pulumi(auto.PulumiCommand):
    """The CLI that was found. Its version is known already, so it isn't queried again, which would take 0.2 s."""

    def __init__(self, toolchain: Toolchain) -> None:
        self.command = str(toolchain.pulumi)
        self.version = VersionInfo.parse(toolchain.version)


def read_state(pulumi: auto.PulumiCommand, stack: str) -> dict[str, Any]:
    """Return the deployment from `pulumi stack export`, secrets decrypted. Raises auto.CommandError."""
    said = pulumi.run(["stack", "export", "--show-secrets", "--stack", stack], str(ROOT), {}).stdout
    found: dict[str, Any] = json.loads(said).get("deployment") or {}
    return found


class LocalWorkspace(auto.LocalWorkspace):
    """Reads a stack's outputs with one call of the CLI instead of two: each takes 0.2 to 0.4 s."""

    def stack_outputs(self, stack_name: str) -> auto.OutputMap:
        found = deployed.read_exported_outputs(ExportedState(read_state(self.pulumi_command, stack_name)))
        return {name: auto.OutputValue(output.value, output.secret) for name, output in found.items()}


class Stack(auto.Stack):
    """A stack of the checkout's own backend that is known to exist. `history`: its folder with a file per operation.

    Each call of the CLI takes 0.2 s. So `pulumi stack select` isn't run, since each command names the stack, and the
    operation's summary is read from its file instead of by `pulumi stack history`.
    """

    def __init__(self, name: str, workspace: LocalWorkspace, history: Path) -> None:
        self.name, self.workspace, self._history = name, workspace, history
        self._before = find_last_operation(history)

    def info(self, show_secrets: bool = True) -> auto.UpdateSummary | None:
        """Return the summary of the last operation, without its config; asks Pulumi if it has written no new file."""
        last = find_last_operation(self._history)
        found = read_summary(last) if last is not None and last != self._before else None
        return found or super().info(show_secrets)


def find_last_operation(history: Path) -> Path | None:
    """Return the newest file of a folder in which Pulumi writes `STACK-NANOSECONDS.history.json`; None: there is none.

    >>> find_last_operation(Path("no such folder"))
    """
    found = {path.name.split(".")[0].rpartition("-")[2]: path for path in history.glob("*.history.json")}
    numbers = [each for each in found if each.isdecimal()]
    return found[max(numbers, key=int)] if numbers else None


def read_summary(file: Path) -> auto.UpdateSummary | None:
    """Return the summary of an operation from Pulumi's file; None if it is not as expected."""
    try:
        found = json.loads(file.read_text())
        return auto.UpdateSummary(
            kind=found["kind"], start_time=datetime.fromtimestamp(found["startTime"], UTC), message=found["message"],
            environment=found["environment"], config={}, result=found["result"],
            end_time=datetime.fromtimestamp(found["endTime"], UTC), resource_changes=found["resourceChanges"],
        )  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError):
        return None


class Workspace:
    """One stack, ready to be read or changed. All methods raise PgstackError on failure."""

    def __init__(self, stack: str, toolchain: Toolchain, say: Callable[[str], None]) -> None:
        environment = read_environment_name(stack)
        self.name = stack  # may begin with an organisation, which Pulumi needs
        self.short_name = parse_name(stack)
        self.say = say
        self.pulumi = Pulumi(toolchain)
        self.backend = choose_backend(environment, os.environ, is_logged_in(os.environ), ROOT)
        self.variables = build_environment(self.backend, toolchain, str(find_provider_host()), os.environ)
        if self.backend.own and environment == "local":
            # the salt in its file belongs to the empty passphrase; the user's passphrase is for other environments
            self.variables["PULUMI_CONFIG_PASSPHRASE"] = ""
            os.environ.pop("PULUMI_CONFIG_PASSPHRASE_FILE", None)
        if self.backend.own:  # `local` has the empty passphrase: no other user may read its state
            state = ROOT / ".pulumi"
            state.mkdir(mode=0o700, exist_ok=True)
            state.chmod(0o700)
            remove_empty_attributes(state)
        os.environ.update(self.variables)
        os.environ[COMMAND_LINE] = str(os.getpid())  # the provider ends with this process

    def select(self, *, create: bool) -> auto.Stack:
        """Select and return the stack. `create`: create it if it doesn't exist. Raises PgstackError."""
        provider_guard.refuse_other_users()  # the stack's operations start servers in this process
        make = auto.Stack.create_or_select if create else auto.Stack.select
        self._remove_stale_lock()
        state_key.refuse_other_key(self.short_name, self._read_deployment())
        try:
            workspace = LocalWorkspace(work_dir=str(ROOT), program=run_program, pulumi_command=self.pulumi)
            if not self._is_in_checkout():
                made = make(self.name, workspace)
                if not self.backend.own:
                    return made
            return Stack(self.name, workspace, ROOT / ".pulumi" / "history" / PROJECT / self.short_name)
        except auto.StackNotFoundError:
            raise self._no_stack() from None
        except auto.CommandError as error:
            raise PgstackError(explain(str(error))) from None

    def state(self) -> dict[str, Any]:
        """Return the state: the stack's resources and outputs, secrets decrypted. Raises PgstackError.

        This doesn't select the stack first, because each call of the CLI takes 0.2 to 0.4 s.
        """
        try:
            return read_state(self.pulumi, self.name)
        except auto.StackNotFoundError:
            raise self._no_stack() from None
        except auto.CommandError as error:
            raise PgstackError(explain(str(error))) from None

    def exported(self, stack: auto.Stack) -> ExportedState:
        """Return the state of a selected stack, with encrypted secrets."""
        return ExportedState(stack.export_stack().deployment or {})

    def config(self) -> dict[str, str]:
        """Return the stack file's config, secrets decrypted, keys without `pgvector:`. Raises PgstackError."""
        try:
            found = self.select(create=False).get_all_config()
        except auto.CommandError as error:
            raise PgstackError(explain(str(error))) from None
        return {key.split(":")[-1]: value.value for key, value in found.items()}

    @property
    def _file(self) -> Path:
        """The file of the state in the checkout's own backend."""
        return ROOT / ".pulumi" / "stacks" / PROJECT / f"{self.short_name}.json"

    def _is_in_checkout(self) -> bool:
        """Return True if the checkout's own backend has a state of this stack."""
        return self.backend.own and self._file.is_file()

    def _read_deployment(self) -> dict[str, Any]:
        """Return the state with encrypted secrets; {} if there is none. A damaged one is left to Pulumi to report."""
        try:
            if self.backend.own:
                found = json.loads(self._file.read_text())["checkpoint"]["latest"]
            else:
                said = self.pulumi.run(["stack", "export", "--stack", self.name], str(ROOT), {}).stdout
                found = json.loads(said)["deployment"]
        except (OSError, ValueError, LookupError, TypeError, auto.CommandError):
            return {}
        return found if isinstance(found, dict) else {}

    def _no_stack(self) -> PgstackError:
        return PgstackError(f"the stack {self.name} does not exist yet\n  create it:  pgstack up {self.name}")

    def _remove_stale_lock(self) -> None:
        """Remove locks of dead processes, only in the checkout's own backend: other backends may serve other hosts."""
        if not self.backend.own:
            return
        folder = ROOT / ".pulumi" / "locks" / "organization" / PROJECT / self.short_name
        for file in sorted(folder.glob("*.json")):
            try:
                lock = json.loads(file.read_text())
            except (OSError, json.JSONDecodeError):
                lock = {}
            if lock_is_stale(lock, socket.gethostname(), process_name):
                for left in (file, file.with_name(f"{file.name}.attrs")):
                    left.unlink(missing_ok=True)
                self.say(f"removed the lock of {self.name} that process {lock.get('pid')}, now dead, left behind")


def remove_empty_attributes(state: Path) -> None:
    """Remove empty `*.attrs` files, which a killed Pulumi may leave. With one, every command fails with "EOF".

    The file backend replaces a state by rename, but writes `NAME.attrs` beside it in place. That file holds a content
    type and is optional. Removing it does not disturb a running Pulumi, which has the file open.
    """
    for file in state.rglob("*.attrs"):
        try:
            if file.stat().st_size == 0:
                file.unlink()
        except FileNotFoundError:  # another process was faster
            continue


def lock_is_stale(lock: Mapping[str, object], host: str, name_of: Callable[[int], str | None]) -> bool:
    """Return True if the lock's process was on this host and has ended, or if another program has its number now."""
    process = lock.get("pid")
    if lock.get("hostname") != host or not isinstance(process, int):
        return False
    name = name_of(process)
    return name is None or "pulumi" not in name


def process_name(process: int) -> str | None:
    """Return the name of the process with this id; None if there is no such process.

    A zombie counts as ended: it holds no lock, and PID 1 of a container or a small virtual machine may reap it late or
    never. The id of a thread is not a process either.
    """
    if not psutil.pid_exists(process):
        return None
    try:
        found = psutil.Process(process)
        return None if found.status() == psutil.STATUS_ZOMBIE else found.name()
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:  # another user's process: keep the lock, to be safe
        return "pulumi?"


def run_program() -> None:
    """Run `__main__.py` as the language host would."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))  # the program imports components/ from there
    runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")


def explain(said: str) -> str:
    """Extract Pulumi's own error from the Automation API's message about a failed command. May add a remedy."""
    lines = [line for line in said.split("stderr:", 1)[-1].splitlines() if line.strip()]
    lines[:1] = [line.lstrip() for line in lines[:1]]
    wanted = [line for line in lines if line.startswith(("error:", "  ", "\t")) and "stdout" not in line] or lines
    text = "\n".join(line.removeprefix("error: ").rstrip() for line in wanted)
    if "incorrect passphrase" in said:
        text += (
            "\n  the stack file's salt belongs to another passphrase: set PULUMI_CONFIG_PASSPHRASE to it;"
            "\n  for a backend of your own with `local`, remove `encryptionsalt` from stacks/Pulumi.local.yaml first"
        )
    return text

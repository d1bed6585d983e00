"""A copy of the program in a folder of its own, driven as a user drives it: `pgstack …` in a process of its own."""

from __future__ import annotations

import atexit
import compileall
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pgvector_stacks.automation import deployed
from pgvector_stacks.automation.toolchain import find_or_get
from pgvector_stacks.cli.outputs.formats import FORMATS, Selection
from pgvector_stacks.cli.outputs.stack_outputs import FINISHED
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, ROOT
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.embedded import embedded_server
from tests.engine import forked
from tests.own_project import PROJECT

UP_TIMEOUT_S = 600
# the passwords of the template, and so of every `deployed` checkout: no failure may print one
KNOWN_SECRETS: list[str] = []
OUTPUTS_READ: dict[tuple[str, str], dict[str, Any]] = {}
PARTS = ("Pulumi.yaml", "__main__.py", "components", "pgvector_stacks", "sql", "stacks")


@dataclass(frozen=True)
class Checkout:
    """A copy of the program in a folder of its own."""

    root: Path
    stack: str = "local"
    extra: Mapping[str, str] = field(default_factory=dict)  # of the environment, besides or instead of ours

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`pgstack …`, to its end. Output: stdout and stderr as they came."""
        return forked.run(arguments, self.root, self.environment(**variables), UP_TIMEOUT_S)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`pgstack …` in a session of its own, so that all it starts can be found again."""
        return subprocess.Popen(
            [sys.executable, "-m", "pgvector_stacks.cli", *arguments], cwd=self.root, env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def ok(self, *arguments: str, **variables: str) -> str:
        done = self.run(*arguments, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def fails(self, *arguments: str, code: int = 1, **variables: str) -> str:
        """A failure is told in words: never a traceback, never a password."""
        done = self.run(*arguments, **variables)
        assert done.returncode == code, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        for secret in KNOWN_SECRETS:
            assert secret not in done.stdout
        return done.stdout

    def environment(self, **variables: str) -> dict[str, str]:
        mine = {
            name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "PGSTACK_", "PYTHON"))
        }
        own = {
            "PYTHONWARNINGS": "default", "PYTHONPATH": str(self.root),
            "GOGC": "400",  # Pulumi collects garbage less often: a sixth less of the processor
        }  # fmt: skip
        return mine | own | dict(self.extra) | variables

    def outputs(self) -> dict[str, Any]:
        """All outputs, secrets in plain text; asked again whenever the state changed."""
        key = (str(self.root), self.state())
        if key not in OUTPUTS_READ:
            OUTPUTS_READ.clear()
            OUTPUTS_READ[key] = self._outputs()
        return OUTPUTS_READ[key]

    def _outputs(self) -> dict[str, Any]:
        """As `pgstack outputs` reads them, in this process: it takes a third of the time."""
        own = {"PULUMI_BACKEND_URL": f"file://{self.root}", "PULUMI_CONFIG_PASSPHRASE": ""}
        exported = subprocess.run(
            [find_or_get(lambda _: None).pulumi, "stack", "export", "--show-secrets", "--stack", self.stack],
            cwd=self.root, env=self.environment(**own), capture_output=True, text=True, check=True,
        )  # fmt: skip
        known = deployed.find_outputs(json.loads(exported.stdout)["deployment"])
        said = FORMATS["json"].render(Selection(self.stack, known, show_secrets=True))
        if FINISHED not in known:  # the stack file is asked, too
            said = self.ok("outputs", self.stack, "--format", "json", "--show-secrets")
        found: dict[str, Any] = json.loads(said[said.index("{") :])
        return found

    def passwords(self) -> list[str]:
        """Every password of the stack."""
        return [re.sub(r".*:(.*)@.*", r"\1", self.outputs()[name]) for name in ("appUrl", "readonlyUrl", "adminUrl")]

    def admin(self) -> Address:
        from pgvector_stacks.cli.inspection import DatabaseAddresses

        return DatabaseAddresses.from_outputs(self.outputs()).admin

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with connect(self.admin(), wait_s=10, application="test", own_path=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def do(self, statement: str) -> None:
        with connect(self.admin(), wait_s=10, application="test", own_path=True) as connection:
            connection.execute(statement.encode())

    def add_script(self, text: str, name: str) -> None:
        """Write it and list it last in the stack."""
        (self.root / "sql" / name).write_text(text)
        content = self.file()
        listed = content.setdefault("config", {}).setdefault("pgvector:scripts", list(DEFAULT_SCRIPTS))
        listed.append(name)
        self.write_file(content)

    def configure(self, **keys: object) -> None:
        """Set keys of the stack file; None takes one out."""
        content = self.file()
        config = content.setdefault("config", {})
        for key, value in keys.items():
            config[f"pgvector:{key}"] = value
            if value is None:
                del config[f"pgvector:{key}"]
        self.write_file(content)

    def configured(self, key: str) -> object:
        """A key of the stack file, None where it isn't there."""
        return self.file().get("config", {}).get(f"pgvector:{key}")

    def secret(self, key: str, value: str) -> None:
        """Set an encrypted key of the stack file, as a user does."""
        printed = self.ok("env", self.stack)
        subprocess.run(
            ["bash", "-c", f'eval "$1"; exec pulumi config set --stack {self.stack} --secret pgvector:{key} "$2"', "-",
             printed, value],
            cwd=self.root, env=self.environment(), capture_output=True, check=True,
        )  # fmt: skip

    def file(self) -> dict[str, Any]:
        """The content of the stack file."""
        found: dict[str, Any] = yaml.safe_load((self.root / "stacks" / f"Pulumi.{self.stack}.yaml").read_text())
        return found

    def write_file(self, content: dict[str, Any]) -> None:
        (self.root / "stacks" / f"Pulumi.{self.stack}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    @property
    def directory(self) -> embedded_server.Directory:
        return embedded_server.Directory(self.root / ".data" / "local" / "18", 18)

    def state(self) -> str:
        return (self.root / ".pulumi" / "stacks" / "pgvector" / f"{self.stack}.json").read_text()


def session_members(session: int) -> list[tuple[int, str]]:
    """(process id, command) of everything in a session, the dead ones that wait to be reaped left out."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "sid=,pid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 3) for line in listed.splitlines()]
    return [(int(row[1]), row[3]) for row in rows if int(row[0]) == session and not row[2].startswith("Z")]


def wait_until_gone(session: int, timeout_s: float, but: str = "") -> list[tuple[int, str]]:
    """What is still there of a session after at most `timeout_s`, but for commands with `but` in them."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = [(process, command) for process, command in session_members(session) if not but or but not in command]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


@cache
def compiled_program() -> Path:
    """The program's parts with their compiled modules, once a session: to make these takes two seconds."""
    folder = Path(tempfile.mkdtemp(prefix="pgstack-test-program-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for part in PARTS:
        source = (PROJECT if part in ("sql", "stacks") else ROOT) / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part)
    compileall.compile_dir(folder, quiet=1)
    return folder


def copy_of_the_program(root: Path) -> Checkout:
    shutil.copytree(compiled_program(), root)
    root.chmod(0o700)
    for file in (root / "stacks").glob("Pulumi.*.yaml"):  # tests look as the administrator, too
        content = yaml.safe_load(file.read_text()) or {}
        content.setdefault("config", {})["pgvector:adminUrl"] = True
        file.write_text(yaml.safe_dump(content, sort_keys=False))
    return Checkout(root)


@contextmanager
def running_copy(template: Checkout, root: Path, major: int = 18) -> Iterator[Checkout]:
    """A copy of a deployed checkout, which is stopped, and its server: quicker than an `up` of its own."""
    embedded_server.stop(embedded_server.Directory(template.root / ".data" / "local" / str(major), major))
    mine = Checkout(root)
    shutil.copytree(template.root, root, symlinks=True)
    root.chmod(0o700)
    directory = embedded_server.Directory(root / ".data" / "local" / str(major), major)
    try:
        port = embedded_server.read_last_port(directory)
        assert embedded_server.start(directory, embedded_server.read_settings(directory), port=port) == port
        yield mine
    finally:
        stop_servers(root)


def stop_servers(root: Path) -> None:
    for data in (root / ".data").glob("*/*/PG_VERSION"):
        directory = embedded_server.Directory(data.parent, int(data.read_text()))
        process = embedded_server.find_postmaster(directory)
        embedded_server.stop(directory)
        if process is not None and embedded_server.find_postmaster(directory) is not None:
            os.kill(process, signal.SIGKILL)

"""The toolbox of the embedded engine: the wheel's programs on this machine, and the data in `.data/<stack>/`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.toolbox.interface import HOUR_S, ProgramResult

LEASH = "leash"
MARK = "PGSTACK_TOOLBOX"  # set for every process started here, to find those that a killed run left


class EmbeddedToolbox:
    """The `Toolbox` on this machine. `root`: the folder with a data directory for each major."""

    def __init__(self, root: Path, private: Path) -> None:
        self.root = root
        self.private = private
        self.sockets = str(private)
        self.lifetime_fifo = str(private / LEASH)

    def bin_directory(self, major: int) -> str:
        return str(embedded_server.find_bin_directory(major))

    def directory(self, major: int) -> str:
        return str(self.root / str(major))

    def sibling_path(self, major: int, name: str) -> str:
        return str(self.root / f"{major}.{name}")

    def run(
        self, major: int, *command: str, environment: Mapping[str, str] | None = None,
        timeout_s: float = 12 * HOUR_S,
    ) -> ProgramResult:  # fmt: skip
        folder = embedded_server.find_bin_directory(major)
        program = folder / command[0]
        words = [str(program) if program.is_file() else command[0], *command[1:]]
        path = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
        return self._carry_out(words, {"PATH": path} | dict(environment or {}), timeout_s)

    def sh(self, script: str, *, timeout_s: float = HOUR_S, **variables: str) -> ProgramResult:
        return self._carry_out(["sh", "-ec", script], variables, timeout_s)

    @contextmanager
    def lock(self, path: str, held_message: str) -> Iterator[None]:
        import fcntl

        held = os.open(path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ServerError(held_message) from None
            yield
        finally:
            os.close(held)

    def put(self, name: str, text: str) -> str:
        path = self.private / name
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            file.write(text)
        embedded_server.give_to_server(path)
        return str(path)

    def move_out(self, folder: str, into: Path) -> None:
        try:
            shutil.move(folder, into)
        except shutil.Error as error:  # an entry for each file that couldn't be copied to another disk
            raise ServerError(str(error.args[0][0][2])) from None

    def provide(self, folder: Path) -> str:
        if os.geteuid() != 0 or folder.stat().st_uid == 0:
            return str(folder.resolve())
        # another user owns scheduled backups, and root without capabilities (see unprivileged_prefix) can't read them
        copy = self.private / "handed" / folder.name
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        return str(copy)

    def _carry_out(self, words: list[str], environment: Mapping[str, str], timeout_s: float) -> ProgramResult:
        """Run a command in a session of its own, with its output in a file: a server that it starts inherits no
        descriptor of ours.
        """
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
        with tempfile.NamedTemporaryFile("w+", prefix=".said-", dir=self.private) as said:
            process = subprocess.Popen(
                [*embedded_server.unprivileged_prefix(), *words], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                cwd=self.private, start_new_session=True, env=clean | dict(environment) | {MARK: str(self.private)},
            )  # fmt: skip
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise ServerError(f"{words[0]} took longer than {timeout_s:.0f} s") from None
            return ProgramResult(code, Path(said.name).read_text(errors="replace"))


@contextmanager
def open_toolbox(root: Path) -> Iterator[EmbeddedToolbox]:
    """Create a toolbox's private folder, and delete it at the end of the block. `root`: `.data/<stack>`.

    The private folder is in the machine's temporary folder, because the path of a socket must be short.
    """
    private = Path(tempfile.mkdtemp(prefix="pgstack-"))
    embedded_server.give_to_server(private)
    os.mkfifo(private / LEASH, 0o600)
    embedded_server.give_to_server(private / LEASH)
    held = os.open(private / LEASH, os.O_RDWR | os.O_CLOEXEC)  # O_RDWR, since O_WRONLY would wait for a reader
    reader = os.open(private / LEASH, os.O_RDONLY | os.O_CLOEXEC)
    # when this process is killed, this one deletes the folder with its passwords
    guard = subprocess.Popen(
        ["sh", "-c", 'cat >/dev/null; rm -rf "$1"', "pgstack", str(private)], cwd="/", stdin=reader,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(reader)
    try:
        yield EmbeddedToolbox(root.resolve(), private)
    finally:
        os.close(held)
        guard.wait()
        shutil.rmtree(private, ignore_errors=True)

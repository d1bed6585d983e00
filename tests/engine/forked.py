"""Runs our Python programs in forks of one process that has the libraries already: to read them takes 0.3 to 0.7 s.

`pgstack`, the providers' process and the stand-in of pulumi-docker's plugin run so. Each is a process of its own, with
its own environment, folder and exit code. What is about processes, their sessions and their death starts them as a user
does (`Checkout.start`).

The process with the libraries forks one process per program and checkout, which also imports what that program always
imports, from that checkout (0.2 s); this one forks for each run. If the checkout's code changes, another process reads
it. Importing must have no effect but the modules: none may read the environment or start a thread.

This file is also the program that forks (`python -P forked.py FOLDER`), and `fork_client.py` is what Pulumi starts.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

# what the programs import and isn't ours; nothing of it may start a thread when it is imported
LIBRARIES = (
    "cryptography.hazmat.primitives.serialization", "cryptography.x509", "dill", "docker", "grpc.aio", "psycopg",
    "pulumi.automation", "pulumi.dynamic", "pulumi.provider.experimental.server", "pulumi_docker", "pydantic.main",
    "pydantic.types", "pyrage", "rich.console", "ruamel.yaml", "statistics", "typer", "yaml",
)  # fmt: skip
# what each program imports in any case
PRELOADED: Mapping[str, tuple[str, ...]] = {
    "pgstack": ("components.database", "pgvector_stacks.cli.app"),
    "pgstack-provider": ("components.sql_schema", "pgvector_stacks.automation.provider_process"),
    "docker-plugin": ("tests.docker_plugin.server",),
}
CODE = ("components", "pgvector_stacks")  # a checkout's folders that have it
MOST_LOADED = 6  # processes that have a program; the one that was used longest ago ends
FORKS = "PGSTACK_TEST_FORKS"  # in a program's environment: the folder with the programs that Pulumi starts
CLIENT = Path(__file__).with_name("fork_client.py")
PROVIDER, PLUGIN = "pgstack-provider", "docker-plugin"
STARTS_WITHIN_S = 60.0
PARENT_CHECK_S = 1.0


def run(
    arguments: Sequence[str], root: Path, environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run `pgstack …`, to its end. Stdout and stderr as they came, as stdout."""
    folder = _server()
    with (
        tempfile.NamedTemporaryFile("r", prefix="pgstack-test-said-") as said,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.connect(str(folder / "socket"))
        with open(said.name, "ab") as output, open(os.devnull, "rb") as nothing:  # noqa: PTH123
            wanted = {
                "program": "pgstack", "arguments": list(arguments), "folder": str(root),
                "environment": dict(environment) | {FORKS: str(folder)}, "client": 0, "parent": os.getpid(),
            }  # fmt: skip
            send(connection, wanted, [nothing.fileno(), output.fileno(), output.fileno()])
        answers = connection.makefile()
        process = int(answers.readline())
        connection.settimeout(timeout_s)
        try:
            code = int(answers.readline())
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(arguments), timeout_s, said.read()) from None
        return subprocess.CompletedProcess(list(arguments), code, said.read())


def send(connection: socket.socket, wanted: Mapping[str, object], streams: Sequence[int]) -> None:
    text = json.dumps(wanted).encode()
    socket.send_fds(connection, [len(text).to_bytes(4, "big")], streams)
    connection.sendall(text)


@cache
def _server() -> Path:
    """The folder of this session's forking process: its socket, and the programs that ask for a fork."""
    folder = Path(tempfile.mkdtemp(prefix="pgstack-test-forks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for program in (PROVIDER, PLUGIN):
        (folder / program).write_text(
            f'#!/bin/sh\nexec {sys.executable} -I -S {CLIENT} {folder}/socket {program} "$@"\n'
        )
        (folder / program).chmod(0o755)
    server = subprocess.Popen([sys.executable, "-P", __file__, str(folder)], stdin=subprocess.DEVNULL)
    atexit.register(server.kill)
    deadline = time.monotonic() + STARTS_WITHIN_S
    while not (folder / "ready").exists():
        assert server.poll() is None, "the forking process ended"
        assert time.monotonic() < deadline, f"the forking process isn't ready within {STARTS_WITHIN_S} s"
        time.sleep(0.02)
    return folder


# The process that forks


def serve(folder: Path) -> None:
    """Until the process that started it is gone: pass each request on to the process that has the program."""
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # a fork that collects garbage would copy the memory of all libraries
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    loaded: dict[object, socket.socket] = {}
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        listening.listen(64)
        listening.settimeout(PARENT_CHECK_S)
        (folder / "ready").touch()
        while os.getppid() == parent:
            try:
                connection = listening.accept()[0]
            except TimeoutError:
                continue
            with connection:
                request = _receive(connection)
                if request is None:
                    continue
                wanted, streams = request
                program, path = wanted["program"], wanted["environment"].get("PYTHONPATH", "")
                key = (program, path, _stamp(path))
                if key not in loaded:
                    ours, theirs = socket.socketpair()
                    if os.fork() == 0:
                        for each in (listening, connection, ours, *loaded.values()):
                            each.close()
                        for stream in streams:
                            os.close(stream)
                        _fork_on_request(theirs, program, path)
                    theirs.close()
                    loaded[key] = ours
                loaded[key] = loaded.pop(key)  # the last is the one that was used last
                send(loaded[key], wanted, [*streams, connection.fileno()])
                for stream in streams:
                    os.close(stream)
            while len(loaded) > MOST_LOADED:
                loaded.pop(next(iter(loaded))).close()


def _stamp(path: str) -> int:
    """Another number when the code of a checkout in `path` has changed."""
    found = []
    for part in filter(None, path.split(os.pathsep)):
        for code in CODE:
            for folder, _, names in os.walk(os.path.join(part, code)):  # noqa: PTH118
                for name in sorted(names):
                    if name.endswith(".py"):
                        file = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118
                        found.append((folder, name, file.st_size, file.st_mtime_ns))
    return hash(tuple(sorted(found)))


def _fork_on_request(requests: socket.socket, program: str, path: str) -> NoReturn:
    """Load the program from `path` and fork for each request, until there are no more and all forks have ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.path[:0] = [part for part in path.split(os.pathsep) if part]
    running: dict[int, socket.socket] = {}

    def reap(*_: object) -> None:
        for process in list(running):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                with running.pop(process) as waiting:
                    _answer(waiting, os.waitstatus_to_exitcode(status))

    with suppress(Exception):  # each fork imports again what failed, and shows the error
        for module in PRELOADED[program]:
            importlib.import_module(module)
    gc.freeze()
    assert threading.active_count() == 1, f"importing {program} started a thread"
    signal.signal(signal.SIGCHLD, reap)
    while request := _receive(requests):
        wanted, (*streams, client) = request
        connection = socket.socket(fileno=client)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        process = os.fork()
        if process == 0:
            for each in (requests, connection, *running.values()):
                each.close()
            _become(wanted, streams)
        for stream in streams:
            os.close(stream)
        running[process] = connection
        _answer(connection, process)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    while running:
        time.sleep(PARENT_CHECK_S)  # `reap` is called meanwhile
    os._exit(0)


def _answer(connection: socket.socket, number: int) -> None:
    try:
        connection.sendall(f"{number}\n".encode())
    except BrokenPipeError:  # whoever asked was killed
        return


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """A request and the files that came with it; None when the other end is closed."""
    head, files, _, _ = socket.recv_fds(connection, 4, 4)
    if not head:
        return None
    wanted: dict[str, Any] = json.loads(connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
    return wanted, files


def _become(wanted: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Be the wanted program, in this fork, to its end."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        os.chdir(wanted["folder"])
        os.environ.clear()
        os.environ.update(wanted["environment"])
        for theirs, ours in enumerate(streams):
            os.dup2(ours, theirs)
            os.close(ours)
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        warnings.simplefilter("default")
        sys.dont_write_bytecode = False  # PYTHONDONTWRITEBYTECODE is the test run's, not the program's
        _take_parent(wanted["client"], wanted["parent"])
        sys.argv = [wanted["program"], *wanted["arguments"]]
        PROGRAMS[wanted["program"]]()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _take_parent(client: int, parent: int) -> None:
    """What asks for its parent, to end with it, gets the client's: this process's own lives on."""

    def getppid() -> int:
        return parent if not client or Path(f"/proc/{client}").exists() else 1

    os.getppid = getppid


def _pgstack() -> None:
    from pgvector_stacks.automation import workspace

    workspace.find_provider_host = lambda: Path(os.environ[FORKS]) / PROVIDER
    runpy.run_module("pgvector_stacks.cli", run_name="__main__", alter_sys=True)


def _provider() -> None:
    from pgvector_stacks.automation.provider_process import host

    host()


def _plugin() -> None:
    runpy.run_module("tests.docker_plugin", run_name="__main__", alter_sys=True)


PROGRAMS = {"pgstack": _pgstack, PROVIDER: _provider, PLUGIN: _plugin}

if __name__ == "__main__":
    serve(Path(sys.argv[1]))

"""Runs our Python programs in forks of one process that has the libraries already: to read them takes 0.3 to 0.7 s.

`pgstack`, the providers' process and the stand-in of pulumi-docker's plugin run so. Each is a process of its own, with
its own environment, folder and exit code, and reads the program anew, from the checkout that it runs in; only the start
of the interpreter isn't there. What is about processes, their sessions and their death starts them as a user does
(`Checkout.start`).

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
from functools import cache
from pathlib import Path
from typing import Any

# what the programs import and isn't ours; nothing of it may start a thread when it is imported
LIBRARIES = (
    "cryptography.hazmat.primitives.serialization", "cryptography.x509", "dill", "docker", "grpc.aio", "psycopg",
    "pulumi.automation", "pulumi.dynamic", "pulumi.provider.experimental.server", "pulumi_docker", "pydantic.main",
    "pydantic.types", "pyrage", "rich.console", "ruamel.yaml", "statistics", "typer", "yaml",
)  # fmt: skip
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
    """Until the process that started it is gone."""
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # a fork that collects garbage would copy the memory of all libraries
    running: dict[int, socket.socket] = {}

    def reap(*_: object) -> None:
        for process in list(running):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                with running.pop(process) as waiting:
                    _answer(waiting, os.waitstatus_to_exitcode(status))

    signal.signal(signal.SIGCHLD, reap)
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
            wanted, streams = _receive(connection)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
            process = os.fork()
            if process == 0:
                listening.close()
                for each in (connection, *running.values()):
                    each.close()
                _become(wanted, streams)
            for stream in streams:
                os.close(stream)
            running[process] = connection
            _answer(connection, process)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _answer(connection: socket.socket, number: int) -> None:
    try:
        connection.sendall(f"{number}\n".encode())
    except BrokenPipeError:  # whoever asked was killed
        return


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    with connection.makefile("rb") as asked:
        wanted: dict[str, Any] = json.loads(asked.read(int.from_bytes(head, "big")))
    return wanted, streams


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
        sys.path[:0] = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
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

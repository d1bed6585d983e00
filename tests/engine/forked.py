"""Runs `pgstack …` in a process forked from one that has the libraries already: reading them takes 0.7 s each time.

The program itself is read anew, from the checkout that it runs in. It is a process of its own, with its own
environment, folder and exit code; only the start of the interpreter isn't there. What is about processes, their
sessions and their death starts one as a user does (`Checkout.start`).
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

# what the program imports and isn't ours; nothing of it may start a thread when it is imported
LIBRARIES = (
    "cryptography.x509", "docker", "psycopg", "pulumi.automation", "pulumi.dynamic", "pulumi_docker", "pydantic",
    "pyrage", "rich.console", "ruamel.yaml", "typer", "yaml",
)  # fmt: skip
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(list(LIBRARIES))


def run(
    arguments: Sequence[str], root: Path, environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Stdout and stderr as they came, as stdout."""
    with tempfile.NamedTemporaryFile("r", prefix="pgstack-test-said-") as said:
        process = FORKS.Process(target=_program, args=(list(arguments), str(root), dict(environment), said.name))
        process.start()
        try:
            process.join(timeout_s)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired(list(arguments), timeout_s, said.read())
            return subprocess.CompletedProcess(list(arguments), process.exitcode, said.read())
        finally:
            process.kill()
            process.join()
            process.close()


def _program(arguments: list[str], root: str, environment: dict[str, str], said: str) -> None:
    os.chdir(root)
    os.environ.clear()
    os.environ.update(environment)
    output, nothing = os.open(said, os.O_WRONLY | os.O_APPEND), os.open(os.devnull, os.O_RDONLY)
    for theirs, ours in ((0, nothing), (1, output), (2, output)):
        os.dup2(ours, theirs)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    warnings.simplefilter("default")
    sys.dont_write_bytecode = False  # PYTHONDONTWRITEBYTECODE is the test run's, not the program's
    sys.path.insert(0, root)
    sys.argv = ["pgstack", *arguments]
    runpy.run_module("pgvector_stacks.cli", run_name="__main__", alter_sys=True)

"""Starts a program of a test in a process of its own, which can be killed."""

from __future__ import annotations

import subprocess
import sys

from pgvector_stacks.config.environment import ROOT
from tests.conftest import FreshDatabase


def start_worker(program: str, database: FreshDatabase, *arguments: object) -> subprocess.Popen[str]:
    """Run `program` with the database's address and `arguments` on its command line, and wait until it says "ready"."""
    place = database.admin
    address = (place.host, place.port, place.database, place.user, place.password)
    command = [sys.executable, "-c", program, *map(str, (*address, *arguments))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
    return process

"""What is measured, each time in a process of its own: `python -m bench.worker apply|preview|plain …`.

The last line on stdout is JSON: `seconds` from the call on, after the imports; for apply also `memory_mb`, the most
this process ever held in memory, for previews also `changes`. The password comes in PGPASSWORD.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.worker", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    apply = verbs.add_parser("apply")
    apply.add_argument("scripts", type=Path)
    apply.add_argument("host")
    apply.add_argument("port", type=int)
    apply.add_argument("user")
    apply.add_argument("database")
    preview = verbs.add_parser("preview")
    preview.add_argument("stack")
    plain = verbs.add_parser("plain")
    plain.add_argument("operation", choices=["up", "preview"])
    plain.add_argument("shape", type=json.loads)
    given = parser.parse_args()
    if given.verb == "apply":
        found = _apply(given.scripts, given.host, given.port, given.user, given.database)
    elif given.verb == "preview":
        found = _preview(given.stack)
    else:
        found = _plain(given.operation, given.shape)
    print(json.dumps(found))


def _apply(directory: Path, host: str, port: int, user: str, database: str) -> dict[str, object]:
    from pgvector_stacks.common.errors import PgstackError
    from pgvector_stacks.connections.connection import Address
    from pgvector_stacks.migrations import apply
    from pgvector_stacks.migrations.scripts import script_files

    address = Address(host, port, database, user, os.environ["PGPASSWORD"])
    started = time.perf_counter()
    try:
        loaded = script_files.load(directory, ["*.sql"])
        outcome = apply.apply(address, apply.Request("local", loaded, app_password="app", readonly_password="read"))
    except PgstackError as error:
        sys.exit(str(error))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "ran": len(outcome.ran), "memory_mb": peak_memory_mb()}


def _preview(stack: str) -> dict[str, object]:
    from pgvector_stacks.automation.toolchain import ToolchainError, find_or_get
    from pgvector_stacks.automation.workspace import Workspace
    from pgvector_stacks.cli import deploy
    from pgvector_stacks.common.errors import PgstackError

    try:
        workspace = Workspace(stack, find_or_get(_say), _say)
        started = time.perf_counter()
        changes = deploy.preview(workspace, diff=False)
    except (PgstackError, ToolchainError) as error:
        sys.exit(str(error))
    return {"seconds": time.perf_counter() - started, "changes": changes}


def _plain(operation: str, shape: dict[str, Any]) -> dict[str, object]:
    """The plain program of the Docker figures, in the current folder."""
    import pulumi.automation as auto

    from bench import plain_docker

    started = time.perf_counter()
    changes: dict[str, int] = {}
    try:
        stack = plain_docker.stack(Path.cwd(), plain_docker.Shape(**shape))
        if operation == "up":
            stack.up(on_output=_say)
        else:
            found = stack.preview(on_output=_say).change_summary
            changes = {str(kind): count for kind, count in found.items() if "same" not in str(kind).lower()}
    except auto.CommandError as error:
        sys.exit(str(error))
    return {"seconds": time.perf_counter() - started, "changes": changes}


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def peak_memory_mb() -> float:
    """The most this process held, in MiB: VmHWM, since Linux's ru_maxrss also counts the process that forked us."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024 if sys.platform != "darwin" else most / 1024**2


if __name__ == "__main__":
    main()

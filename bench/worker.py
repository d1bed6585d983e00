"""What is measured of ours, each time in a process of its own: `python -m bench.worker apply|preview …`.

The last line on stdout is JSON: `seconds` from the call on, and for apply `memory_mb`, the most this process ever
held in memory. The password comes in PGPASSWORD.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.worker", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    apply = verbs.add_parser("apply")
    apply.add_argument("scripts", type=Path)
    apply.add_argument("host")
    apply.add_argument("port", type=int)
    apply.add_argument("user")
    apply.add_argument("database")
    verbs.add_parser("preview")
    given = parser.parse_args()
    found = (
        _apply(given.scripts, given.host, given.port, given.user, given.database)
        if given.verb == "apply"
        else _preview()
    )
    print(json.dumps(found))


def _apply(directory: Path, host: str, port: int, user: str, database: str) -> dict[str, object]:
    from postgres import apply, scripts
    from postgres.connection import Address
    from postgres.errors import PgstackError

    address = Address(host, port, database, user, os.environ["PGPASSWORD"])
    started = time.perf_counter()
    try:
        loaded = scripts.load(directory, ["*.sql"])
        outcome = apply.apply(address, apply.Request("local", loaded, app_password="app", readonly_password="read"))
    except PgstackError as error:
        sys.exit(str(error))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "ran": len(outcome.ran), "memory_mb": peak_memory_mb()}


def _preview() -> dict[str, object]:
    from pgstack import deploy
    from pgstack.toolchain import ToolchainError, find_or_get
    from pgstack.workspace import Workspace
    from postgres.errors import PgstackError

    try:
        workspace = Workspace("local", find_or_get(_say), _say)
        started = time.perf_counter()
        changes = deploy.preview(workspace, diff=False)
    except (PgstackError, ToolchainError) as error:
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

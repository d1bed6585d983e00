"""Who is compared: ours, psql, goose and yoyo. Each is timed from the start of its process to its end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.figures import NotMeasured
from bench.generate import Scripts
from bench.server import Server

ROOT = Path(__file__).parent.parent
GOOSE = Path(__file__).parent / "goose"
GOOSE_PACKAGE = "github.com/pressly/goose/v3/cmd/goose"
# every driver but PostgreSQL's left out: the build takes seconds and go.sum stays short
GOOSE_TAGS = ("azuresql", "clickhouse", "libsql", "mssql", "mysql", "spanner", "sqlite3", "starrocks", "turso",
              "vertica", "ydb")  # fmt: skip
LIMIT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Run:
    """A process that went well: its wall time, and what it said."""

    seconds: float
    stdout: str


def timed(command: Sequence[str | Path], env: Mapping[str, str], cwd: Path = ROOT) -> Run:
    """Run to the end. Raises NotMeasured with the last lines of what a failing one said."""
    started = time.perf_counter()
    try:
        done = subprocess.run(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"not done after {LIMIT_S:.0f} s") from None
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise NotMeasured(f"failed (exit {done.returncode}): {cause(done.stdout, done.stderr)}")
    return Run(seconds, done.stdout)


def cause(stdout: str, stderr: str) -> str:
    """The first error with the lines behind it, else the last lines: Pulumi's are on stdout, psql's on stderr."""
    lines = [line.strip() for line in [*stderr.splitlines(), *stdout.splitlines()] if line.strip()]
    first = next((place for place, line in enumerate(lines) if "error:" in line.lower()), len(lines) - 4)
    return " / ".join(lines[max(0, first) :][:4])


@dataclass(frozen=True, slots=True)
class Applied:
    """One run of ours. `seconds`: the process; `call_s`: from the cold call on; `memory_mb`: its peak."""

    seconds: float
    call_s: float
    memory_mb: float


def ours(server: Server, scripts: Scripts) -> Applied:
    """migrations.apply.apply() in a new process: load, hash, roles, ledger, scripts, recorded schema, commit."""
    name = server.database()
    admin = server.admin
    command: list[str | Path] = [sys.executable, "-m", "bench.worker", "apply", scripts.plain]
    command += [admin.host, str(admin.port), admin.user, name]
    run = timed(command, server.environment)
    found = last_json(run.stdout)
    if found["ran"] != scripts.count:
        raise NotMeasured(f"ran {found['ran']} of {scripts.count} scripts")
    return Applied(run.seconds, found["seconds"], found["memory_mb"])


def last_json(stdout: str) -> Any:
    """What a worker reports: the last line."""
    return json.loads(stdout.strip().splitlines()[-1])


def psql(server: Server, scripts: Scripts) -> float:
    """All files as one, in one transaction."""
    name = server.database()
    command: list[str | Path] = [server.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-1"]
    command += ["-f", scripts.together, server.url(name)]
    return timed(command, server.environment).seconds


def goose(server: Server, scripts: Scripts) -> float:
    """A transaction a file, as goose does by itself."""
    program = goose_program()
    name = server.database()
    return timed([program, "-dir", scripts.goose, "postgres", server.url(name), "up"], server.environment).seconds


def yoyo(server: Server, scripts: Scripts) -> float:
    """A transaction a file, through psycopg as ours."""
    if find_spec("yoyo") is None:
        raise NotMeasured("yoyo-migrations is not installed:  make .venv/ready-dev")
    name = server.database()
    command: list[str | Path] = [sys.executable, "-m", "yoyo", "apply", "--batch", "--no-config-file"]
    command += ["--database", server.url(name, "postgresql+psycopg"), scripts.plain]
    return timed(command, server.environment).seconds


@cache
def goose_program() -> Path:
    """goose as bench/goose/go.mod pins it, built once into the user's cache. Raises NotMeasured."""
    go = shutil.which("go")
    if go is None:
        raise NotMeasured("no go on PATH to build it with")
    pins = b"".join((GOOSE / name).read_bytes() for name in ("go.mod", "go.sum"))
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute()
    program = base / "pgvector-stacks" / "bench" / f"goose-{hashlib.sha256(pins).hexdigest()[:12]}"
    if program.is_file():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    unfinished = program.with_name(f"{program.name}.{os.getpid()}")
    tags = ",".join(f"no_{driver}" for driver in GOOSE_TAGS)
    try:
        timed([go, "build", "-mod=readonly", "-tags", tags, "-o", unfinished, GOOSE_PACKAGE], os.environ, GOOSE)
        unfinished.replace(program)
    except NotMeasured as error:
        raise NotMeasured(f"can't be built: {error}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return program

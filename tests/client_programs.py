"""The programs of docs/clients.md, run as they stand there, with the real clients from their registries."""

from __future__ import annotations

import os
import re
import shutil
import string
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pgvector_stacks.config.environment import ROOT
from pgvector_stacks.embedded import embedded_server
from tests.engine.checkout import Checkout
from tests.lacking import lacking

TEXT = (ROOT / "docs" / "clients.md").read_text()
SECTION = re.compile(r"^## (?P<name>.+)\n(?:(?!## ).*\n)*?```(?P<language>\w+)\n(?P<code>[^`]*)^```", re.MULTILINE)
PROGRAMS = {found["name"]: (found["language"], found["code"]) for found in SECTION.finditer(TEXT)}
ODD = string.punctuation + " a ü"  # all that ASCII has, a space in the middle, a letter that it lacks
GO_MODULES = {"lib/pq": "github.com/lib/pq@v1.12.3", "pgx": "github.com/jackc/pgx/v5@v5.13.0"}
NODE_PACKAGE, JAVA_ARTIFACT = "pg@8.23.1", "org.postgresql:postgresql:42.7.8"
TOOLS = {"go": ("go",), "js": ("node", "npm"), "java": ("java", "javac", "mvn"), "sh": (), "python": ()}
LIMIT_S = 300


def read_variables(stack: Checkout) -> dict[str, str]:
    """What a shell has after the two lines of docs/clients.md, and the third of its JDBC program."""
    file = stack.root / ".env"
    stack.ok("outputs", stack.stack, "--role", "app", "--to", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    done = run(["sh", "-c", "set -a; . ./.env; set +a; exec env -0"], stack.root, {})
    found = dict(entry.split("=", 1) for entry in done.split("\0") if entry.startswith("PGVECTOR_"))
    jdbc = stack.root / "jdbc.url"
    stack.ok("outputs", stack.stack, "--format", "jdbc", "--to", str(jdbc))
    return found | {"JDBC_URL": run(["sh", "-c", 'printf %s "$(cat jdbc.url)"'], stack.root, {})}


def run(command: list[str], folder: Path, variables: Mapping[str, str]) -> str:
    """Its output. What it says on stderr is in the failure."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON"))}
    done = subprocess.run(
        command, cwd=folder, env=own | dict(variables), capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answer(name: str, folder: Path, variables: Mapping[str, str]) -> str:
    """What the program prints. Its client is installed in `folder`, if it isn't yet."""
    language, code = PROGRAMS[name]
    for tool in TOOLS[language]:
        if shutil.which(tool) is None:
            lacking(f"no {tool} for the clients of docs/clients.md")
    own = folder / re.sub(r"\W+", "-", name)
    own.mkdir(exist_ok=True)
    return RUN[language](name, code, own, variables).strip()


def _run_sh(name: str, code: str, own: Path, variables: Mapping[str, str]) -> str:
    psql = shutil.which("psql") or embedded_server.find_psql()
    return run(["sh", "-ec", code], own, dict(variables) | {"PATH": f"{Path(psql).parent}:{os.environ['PATH']}"})


def _run_python(name: str, code: str, own: Path, variables: Mapping[str, str]) -> str:
    (own / "program.py").write_text(code)
    return run([sys.executable, "-W", "error", "program.py"], own, variables)


def _run_js(name: str, code: str, own: Path, variables: Mapping[str, str]) -> str:
    if not (own / "node_modules").exists():
        run(["npm", "install", "--silent", "--no-audit", "--no-fund", NODE_PACKAGE], own, {})
    (own / "program.js").write_text(code)
    return run(["node", "program.js"], own, variables)


def _run_go(name: str, code: str, own: Path, variables: Mapping[str, str]) -> str:
    if not (own / "program").exists():
        (own / "main.go").write_text(code)
        run(["go", "mod", "init", "example.com/client"], own, {})
        run(["go", "get", GO_MODULES[name]], own, {})
        run(["go", "build", "-o", "program", "."], own, {})
    return run([str(own / "program")], own, variables)


def _run_java(name: str, code: str, own: Path, variables: Mapping[str, str]) -> str:
    if not list(own.glob("*.jar")):
        copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
        run(["mvn", "-q", "-B", copy, f"-Dartifact={JAVA_ARTIFACT}", f"-DoutputDirectory={own}"], own, {})
    (own / "Role.java").write_text(code)
    jar = next(own.glob("*.jar"))
    return run(["java", "-cp", str(jar), "Role.java"], own, variables)


RUN = {"sh": _run_sh, "python": _run_python, "js": _run_js, "go": _run_go, "java": _run_java}

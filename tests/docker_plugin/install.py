"""Which pulumi-resource-docker a test gets: the real one wherever there is one or one can be got, else the stand-in."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pgvector_stacks.config.environment import ROOT
from tests.engine.forked import FORKS, PLUGIN

NAME = "pulumi-resource-docker"
VERSION = "5.2.0"
DOWNLOAD_TIMEOUT_S = 20
# in each stand-in's script, so that one on PATH isn't taken for the real plugin
MARK = "stand-in of pgvector-stacks"


@dataclass(frozen=True, slots=True)
class Installed:
    """The plugin that runs. path: its executable. note: a line for the head of the tests.

    Pulumi finds it with `variables` in its environment, or, with a warning in each preview, on `on_path`.
    """

    kind: Literal["real", "stand-in"]
    path: Path
    note: str

    def variables(self) -> dict[str, str]:
        """What the environment of a process that runs Pulumi needs. One that it finds by itself needs nothing."""
        return {} if self.kind == "real" else {"PULUMI_HOME": str(self.path.parent.parent.parent)}

    def on_path(self, environ: Mapping[str, str]) -> str:
        """The same as PATH, for a process that has a PULUMI_HOME of its own."""
        path = environ.get("PATH", os.defpath)
        return path if self.kind == "real" else f"{self.path.parent}{os.pathsep}{path}"


def choice(environ: Mapping[str, str] = os.environ) -> str:
    """For the head of the tests, without a try to download anything."""
    found = find_real(environ)
    if found is not None:
        return f"pulumi-docker plugin: real, {found}"
    return "pulumi-docker plugin: the stand-in of tests/docker_plugin, unless the test that needs it can download one"


def ensure(target: Path, *, pulumi: Path | None = None, environ: Mapping[str, str] = os.environ) -> Installed:
    """The real plugin where Pulumi would find it or can get it, else the stand-in: `target` becomes a PULUMI_HOME.

    pulumi: the command line that downloads it; without one nothing is downloaded.
    """
    found = find_real(environ)
    if found is not None:
        return Installed("real", found, f"pulumi-docker plugin: real, {found}")
    why = "none found, none downloaded"
    if pulumi is not None:
        why = _download(pulumi, environ)
        found = find_real(environ)
        if found is not None:
            return Installed("real", found, f"pulumi-docker plugin: real {VERSION}, downloaded to {found}")
    path = install_stand_in(target)
    return Installed("stand-in", path, f"pulumi-docker plugin: stand-in, tests/docker_plugin ({why})")


def find_real(environ: Mapping[str, str]) -> Path | None:
    """Where Pulumi looks: on PATH, then in its own folder."""
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        candidate = Path(folder or ".") / NAME
        if _runs(candidate) and not is_stand_in(candidate):
            return candidate
    home = Path(environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    candidates = (folder / NAME for folder in sorted((home / "plugins").glob("resource-docker-v5.*"), reverse=True))
    return next((one for one in candidates if _runs(one) and not is_stand_in(one)), None)


def is_stand_in(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK.encode() in file.read(1024)


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _download(pulumi: Path, environ: Mapping[str, str]) -> str:
    """Why it could not be had; empty where it could."""
    command = [str(pulumi), "plugin", "install", "resource", "docker", VERSION]
    variables = {**environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not downloaded within {DOWNLOAD_TIMEOUT_S} s"
    except OSError as error:
        return f"not downloaded: {error}"
    return "" if done.returncode == 0 else "it can't be downloaded here"


def install_stand_in(target: Path) -> Path:
    """An executable that runs the stand-in with this Python, where Pulumi looks if `target` is its home."""
    folder = target / "plugins" / f"resource-docker-v{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    script = (
        f"#!/bin/sh\n# {MARK}\n"
        f"PYTHONPATH={shlex.quote(str(ROOT))}\nexport PYTHONPATH\n"
        f'[ -z "${FORKS}" ] || exec "${FORKS}/{PLUGIN}" "$@"\n'
        f'exec {shlex.quote(sys.executable)} -m tests.docker_plugin "$@"\n'
    )
    fresh = folder / f".{NAME}.{os.getpid()}"
    fresh.write_text(script)
    fresh.chmod(0o755)
    fresh.replace(path)  # never seen half done
    return path

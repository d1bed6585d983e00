"""Finds the database's URL: from the environment or a file it names, else from the outputs of a deployed stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

VARIABLE = "PGVECTOR_APP_URL"
FILE_VARIABLE = "PGVECTOR_APP_URL_FILE"  # for containers, whose environment `docker inspect` shows
TIMEOUT_S = 120


class StackUnavailable(Exception):
    """There is no URL to connect to. The message says why and what to do; it holds no secret."""


def app_url(stack: str) -> str:
    """The URL of role `app`, with its password: a secret. Raises StackUnavailable."""
    if url := os.environ.get(VARIABLE):
        return url
    if path := os.environ.get(FILE_VARIABLE):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise StackUnavailable(f"{FILE_VARIABLE}: {path} can't be read: {error.strerror}") from None
    program = Path(sys.executable).with_name("pgstack")
    command = [str(program), "outputs", stack, "--format", "json", "--show-secrets"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise StackUnavailable(
            f"there is no {program}\n  install it and bring the stack up:  make up STACK={stack}\n"
            f"  or give a database without a stack:  {VARIABLE}=postgresql://…"
        ) from None
    except subprocess.TimeoutExpired:
        raise StackUnavailable(f"`pgstack outputs {stack}` gave no answer in {TIMEOUT_S} s") from None
    if asked.returncode != 0:
        said = asked.stderr.strip().removeprefix("error: ") or f"`pgstack outputs {stack}` failed"
        raise StackUnavailable(f"{said}\n  bring the stack up:  make up STACK={stack}")
    try:
        return str(json.loads(asked.stdout)["appUrl"])
    except (ValueError, KeyError):
        raise StackUnavailable(
            f"stack {stack} has no output appUrl\n  deploy it again:  make up STACK={stack}"
        ) from None

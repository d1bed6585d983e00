"""Writes outputs into files: one of its own that only its owner can read, or the file of variables of a GitHub job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pgvector_stacks.common.errors import PgstackError

GITHUB_ENV = "GITHUB_ENV"


def write_private(file: Path, text: str) -> None:
    """Write the text and a final newline to a file that only this user can read (0600). Replaces the file atomically.

    Raises PgstackError.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(f"{text}\n")
        new.replace(file)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise PgstackError(f"{file} can't be written: {error.strerror}") from None


def find_github_env(environ: Mapping[str, str], to: Path | None) -> Path:
    """Return the file from which a GitHub job takes its variables. Raises PgstackError outside of a job."""
    if to is not None:
        return to
    if not environ.get(GITHUB_ENV):
        raise PgstackError(
            f"--format github-env: {GITHUB_ENV} is not set, so this is no step of a GitHub job\n"
            "  elsewhere:  --format dotenv --to .env,  or name the file:  --to FILE"
        )
    return Path(environ[GITHUB_ENV])


def append(file: Path, text: str) -> None:
    """Add the text and a newline to a file, which keeps what other steps wrote. Raises PgstackError."""
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as stream:
            stream.write(f"{text}\n")
    except OSError as error:
        raise PgstackError(f"{file} can't be written: {error.strerror}") from None

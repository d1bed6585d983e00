"""`python -m tests.images [NAME…]`: build the stand-in images that are missing, all or those named."""

from __future__ import annotations

import subprocess
import sys
import time

import typer

from tests.images.build import STAND_INS, CannotBuild, ensure, why_no_engine


def main(names: list[str]) -> int:
    reason = why_no_engine()
    unknown = [name for name in names if name not in STAND_INS]
    if unknown:
        reason = f"no stand-in {unknown[0]}; there are: {', '.join(STAND_INS)}"
    if reason:
        typer.echo(f"error: {reason}", err=True)
        return 1
    for name in names or STAND_INS:
        started = time.monotonic()
        try:
            ensure(name)
        except CannotBuild as error:
            typer.echo(f"error: {error}", err=True)
            return 1
        except subprocess.CalledProcessError as error:
            typer.echo(f"error: {name}: {error}\n{error.stderr}", err=True)
            return 1
        typer.echo(f"{name}  {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

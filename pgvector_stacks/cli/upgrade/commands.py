"""The upgrade to another major version, which itself is an `up`."""

from __future__ import annotations

from typing import Annotated

import typer

from pgvector_stacks.cli import deploy, inspection, printing
from pgvector_stacks.cli.deployed_stack import Stack, Yes, find_database, read_outputs, say
from pgvector_stacks.config.environment import check_name, from_file
from pgvector_stacks.engines.interface import get_engine

DIFFERS = 2
app = typer.Typer(rich_markup_mode=None, help=__doc__)


@app.command("check")
def check(stack: Stack, target: Annotated[str, typer.Argument(help="A major version, or an image.")]) -> None:
    """Say what an upgrade would do, or why it can't be done; change nothing."""
    check_name(stack)
    from pgvector_stacks.cli.upgrade import actions

    actions.check(from_file(stack), find_database(stack), target, printing.echo)


@app.command("reindex")
def reindex(stack: Stack) -> None:
    """Rebuild the indexes that `upgradeReindex: after` left. The server serves meanwhile."""
    check_name(stack)
    from pgvector_stacks.cli.upgrade import actions

    actions.rebuild_indexes(from_file(stack), find_database(stack), printing.echo)


@app.command("verify")
def verify(
    stack: Stack,
    image: Annotated[
        str | None, typer.Option(help="With the old version's programs, where its own image is gone.")
    ] = None,
) -> None:
    """Compare every row of the running server with what the last upgrade kept. Exit code 2: something differs."""
    check_name(stack)
    from pgvector_stacks.cli.upgrade import actions

    found = read_outputs(stack)
    environment = from_file(stack)
    database = inspection.DatabaseAddresses.from_outputs(found, get_engine(environment).via(environment))
    runs = int(str(found["postgresVersion"]).split(".")[0])
    if not actions.compare(environment, database, runs, image, printing.echo):
        raise typer.Exit(DIFFERS)


@app.command("rollback")
def rollback(stack: Stack, yes: Yes = False) -> None:
    """Go back to the data directory that the last upgrade kept; what was written since then is lost."""
    check_name(stack)
    from pgvector_stacks.cli.upgrade import actions

    environment = from_file(stack)
    runs = int(str(read_outputs(stack)["postgresVersion"]).split(".")[0])
    actions.ask_rollback(environment, runs, environment.stack if yes else None, say)
    deploy.up_and_print(stack)


@app.command("confirm")
def confirm(stack: Stack, yes: Yes = False) -> None:
    """Delete the data directories that upgrades kept. After that there is no way back."""
    check_name(stack)
    from pgvector_stacks.cli.upgrade import actions

    environment = from_file(stack)
    runs = int(str(read_outputs(stack)["postgresVersion"]).split(".")[0])
    actions.confirm(environment, runs, environment.stack if yes else None, printing.echo)

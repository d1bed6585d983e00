"""The command line. Exit codes: 0 done, 1 failed or refused, 2 works but something differs (`preview`, `status`, …)."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from pgvector_stacks.automation import deployed
from pgvector_stacks.automation.toolchain import ToolchainError, find
from pgvector_stacks.automation.workspace import DeploymentFailed, Workspace
from pgvector_stacks.cli import connection_check, deploy, inspection, printing
from pgvector_stacks.cli.backup import commands
from pgvector_stacks.cli.backup import scheduled as backup_schedule
from pgvector_stacks.cli.deployed_stack import (
    Json,
    Stack,
    Yes,
    complete_stack,
    find_database,
    quiet_toolchain,
    read_outputs,
    say,
    toolchain,
)
from pgvector_stacks.cli.foreground import run_in_foreground
from pgvector_stacks.cli.new import stack_file
from pgvector_stacks.cli.new.script_file import create_script
from pgvector_stacks.cli.outputs import stack_outputs
from pgvector_stacks.cli.outputs.formats import FORMATS
from pgvector_stacks.cli.outputs.write import Request, write_outputs
from pgvector_stacks.cli.upgrade import commands as upgrade_commands
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config import offline
from pgvector_stacks.config.docs_key_tables import write_tables
from pgvector_stacks.config.environment import ROOT, STACKS, check_name, from_file, list_stacks
from pgvector_stacks.config.json_schema import build_json_schema
from pgvector_stacks.connections.connection import wrap_server_error
from pgvector_stacks.engines.interface import get_engine
from pgvector_stacks.migrations.execution import notices

DIFFERS = 2
INTERRUPTED = 130  # typer's exit code after Ctrl-C
STOPPED = "stopped; what was not committed is undone"
app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)
app.add_typer(commands.app, name="backup")
app.add_typer(upgrade_commands.app, name="upgrade")
app.command("new-stack")(stack_file.create_stack_file)


def _print_version(asked: bool) -> None:
    """Print the version of this package, and of the Pulumi that it uses."""
    if asked:
        found = find()
        typer.echo(f"pgstack {version('pgvector-stacks')}")
        typer.echo(f"Pulumi {found.version}" if found else "Pulumi is not here yet: the first `up` gets it")
        raise typer.Exit


@app.callback(help=__doc__)
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the versions, and exit.")
    ] = False,
) -> None:
    """The options before a command."""


Verbose = Annotated[bool, typer.Option(help="Show the scripts' notices too; warnings are always shown.")]
ShowRows = Annotated[bool, typer.Option(help="Show values of rows in errors; on a terminal they are shown.")]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only what is not in order.")]


def show_notices(verbose: bool) -> None:
    """Show notices if `verbose`, in this process and in those that it starts."""
    if verbose:
        os.environ[notices.VERBOSE] = "1"


@app.command()
def up(
    stack: Stack = "local",
    verbose: Verbose = False,
    show_rows: ShowRows = False,
    rotate_certificate: Annotated[
        bool, typer.Option("--rotate-certificate", help="Make a new TLS certificate, where the stack made its own.")
    ] = False,
    plan: Annotated[
        Path | None, typer.Option(help="What was approved, from `preview --save-plan`; stop where anything differs.")
    ] = None,
) -> None:
    """Deploy a stack as its file says. Then validate it and print its outputs."""
    show_notices(verbose)
    printing.show_rows(show_rows)
    if rotate_certificate:
        deploy.rotate_certificate(from_file(stack))
    deploy.up_and_print(stack, plan)


@app.command()
def preview(
    stack: Stack = "local",
    diff: Annotated[bool, typer.Option(help="Show every changed key.")] = False,
    expect_no_changes: Annotated[bool, typer.Option(help="Exit with 2 where `up` would change something.")] = False,
    away: Annotated[
        bool, typer.Option("--offline", help="Ask neither Docker host nor database: the state against the files.")
    ] = False,
    save_plan: Annotated[
        Path | None, typer.Option(help="Write what is to be approved to this file, for `up --plan`. It holds no value.")
    ] = None,
) -> None:
    """Show what `up` would do; change nothing."""
    if away:
        os.environ[offline.VARIABLE] = "1"
    deploy.check_engine(from_file(stack))
    changes = deploy.preview(Workspace(stack, toolchain(), say), diff=diff, save=save_plan)
    if changes and expect_no_changes:
        say("changes: " + ", ".join(f"{count} to {kind}" for kind, count in changes.items()))
        raise typer.Exit(DIFFERS)


@app.command()
def down(
    stack: Stack = "local",
    delete_data: Annotated[bool, typer.Option(help="Delete the data directory too.")] = False,
    yes: Yes = False,
) -> None:
    """Stop the server and remove the stack's resources. The data stays. Asks for its name, except in `local`."""
    check_name(stack)
    deploy.down(Workspace(stack, toolchain(), say), delete_data=delete_data, yes=yes)


@app.command()
def reset(stack: Stack = "local", yes: Yes = False) -> None:
    """Drop the database and run every script again. Asks for the stack's name, except in `local`."""
    from pgvector_stacks.cli import reset as command

    command.reset(stack, yes=yes)


@app.command()
def outputs(
    stack: Stack = "local",
    name: Annotated[str | None, typer.Argument(help="Only this output, as it is.")] = None,
    format: Annotated[
        str | None, typer.Option(help=f"{', '.join(FORMATS)}; left out: table, and in a file dotenv, in *.json json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    role: Annotated[str, typer.Option(help="Only what this role needs: app, readonly or admin.")] = "",
    variables: Annotated[
        list[str] | None, typer.Option("--name", help="OUTPUT=VARIABLE, for example appUrl=DATABASE_URL; repeatable.")
    ] = None,
    show_secrets: Annotated[bool, typer.Option(help="Print secrets in plain text.")] = False,
    to: Annotated[
        Path | None, typer.Option(help="Write them to this file, secrets in plain text, readable only by you (0600).")
    ] = None,
) -> None:
    """Print a stack's outputs. The application's deployment reads them."""
    check_name(stack)
    asked = Request(name, "json" if as_json else format, role, variables or [], show_secrets=show_secrets, to=to)
    write_outputs(stack, asked)


@app.command()
def psql(
    stack: Stack = "local",
    arguments: Annotated[list[str] | None, typer.Argument(help="For psql, after --.")] = None,
    role: Annotated[str, typer.Option("--as", help="app, readonly or admin.")] = "app",
) -> None:
    """Open psql on the stack's database. No password is on any command line."""
    from pgvector_stacks.cli import psql as client

    raise typer.Exit(client.run(from_file(stack), read_outputs(stack), role, arguments or []))


@app.command()
def logs(
    stack: Stack = "local",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines, until Ctrl-C.")] = False,
) -> None:
    """Print the server's log."""
    environment = from_file(stack)
    with contextlib.suppress(KeyboardInterrupt):
        for line in get_engine(environment).read_log(environment, follow=follow):
            printing.echo(line)


@app.command("pulumi")
def plain_pulumi(
    stack: Stack,
    arguments: Annotated[list[str] | None, typer.Argument(help="For Pulumi, after --.")] = None,
) -> None:
    """Run plain `pulumi` on a stack, in the project's folder, with the stack's backend and passphrase."""
    check_name(stack)
    workspace = Workspace(stack, quiet_toolchain(), say)
    environ = {**os.environ, "PULUMI_STACK": stack}  # the default of its --stack
    raise typer.Exit(run_in_foreground([workspace.pulumi.command, *(arguments or [])], environ, ROOT))


@app.command()
def status(stack: Stack = "local", as_json: Json = False, quiet: Quiet = False) -> None:
    """List scripts (applied, pending, edited, removed), drift and the last failure. Exit code 2: something differs."""
    check_name(stack)
    environment, workspace = from_file(stack), Workspace(stack, quiet_toolchain(), say)
    state = workspace.state()
    found = stack_outputs.get_values(stack_outputs.read(workspace, state))
    database = inspection.DatabaseAddresses.from_outputs(found, get_engine(environment).via(environment))
    seen = inspection.read_status(database, stack)
    backup = commands.examine_backups(environment, deployed.find_backup_key(state))
    scheduled = backup_schedule.examine_schedule_now(environment)
    if as_json:
        more = {"backup": backup.found, "backup_schedule": scheduled.found if scheduled else None}
        printing.echo_json(seen.to_json(stack) | more)
    else:
        inspection.show_status(seen, stack, printing.echo, quiet=quiet)
        for label, finding in (("backup  ", backup), ("schedule", scheduled)):
            if finding and not (quiet and finding.is_ok):
                printing.echo(f"{label} {finding.found}")
    if seen.differs:
        raise typer.Exit(DIFFERS)


@app.command()
def verify(
    stack: Stack = "local",
    verbose: Verbose = False,
    show_rows: ShowRows = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the verify scripts and the validation against the live database; they leave nothing behind."""
    show_notices(verbose)
    printing.show_rows(show_rows)
    check_name(stack)
    checks = []
    for each in inspection.verify(find_database(stack), stack, say if as_json else printing.echo):
        checks.append(each)
        if not as_json and not (quiet and each.good):
            printing.echo(each.line)
    if as_json:
        printing.echo_json({"good": all(each.good for each in checks), "checks": [each.to_json() for each in checks]})
    inspection.refuse_failed(checks, stack)


@app.command("test-connection")
def check_connection(
    target: Annotated[
        str, typer.Argument(help="A stack, or a URL.", envvar="DATABASE_URL", autocompletion=complete_stack)
    ] = "local",
    as_json: Json = False,
) -> None:
    """Check a deployed server as the application sees it. Exit code 1: a check failed."""
    if "://" in target:
        if any("://" in word for word in sys.argv):
            say(connection_check.VISIBLE)
        found = connection_check.parse_checked_url(target)
    else:
        check_name(target)
        environment = from_file(target)
        found = connection_check.get_stack_server(
            environment, read_outputs(target), get_engine(environment).via(environment)
        )
    if not connection_check.report(found, typer.echo if as_json else printing.echo, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def accept(stack: Stack, kind: str, identity: str) -> None:
    """Accept one hand-made change by name, as `pgstack status` prints it: KIND IDENTITY."""
    check_name(stack)
    inspection.accept(find_database(stack), kind, identity, printing.echo)


@app.command()
def doctor(stack: Stack = "local", as_json: Json = False, quiet: Quiet = False) -> None:
    """Check everything a stack needs. Say what is wrong, and the command that fixes it."""
    check_name(stack)
    from pgvector_stacks.cli.doctor import examine, show, to_json

    findings = examine(stack, say)
    wrong = [finding for finding in findings if not finding.is_ok]
    if as_json:
        printing.echo_json(to_json(findings))
    elif wrong or not quiet:
        show(wrong if quiet else findings)
    if wrong:
        raise typer.Exit(1)


@app.command()
def env(stack: Stack = "local") -> None:
    """Print what plain `pulumi` needs to see the same stack:  eval "$(pgstack env local)"."""
    check_name(stack)
    before = dict(os.environ)
    workspace = Workspace(stack, quiet_toolchain(), say)
    for key, value in workspace.variables.items():
        if before.get(key) != value:
            printing.echo_data(f"export {key}={shlex.quote(value)}")
    if "PULUMI_CONFIG_PASSPHRASE_FILE" in before and "PULUMI_CONFIG_PASSPHRASE" in workspace.variables:
        typer.echo("unset PULUMI_CONFIG_PASSPHRASE_FILE")


@app.command()
def plan_memory(
    vectors: Annotated[str, typer.Option(help="How many: 1e6, 1_000_000, 1,000,000 or 1M.")],
    dimensions: Annotated[str, typer.Option(help="Of each vector.")],
    type: Annotated[str, typer.Option(help="What is indexed: vector, halfvec or bit.")] = "vector",
    m: Annotated[str, typer.Option(help="The index's m.")] = "16",
    column: Annotated[str | None, typer.Option(help="What the table stores where that is another type.")] = None,
    row_bytes: Annotated[str, typer.Option(help="Bytes of a row's other columns.")] = "0",
    concurrent_builds: Annotated[str, typer.Option(help="How many such indexes are built at once.")] = "1",
    stack: Annotated[str | None, typer.Option(help="Say whether this stack's limits do.")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON, sizes in MiB.")] = False,
) -> None:
    """Print what a table with an HNSW index needs: disk, build memory, /dev/shm, container. Asks no server."""
    from pgvector_stacks.cli.plan_memory import Question, compute_answer, show, to_json

    found = compute_answer(Question(vectors, dimensions, type, m, column, row_bytes, concurrent_builds, stack))
    if json:
        typer.echo(to_json(found))
    else:
        show(found)


@app.command()
def schema() -> None:
    """Write the JSON Schema of the stack files to stacks/schema.json, and the keys into docs/configuration.md."""
    path = STACKS / "schema.json"
    path.write_text(json.dumps(build_json_schema(), indent=2, ensure_ascii=False) + "\n")
    typer.echo(str(path))
    page = STACKS.parent / "docs" / "configuration.md"
    if page.is_file():  # a user's own project may lack the page
        page.write_text(write_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
        typer.echo(str(page))


@app.command()
def new(name: str) -> None:
    """Start the next script and list it: pgstack new "add tenant column"."""
    typer.echo(create_script(name))


def _by_name(message: str) -> str:
    """Replace STACK in the message's commands by the stack on the command line, if exactly one is named."""
    named = [each for each in sys.argv[1:] if each.rpartition("/")[2] in list_stacks()]
    return message.replace(" STACK", f" {named[0]}") if len(named) == 1 else message


def main() -> None:
    """Run a command. A known failure prints one message without a traceback, and exits with 1."""
    printing.accept_any_text()
    try:
        if len(sys.argv) == 1:
            sys.argv.append("--help")
        code: Any = app(standalone_mode=False)
    except DeploymentFailed as failure:
        if str(failure):
            say(str(failure))
        sys.exit(1)
    except (PgstackError, ToolchainError) as error:
        say(f"error: {_by_name(str(error))}")
        sys.exit(1)
    except psycopg.Error as error:
        say(f"error: {wrap_server_error(error)}")
        sys.exit(1)
    except KeyboardInterrupt:
        say(STOPPED)
        sys.exit(1)
    except Exception as error:
        # typer contains its own copy of click, so usage errors are recognised by an attribute
        if hasattr(error, "format_message"):
            say(f"error: {error.format_message()}\n  pgstack --help")
            sys.exit(1)
        if type(error).__name__ == "Exit":
            sys.exit(getattr(error, "exit_code", 1))
        raise
    if code == INTERRUPTED:
        say(STOPPED)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)

"""Create, test and restore backups of a stack, on either engine, while its server serves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pgvector_stacks.automation.deployed import find_backup_key
from pgvector_stacks.automation.toolchain import find_or_get
from pgvector_stacks.automation.workspace import Workspace
from pgvector_stacks.backup import store
from pgvector_stacks.backup.copies import encryption
from pgvector_stacks.backup.copies.after_backup import prune_and_copy
from pgvector_stacks.backup.copies.remote import RemoteCopies
from pgvector_stacks.backup.create import create as make
from pgvector_stacks.backup.drill import drill as try_out
from pgvector_stacks.backup.manifest import (
    NO_KEY,
    NOT_SIGNED,
    OTHER_KEY,
    OTHER_TIME,
    BackupFailed,
    BackupRefused,
    Manifest,
    Trust,
    Untrusted,
    read,
    verify,
)
from pgvector_stacks.backup.restore import restore as bring_back
from pgvector_stacks.cli import printing
from pgvector_stacks.cli.backup.places import DeployedStack, count_jobs, open_isolated_programs, open_server_toolbox
from pgvector_stacks.cli.backup.trust import Unsigned, find_key, find_trust
from pgvector_stacks.cli.backup.trust import read_key as key_of
from pgvector_stacks.cli.confirm import require_typed_name
from pgvector_stacks.cli.deployed_stack import Json, Stack, say
from pgvector_stacks.cli.outputs import stack_outputs
from pgvector_stacks.common.errors import ConnectionFailed, PgstackError
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.config.cautions import describe_restore_into
from pgvector_stacks.config.engines import get_config
from pgvector_stacks.config.environment import Environment, from_file
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.engines.interface import refuse_lacking

NO_RECORD = "the record of its drill isn't signed"
TIME = "%Y-%m-%d %H:%M UTC"
Name = Annotated[str | None, typer.Argument(metavar="BACKUP", help="As `list` names it; left out: the newest.")]
Superusers = Annotated[
    bool,
    typer.Option(
        "--superusers",
        help="Roles of the backup may be superusers, or as good as one, where they were; and a superuser makes "
        "what others own, so that what they wrote may run with his rights.",
    ),
]
app = typer.Typer(no_args_is_help=False, rich_markup_mode=None, help=__doc__)


@app.command()
def create(stack: Stack = "local") -> None:
    """Back a stack up while it serves; afterwards remove the backups that are no longer kept."""
    environment = _backed_up(stack)
    with _for_stack(stack):
        deployed = _deployed(environment, stack)
    with _for_stack(stack), open_server_toolbox(deployed) as (toolbox, server):
        manifest = make(
            toolbox, server, environment.backups, stack=environment.stack, database=environment.database,
            jobs=count_jobs(environment), key=deployed.key, report=say,
        )  # fmt: skip
    if not deployed.key:
        say(f"it isn't signed: the state has no key yet, which the next `up` makes:  pgstack up {stack}")
    folder = environment.backups / manifest.folder_name  # the last in the list may be another's, or of a clock set back
    typer.echo(f"{folder}: {_amount(manifest)} in {manifest.seconds:.0f} s")
    place = _elsewhere(environment, deployed.key)
    with _for_stack(stack):
        prune_and_copy(folder, environment.backups_kept, place, say)
    say(f"try it out:  pgstack backup drill {stack}")


@app.command("list")
def list_(
    stack: Stack = "local",
    digests: Annotated[bool, typer.Option("--verify", help="Read every file and compare its SHA-256.")] = False,
    as_json: Json = False,
) -> None:
    """List the backups of a stack, and whether each is signed with its key. Exit code 1: at least one is damaged."""
    directory = from_file(stack).backups
    backups = store.list_backups(directory)
    key = find_key(stack) if backups else None
    table = Table(show_header=True, header_style="bold")
    for column in ("backup", "server", "size", "rows", "revision", "last drill"):
        table.add_column(column, no_wrap=column != "last drill", overflow="fold")
    damaged, doubted, documents = [], [], []
    for backup in backups:
        try:
            manifest = verify(backup.folder, digests=digests)
        except BackupRefused as refusal:
            damaged.append(str(refusal))
            documents.append(_to_json(backup, None, str(refusal), []))
            table.add_row(backup.name, "damaged", "", "", "", describe_drill(backup))
            continue
        table.add_row(
            backup.name, manifest.server_version, format_size(manifest.bytes), f"{manifest.rows:,}",
            manifest.schema_revision, describe_drill(backup),
        )  # fmt: skip
        doubts = find_doubts(backup, key)
        documents.append(_to_json(backup, manifest, None, doubts))
        doubted += [f"{backup.name}: {words}" for words in doubts]
    if as_json:
        printing.echo_json({"directory": str(directory), "signatures_checked": key is not None, "backups": documents})
    else:
        _show(table, directory, key, doubted)
    if damaged:
        raise BackupRefused("\n".join(damaged).replace("STACK", stack))


def _to_json(backup: store.Backup, manifest: Manifest | None, damage: str | None, doubts: list[str]) -> dict[str, Any]:
    """Return a backup as the JSON document has it. `manifest`: None if the backup is damaged."""
    drill = backup.drill
    return {
        "name": backup.name, "started_at": backup.started_at.isoformat(),
        "server_version": manifest and manifest.server_version, "bytes": manifest and manifest.bytes,
        "rows": manifest and manifest.rows, "revision": manifest and manifest.schema_revision,
        "damage": damage, "doubts": doubts,
        "drill": drill and {"good": drill.ok, "at": drill.at.isoformat(), "seconds": drill.seconds},
    }  # fmt: skip


def _show(table: Table, directory: Path, key: str | None, doubted: list[str]) -> None:
    """Print the list of backups for people."""
    if not table.row_count:
        typer.echo(f"no backup in {directory}")
        return
    printing.make_console().print(table)
    typer.echo(str(directory))
    if key is None:
        typer.echo("whether they are signed isn't known: the state of the stack can't be read")
    for line in doubted:
        typer.echo(line)


@app.command()
def drill(
    stack: Stack = "local",
    backup: Name = None,
    vector_indexes: Annotated[
        bool, typer.Option("--with-vector-indexes", help="Build the HNSW and IVFFlat indexes too: it may take long.")
    ] = False,
    superusers: Superusers = False,
    unsigned: Unsigned = False,
) -> None:
    """Restore a backup into a throw-away server and compare it with its manifest. Exit code 1: the backup is bad."""
    environment = _backed_up(stack)
    with _for_stack(stack), store.locking_folder(environment.backups):
        folder = store.find_backup(environment.backups, backup)
        proof = find_trust(stack, unsigned=unsigned, say=say)
        with open_isolated_programs(environment) as programs:
            result = try_out(
                programs.toolbox, folder, jobs=count_jobs(environment), vector_indexes=vector_indexes,
                major=programs.newest, superusers=superusers, by_superuser=superusers, trust=proof, report=say,
            )  # fmt: skip
    if place := _elsewhere(environment):
        place.record_drill(folder)
    if not result.ok:
        lines = "\n".join(f"  {problem.strip()}" for problem in result.problems)
        raise BackupFailed(
            f"the backup {folder.name} is no good:\n{lines}\n  make another:  pgstack backup create {stack}"
        )
    without = "" if vector_indexes else "; vector indexes left out (--with-vector-indexes)"
    typer.echo(f"{folder.name} restored and compared in {result.seconds:.0f} s: good{without}")


@app.command()
def restore(
    stack: Stack,
    backup: Name = None,
    into: Annotated[str | None, typer.Option(help="Another stack than the one that was backed up.")] = None,
    confirm: Annotated[
        str | None, typer.Option(help="The name of the stack that is restored into, where nobody can be asked.")
    ] = None,
    superusers: Superusers = False,
    unsigned: Unsigned = False,
) -> None:
    """Restore a backup into a stack that serves. Its present database is kept under another name."""
    source, target = from_file(stack), _backed_up(into or stack)
    folder = store.find_backup(source.backups, backup)
    with _for_stack(stack):
        manifest = verify(folder, trust=find_trust(stack, unsigned=unsigned, say=say))
    say(f"{folder.name}: {_amount(manifest)}, database {manifest.database}, revision {manifest.schema_revision}")
    if caution := describe_restore_into(source, target):
        say(f"warning: {caution}")
    require_typed_name(
        target.stack, f"a restore replaces the database of {target.stack}, which is kept under another name",
        confirm, f"--confirm {target.stack}", say,
    )  # fmt: skip
    with _for_stack(target.stack):
        deployed = _deployed(target, into or stack)
    with _for_stack(stack), store.locking_folder(source.backups), open_server_toolbox(deployed) as (toolbox, server):
        before = bring_back(
            toolbox, server, deployed.admin, folder, manifest, manifest.database, jobs=count_jobs(target),
            lock_wait_s=target.lock_wait_s, superusers=superusers, report=say,
        )  # fmt: skip
    typer.echo(f"{target.stack}: database {deployed.admin.database} is that of {folder.name}")
    if before:
        say(
            f"the former one is kept as {before}, and takes its room; when all is well, as the administrator:\n"
            f'  pgstack psql {target.stack} --as admin -- -d postgres -c "DROP DATABASE {before}"'
        )
    say(f"scripts that it lacks run with the next up:  pgstack preview {target.stack}")


@app.command()
def fetch(
    stack: Stack, backup: Annotated[str | None, typer.Argument(metavar="BACKUP", help="Left out: lists them.")] = None
) -> None:
    """Fetch a copy from the other host (pgvector:backupCopy), or list the copies there."""
    environment = from_file(stack)
    place = _elsewhere(environment, key_of(stack, say) if backup else "")
    if place is None:
        raise PgstackError(f"{stack} has no copies elsewhere\n  set pgvector:backupCopy")
    if backup is None:
        for each in place.list_copies():
            verdict = {True: "drill good", False: "drill FAILED", None: "no drill yet"}[each.good]
            typer.echo(f"{each.name}  {verdict}")
        return
    with _for_stack(stack), store.locking_folder(environment.backups):
        store.remove_unfinished(environment.backups)
        typer.echo(str(place.fetch(backup, environment.backups)))


@app.command()
def key(
    stack: Stack = "local",
    age: Annotated[bool, typer.Option("--age", help="The identity that opens copies, for `age -d -i FILE`.")] = False,
) -> None:
    """Print the key that signs and encrypts backups, a secret. `down` removes it: keep it as pgvector:backupKey."""
    found = key_of(stack, say)
    if not found:
        raise PgstackError(f"the state of {stack} has no key yet\n  the next `up` makes one:  pgstack up {stack}")
    typer.echo(encryption.age_identity(found) if age else found)


def find_doubts(backup: store.Backup, key: str | None) -> list[str]:
    """Return why an undamaged backup, or the record of its drill, may not be the stack's own; [] if they are.

    `key`: signs the stack's backups; "": the stack has none yet; None: signatures aren't checked.
    """
    if key is None:
        return []
    found = []
    try:
        read(backup.folder, Trust(key))
    except Untrusted as refusal:
        found.append(refusal.short)
    if key and backup.drill is not None and not backup.drill.signed(backup.name, key):
        found.append(NO_RECORD)
    return found


def examine_backups(environment: Environment, key: str | None = None) -> Finding:
    """For `status` and `doctor`: return the last backup and the last drill, and a remedy if these are not enough.

    If the volume is protected, having no backup is a fault, or none that passed a drill. `key`: as in `find_doubts`.
    """
    stack = environment.stack
    if lacking := get_config(environment.engine).lacks.get("backup"):
        return Finding("backup", lacking.replace("STACK", stack))
    create_one, drill_one = f"pgstack backup create {stack}", f"pgstack backup drill {stack}"
    needed = environment.volume == "protect"
    backups = store.list_backups(environment.backups)
    if not backups:
        return Finding("backup", "none yet", create_one if needed else "")
    newest = backups[-1]
    good = store.last_good_drill_time(environment.backups, key or None)
    words = f"last {newest.started_at:{TIME}}, drill {describe_drill(newest)}"
    if newest.drill is None and good is not None:
        words += f"; last good drill {good:{TIME}}"
    try:
        verify(newest.folder, digests=False)
    except BackupRefused as refusal:
        return Finding("backup", f"{words}; {str(refusal).splitlines()[0].rstrip(':')}", create_one)
    doubted = [word for word in find_doubts(newest, key) if word != NO_KEY]
    words += "".join(f"; {word}" for word in doubted)
    if OTHER_KEY in doubted or OTHER_TIME in doubted or (needed and NOT_SIGNED in doubted):
        return Finding("backup", words, create_one)
    if newest.drill is not None and not newest.drill.ok:
        return Finding("backup", words, create_one)
    return Finding("backup", words, drill_one if needed and good is None else "")


def describe_drill(backup: store.Backup) -> str:
    """Describe the backup's last drill in a few words."""
    result = backup.drill
    if result is None:
        return "none yet"
    return f"{'good' if result.ok else 'FAILED'} {result.at:{TIME}}, {result.seconds:.0f} s"


def format_size(count: int) -> str:
    """Format a number of bytes for people.

    >>> format_size(2676480)
    '2.6 MiB'
    """
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.1f} {unit}" if unit != "B" else f"{count} B"


def _amount(manifest: Manifest) -> str:
    """Describe what a backup contains in a few words."""
    return f"{format_size(manifest.bytes)}, {manifest.rows:,} rows, PostgreSQL {manifest.server_version}"


class _for_stack:
    """A context in which the remedies in errors name this stack instead of STACK."""

    def __init__(self, stack: str) -> None:
        self.stack = stack

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, (BackupFailed, BackupRefused, ConnectionFailed)) and " STACK" in str(error):
            raise type(error)(str(error).replace(" STACK", f" {self.stack}")) from None


def _elsewhere(environment: Environment, key: str = "") -> RemoteCopies | None:
    """Return the stack's copies on another host; None if it has none."""
    return RemoteCopies(environment.backup_copy, environment.stack, key) if environment.backup_copy else None


def _backed_up(stack: str) -> Environment:
    """Return the environment. Raises PgstackError if the stack's engine has no backups."""
    environment = from_file(stack)
    refuse_lacking(environment, "backup")
    return environment


def _deployed(environment: Environment, stack: str) -> DeployedStack:
    """Return the deployed stack. `stack`: its name as Pulumi is to be asked for it.

    Raises ConnectionFailed, with the remedy, if its server doesn't answer.
    """
    workspace = Workspace(stack, find_or_get(say), say)
    state = workspace.state()
    found = stack_outputs.read(workspace, state)
    deployed = DeployedStack.from_outputs(environment, stack_outputs.get_values(found), find_backup_key(state))
    connect(replace(deployed.admin, database="postgres")).close()
    return deployed

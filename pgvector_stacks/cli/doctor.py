"""`pgstack doctor`: checks everything that a stack needs. Each finding names its remedy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from rich.table import Table

from pgvector_stacks.automation.toolchain import ToolchainError, find_or_get
from pgvector_stacks.automation.workspace import Workspace
from pgvector_stacks.cli.backup import commands, trust
from pgvector_stacks.cli.backup import scheduled as backup_schedule
from pgvector_stacks.cli.inspection import DatabaseAddresses, status
from pgvector_stacks.cli.outputs import stack_outputs
from pgvector_stacks.cli.printing import make_console
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.common.plain_text import safe
from pgvector_stacks.config.cautions import find_cautions, is_root_of_a_host
from pgvector_stacks.config.environment import from_file
from pgvector_stacks.connections import certificate_expiry
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.engines.interface import get_engine


def examine(stack: str, say: Callable[[str], None]) -> list[Finding]:
    """Run all checks and return their findings. A check that fails does not hide the others."""
    findings: list[Finding] = []
    try:
        environment = from_file(stack)
        findings.append(Finding("stack file", f"stacks/Pulumi.{stack}.yaml is right"))
    except PgstackError as error:
        return [Finding("stack file", str(error), f"edit stacks/Pulumi.{stack}.yaml")]
    findings.append(commands.examine_backups(environment, trust.find_key(stack)))
    if scheduled := backup_schedule.examine_schedule_now(environment):
        findings.append(scheduled)
    engine = get_engine(environment)
    findings += engine.examine(environment)
    try:
        toolchain = find_or_get(say)
        findings.append(Finding("Pulumi", toolchain.note))
        workspace = Workspace(stack, toolchain, say)
        findings += [
            Finding("caution", *each)
            for each in find_cautions(environment, os.environ, root=is_root_of_a_host(os.environ))
        ]
        found = stack_outputs.read(workspace)
        finished = found.get(stack_outputs.FINISHED)
        findings.append(
            Finding("stack", f"deployed, revision {finished.value}")
            if finished
            else Finding("stack", "its first `up` did not come to its end", f"pgstack up {stack}")
        )
        outputs = stack_outputs.get_values(found)
        if certificate := outputs.get("certificate"):
            made = environment.tls_certificate is None
            findings.append(
                Finding(
                    "certificate",
                    *certificate_expiry.describe_expiry(certificate, certificate_expiry.utc_now(), stack, made=made),
                )
            )
        findings += _database(stack, DatabaseAddresses.from_outputs(outputs, engine.via(environment)))
    except ToolchainError as error:
        findings.append(Finding("Pulumi", str(error), "install Pulumi, then try again"))
    except PgstackError as error:
        findings.append(Finding("stack", str(error).splitlines()[0], f"pgstack up {stack}"))
    return findings


def _database(stack: str, database: DatabaseAddresses) -> Iterator[Finding]:
    """Yield the findings about the connection to the database, and about its schema."""
    try:
        with connect(database.admin):
            pass
        yield Finding("connection", f"{database.admin.where} answers")
    except PgstackError as error:
        head, _, rest = str(error).partition("\n")
        yield Finding("connection", head, rest.strip().replace("STACK", stack) or f"pgstack up {stack}")
        return
    lines: list[str] = []
    differs = status(database, stack, lines.append)
    notable = [line for line in lines if not line.startswith(("applied", "drift    none"))]
    yield Finding("schema", "\n".join(notable) or "all scripts applied, no drift", f"pgstack preview {stack}" * differs)


def to_json(findings: list[Finding]) -> dict[str, Any]:
    """Return the content of the JSON document."""
    checks = [
        {"check": each.what, "good": each.is_ok, "found": each.found, "remedy": each.remedy or None}
        for each in findings
    ]
    return {"good": all(each.is_ok for each in findings), "checks": checks}


def show(findings: list[Finding]) -> None:
    """Print the findings as a table, on a terminal in colour."""
    table = Table(show_header=True, header_style="bold")
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        cells = (safe(text) for text in (finding.what, finding.found, finding.remedy))
        table.add_row("✓" if finding.is_ok else "✗", *cells)
    make_console().print(table)

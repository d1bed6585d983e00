"""`pgstack doctor`: every thing a stack needs, examined one after the other; each finding names its remedy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from pgvector_stacks.automation.toolchain import ToolchainError, find_or_get
from pgvector_stacks.automation.workspace import Workspace
from pgvector_stacks.cli import outputs as stack_outputs
from pgvector_stacks.cli.backup import commands, trust
from pgvector_stacks.cli.backup import scheduled as backup_schedule
from pgvector_stacks.cli.deploy import docker_endpoint, via
from pgvector_stacks.cli.inspection import Database, status
from pgvector_stacks.common import image_names
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.plain_text import safe
from pgvector_stacks.config.cautions import cautions, is_root_of_a_host
from pgvector_stacks.config.environment import ROOT, Environment, from_file
from pgvector_stacks.connections import certificate_expiry
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.docker import docker_host, preflight
from pgvector_stacks.docker.container_spec import PORT
from pgvector_stacks.docker.data_volume import state_of
from pgvector_stacks.docker.exit_diagnosis import crash, diagnose
from pgvector_stacks.docker.preflight import Finding
from pgvector_stacks.embedded import embedded_server

LEAST_FREE_MB = 1024
LOG_LINES, LOG_S = 5000, 24 * 3600


def examine(stack: str, say: Callable[[str], None]) -> list[Finding]:
    """Each check on its own: one that fails hides none of the others."""
    findings: list[Finding] = []
    try:
        environment = from_file(stack)
        findings.append(Finding("stack file", f"stacks/Pulumi.{stack}.yaml is right"))
    except PgstackError as error:
        return [Finding("stack file", str(error), f"edit stacks/Pulumi.{stack}.yaml")]
    findings.append(commands.finding(environment, trust.key_if_any(stack)))
    if scheduled := backup_schedule.at_present(environment):
        findings.append(scheduled)
    findings += _embedded(environment) if environment.engine == "embedded" else _docker(environment)
    try:
        toolchain = find_or_get(say)
        findings.append(Finding("Pulumi", toolchain.note))
        workspace = Workspace(stack, toolchain, say)
        findings += [
            Finding("caution", *each) for each in cautions(environment, os.environ, root=is_root_of_a_host(os.environ))
        ]
        found = stack_outputs.read(workspace)
        finished = found.get(stack_outputs.FINISHED)
        findings.append(
            Finding("stack", f"deployed, revision {finished.value}")
            if finished
            else Finding("stack", "its first `up` did not come to its end", f"pgstack up {stack}")
        )
        outputs = {name: output.value for name, output in found.items()}
        if certificate := outputs.get("certificate"):
            made = environment.tls_certificate is None
            findings.append(
                Finding(
                    "certificate",
                    *certificate_expiry.finding(certificate, certificate_expiry.utc_now(), stack, made=made),
                )
            )
        findings += _database(stack, Database.from_outputs(outputs, via(environment)))
    except ToolchainError as error:
        findings.append(Finding("Pulumi", str(error), "install Pulumi, then try again"))
    except PgstackError as error:
        findings.append(Finding("stack", str(error).splitlines()[0], f"pgstack up {stack}"))
    return findings


def _docker(environment: Environment) -> Iterator[Finding]:
    """The findings of the Preflight, and the container as it is now."""
    try:
        engine = docker_endpoint(environment)
        client = docker_host.connect(engine.url, engine.chosen_by)
        yield Finding("Docker Engine", f"answers at {engine.url} ({engine.chosen_by})")
        budget = environment.tuned.budget
        yield (
            Finding("memory budget", f"{budget.total_mb} MiB at most, allowed are {budget.allowed_mb}")
            if budget.fits
            else Finding("memory budget", budget.table(), "raise pgvector:memoryMb")
        )
        known = docker_host.digests(client, environment.image)
        yield Finding("image's digest", image_names.pinning(environment.image, known))
        server = docker_host.server_of(client, environment.name)
        wanted = preflight.Wanted(
            name=environment.name, image=environment.image, memory_mb=environment.memory_mb, cpus=environment.cpus,
            port=environment.port or PORT, bind_address=environment.bind_address, wal_mb=environment.tuned.wal_mb,
            claim=server.labels.get(docker_host.CLAIM_LABEL) if server else None, data_path=environment.data_path,
            adopt=environment.adopt_volume or "",
        )  # fmt: skip
        yield from preflight.findings(wanted, preflight.gather(client, engine, wanted))
    except PgstackError as error:
        head, _, rest = str(error).partition("\n")
        yield Finding("Docker Engine", head, rest.strip() or "start Docker")
        return
    if server is None:
        yield Finding("container", f"{environment.name} was never made", f"pgstack up {environment.stack}")
        return
    if scheduled := backup_schedule.container(client, environment):
        yield scheduled
    state = state_of(server, environment.memory_mb, environment.volume_name, environment.port or PORT)
    if state.status == "running" and state.health != "unhealthy":
        yield Finding("container", f"{environment.name} runs" + (f", {state.health}" if state.health else ""))
        killed = crash(docker_host.log_of(server, lines=LOG_LINES, last_s=LOG_S), environment.memory_mb)
        wider = "raise pgvector:memoryMb; what an index build needs:  pgstack plan-memory"
        yield Finding("last 24 hours", killed or "no crash by the log", wider if killed else "")
    else:
        yield Finding("container", diagnose(state), f"pgstack up {environment.stack}")


def _embedded(environment: Environment) -> Iterator[Finding]:
    try:
        embedded_server.check_cpu()
        yield Finding("processor", "has what the embedded PostgreSQL is built for")
    except PgstackError as error:
        yield Finding("processor", str(error), "use a stack with engine: docker")
    free_mb = shutil.disk_usage(ROOT).free // 2**20
    remedy = "" if free_mb >= LEAST_FREE_MB else f"free at least {LEAST_FREE_MB - free_mb} MB on the disk of {ROOT}"
    yield Finding("disk", f"{free_mb} MB free", remedy)
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    too_much = environment.memory_mb > memory_mb
    yield Finding(
        "memory",
        f"{memory_mb} MB here, pgvector:memoryMb is {environment.memory_mb}",
        "lower pgvector:memoryMb" if too_much else "",
    )
    directory = embedded_server.Directory(
        ROOT / ".data" / environment.stack / str(environment.major), environment.major
    )
    state = embedded_server.status(directory)
    place = directory.path.relative_to(ROOT)
    if state == "running":
        yield Finding("server", f"runs on port {embedded_server.kept_port(directory)}, data in {place}/")
        return
    words = "was never made" if state == "missing" else "is down"
    last = directory.log.read_text(errors="replace").strip().splitlines()[-3:] if directory.log.exists() else []
    yield Finding("server", "\n".join([f"{words} ({place}/)", *last]), f"pgstack up {environment.stack}")


def _database(stack: str, database: Database) -> Iterator[Finding]:
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


def show(findings: list[Finding]) -> None:
    """A table; on a terminal in colour."""
    table = Table(show_header=True, header_style="bold")
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        cells = (safe(text) for text in (finding.what, finding.found, finding.remedy))
        table.add_row("✓" if finding.good else "✗", *cells)
    Console(markup=False, highlight=False, emoji=False).print(table)

"""What `doctor` looks at on a Docker Engine: what the Preflight looks at, the container, and that of the schedule."""

from __future__ import annotations

from collections.abc import Iterator

import docker

from pgvector_stacks.backup.daily import sidecar
from pgvector_stacks.common import image_names
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.docker import docker_host, preflight
from pgvector_stacks.docker.container_spec import PORT
from pgvector_stacks.docker.data_volume import state_of
from pgvector_stacks.docker.exit_diagnosis import crash, diagnose

LOG_LINES, LOG_S = 5000, 24 * 3600
SCHEDULE = "container of scheduled backups"


def examine(environment: Environment, engine: docker_host.Endpoint) -> Iterator[Finding]:
    """Never raises PgstackError: it is a finding."""
    try:
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
    if scheduled := _schedule(client, environment):
        yield scheduled
    state = state_of(server, environment.memory_mb, environment.volume_name, environment.port or PORT)
    if state.status == "running" and state.health != "unhealthy":
        yield Finding("container", f"{environment.name} runs" + (f", {state.health}" if state.health else ""))
        killed = crash(docker_host.log_of(server, lines=LOG_LINES, last_s=LOG_S), environment.memory_mb)
        wider = "raise pgvector:memoryMb; what an index build needs:  pgstack plan-memory"
        yield Finding("last 24 hours", killed or "no crash by the log", wider if killed else "")
    else:
        yield Finding("container", diagnose(state), f"pgstack up {environment.stack}")


def _schedule(client: docker.DockerClient, environment: Environment) -> Finding | None:
    """Whether it waits for its time; None without a schedule. Raises DockerFailed."""
    if environment.backup is None:
        return None
    name, again = sidecar.container_name(environment.name), f"pgstack up {environment.stack}"
    found = docker_host.server_of(client, name)
    if found is None:
        return Finding(SCHEDULE, f"{name} was never made, or somebody removed it", again)
    state = state_of(found, sidecar.MEMORY_MB, "")
    if state.status == "running":
        return Finding(SCHEDULE, f"{name} runs")
    return Finding(
        SCHEDULE, sidecar.describe_problem(name, state.status, state.exit_code, state.log),
        f"{again};  {sidecar.log_hint(name)}",
    )  # fmt: skip

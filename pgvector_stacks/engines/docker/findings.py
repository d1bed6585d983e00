"""The checks of `doctor` for the Docker engine: preflight, the server's container, the container of the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import docker

from pgvector_stacks.backup.daily import sidecar
from pgvector_stacks.common import image_names
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.docker import docker_host, preflight
from pgvector_stacks.docker.container_spec import PORT
from pgvector_stacks.docker.data_volume import read_state
from pgvector_stacks.docker.exit_diagnosis import describe_crash, diagnose, see_restarts

LOG_LINES, LOG_S = 5000, 24 * 3600
SCHEDULE = "container of scheduled backups"


def examine(environment: Environment, choose: Callable[[Environment], docker_host.Endpoint]) -> Iterator[Finding]:
    """Run the checks of `doctor`. A PgstackError becomes a finding, `choose`'s too."""
    try:
        engine = choose(environment)
        client = docker_host.connect(engine.url, engine.chosen_by)
        yield Finding("Docker Engine", f"answers at {engine.url} ({engine.chosen_by})")
        budget = environment.tuned.budget
        yield (
            Finding("memory budget", f"{budget.total_mb} MiB at most, allowed are {budget.allowed_mb}")
            if budget.fits
            else Finding("memory budget", budget.table(), "raise pgvector:memoryMb")
        )
        known = docker_host.list_digests(client, environment.image)
        yield Finding("image's digest", image_names.describe_pinning(environment.image, known))
        server = docker_host.find_container(client, environment.name)
        wanted = preflight.HostNeeds(
            name=environment.name, image=environment.image, memory_mb=environment.memory_mb, cpus=environment.cpus,
            port=environment.port or PORT, bind_address=environment.bind_address, wal_mb=environment.tuned.wal_mb,
            claim=server.labels.get(docker_host.CLAIM_LABEL) if server else None, data_path=environment.data_path,
            adopt=environment.adopt_volume or "",
        )  # fmt: skip
        yield from preflight.run_checks(wanted, preflight.gather_facts(client, engine, wanted))
    except PgstackError as error:
        head, _, rest = str(error).partition("\n")
        yield Finding("Docker Engine", head, rest.strip() or "start Docker")
        return
    if server is None:
        yield Finding("container", f"{environment.name} was never created", f"pgstack up {environment.stack}")
        return
    if scheduled := _check_schedule(client, environment):
        yield scheduled
    state = see_restarts(read_state(server, environment.memory_mb, environment.volume_name, environment.port or PORT))
    if state.status == "running" and state.health != "unhealthy":
        yield Finding("container", f"{environment.name} runs" + (f", {state.health}" if state.health else ""))
        killed = describe_crash(docker_host.read_log(server, lines=LOG_LINES, last_s=LOG_S), environment.memory_mb)
        wider = "raise pgvector:memoryMb; what an index build needs:  pgstack plan-memory"
        yield Finding("last 24 hours", killed or "no crash by the log", wider if killed else "")
    else:
        yield Finding("container", diagnose(state), f"pgstack up {environment.stack}")


def _check_schedule(client: docker.DockerClient, environment: Environment) -> Finding | None:
    """Check that the container of scheduled backups runs; None without a schedule. Raises DockerFailed."""
    if environment.backup is None:
        return None
    name, again = sidecar.container_name(environment.name), f"pgstack up {environment.stack}"
    found = docker_host.find_container(client, name)
    if found is None:
        return Finding(SCHEDULE, f"{name} was never created, or was removed", again)
    state = read_state(found, sidecar.MEMORY_MB, "")
    if state.status == "running":
        return Finding(SCHEDULE, f"{name} runs")
    return Finding(
        SCHEDULE, sidecar.describe_problem(name, state.status, state.exit_code, state.log),
        f"{again};  {sidecar.log_hint(name)}",
    )  # fmt: skip

"""Upgrades a server in a container: describes the upgrade for a preview, and carries it out during an `up`.

The upgrade stops the server's container and doesn't change it. Pulumi then replaces it by one of the new image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import docker
from docker.models.containers import Container

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.connections.connection import Address
from pgvector_stacks.docker import data_volume
from pgvector_stacks.docker.container_spec import PORT, ContainerSpec
from pgvector_stacks.docker.docker_host import docker_errors, find_container, has_image, remove_leftover_containers
from pgvector_stacks.toolbox import docker_toolbox
from pgvector_stacks.toolbox.interface import ServerConnection, Toolbox, connect_with_password
from pgvector_stacks.upgrade import facts, rollback, run
from pgvector_stacks.upgrade.backup_first import BackupFirst
from pgvector_stacks.upgrade.checks import collations
from pgvector_stacks.upgrade.context import do_nothing
from pgvector_stacks.upgrade.decision import Method, Reindex, decide, describe_choice
from pgvector_stacks.upgrade.engines import docker_facts
from pgvector_stacks.upgrade.engines.docker_control import DockerServerControl
from pgvector_stacks.upgrade.journal import Journal
from pgvector_stacks.upgrade.no_drift import NoDrift
from pgvector_stacks.upgrade.progress import PACE, Pace


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """The requested upgrade: from which server to which. `old_image`, `new_image`: ids or names."""

    client: docker.DockerClient
    before: ContainerSpec
    after: ContainerSpec
    old_image: str
    new_image: str
    volume: str
    address: Address
    method: Method | None
    grace_s: int
    backup: BackupFirst | None
    pgvector_minimum: str
    report: Callable[[str], None]
    no_drift: NoDrift | None = None
    reindex: Reindex = "before"
    pace: Pace = PACE

    @property
    def network(self) -> str:
        return self.before.name


def describe(wanted: UpgradeRequest) -> str:
    """Describe the upgrade. Raises ServerError or DriftRefused if it is refused, ConnectionFailed without an answer."""
    server = _find_server(wanted)
    if server.status != "running":
        return (
            f"upgrades PostgreSQL {wanted.before.major} → {wanted.after.major}: the server doesn't run, "
            "`up` starts it first and decides then"
        )
    target = facts.TargetVersion(wanted.after.major)
    if has_image(wanted.client, wanted.new_image):  # a preview never pulls an image
        target = docker_facts.read_target_of_image(wanted.client, wanted.after.name, wanted.new_image, target.major)
    source = _query_source(wanted)
    choice = decide(source, target, docker_facts.measure_disk(server), wanted.method)
    return collations.describe_upgrade(source, target, choice, wanted.reindex)


def _query_source(wanted: UpgradeRequest) -> facts.SourceServer:
    """Query the running server. Raises ConnectionFailed, psycopg.Error, and DriftRefused if drift is not allowed."""
    source = facts.query_source(wanted.address)
    if wanted.no_drift is not None:
        wanted.no_drift.must_hold(wanted.address, source)
    return source


def carry_out(wanted: UpgradeRequest, before_step: Callable[[str], None] = do_nothing) -> Journal:
    """Run the upgrade. Afterwards the old server is stopped, and the new data directory is complete and verified.

    Raises PgstackError. The old server then serves again, except after `link` has started the new one.
    """
    client, old, new = wanted.client, wanted.before, wanted.after
    remove_leftover_containers(client, new.name)
    server = _find_server(wanted)
    data_volume.install_files(client, new, wanted.new_image, wanted.volume)
    with docker_toolbox.open_toolbox(
        client, new.name, wanted.new_image, wanted.volume, network=wanted.network, limits=new.limits(),
        carries=old.major,
    ) as made:  # fmt: skip
        control = DockerServerControl(made, server, old, new.major, wanted.address, wanted.grace_s)
        docker_toolbox.carry_programs(client, made, old.name, wanted.old_image, old.major)
        if journal := run.find_finished_upgrade(made, old.major, new.major, serves=control.is_running()):
            wanted.report(f"a killed run had finished the upgrade to PostgreSQL {new.major}: continues after it")
            if control.is_running():
                control.stop()
            return journal
        if not control.is_running():
            control.start()
        control.set_replication(allowed=False)  # a killed run may have allowed it
        data_volume.try_server(client, new, wanted.new_image, wanted.volume, wanted.pgvector_minimum)
        source = _query_source(wanted)
        disk = docker_facts.measure_disk(server)
        target = docker_facts.read_target(made, new.major)
        choice = decide(source, target, disk, wanted.method)
        if choice.why:  # the preview may have known less
            wanted.report(describe_choice(source, target, choice))
        live = connect_with_password(made, old.major, old.name, PORT, wanted.address)
        upgrade = run.Upgrade(
            made, control, source, new.major, choice, live, dict(new.settings), wanted.report,
            backup=partial(_back_up, wanted) if wanted.backup else None, before=before_step,
            reindex=wanted.reindex, old_image=wanted.old_image, pace=wanted.pace,
        )  # fmt: skip
        return upgrade.carry_out()


def _back_up(wanted: UpgradeRequest) -> None:
    if wanted.backup is not None:
        old = wanted.before
        at_it = open_toolbox_at_server(wanted.client, old.name, wanted.old_image, old.major, wanted.address)
        wanted.backup.make(at_it, _open_separate_toolbox(wanted), wanted.report, wanted.pace)


@contextmanager
def open_toolbox_at_server(
    client: docker.DockerClient, name: str, image: str, major: int, admin: Address
) -> Iterator[tuple[Toolbox, ServerConnection]]:
    """Open a toolbox that reaches the named server, with the server's programs. It lacks the volume, so that a dump
    takes no space from the database.
    """
    with docker_toolbox.open_toolbox(client, name, image, None, network=name) as made:
        yield made, connect_with_password(made, major, name, PORT, admin)


@contextmanager
def _open_separate_toolbox(wanted: UpgradeRequest) -> Iterator[Toolbox]:
    limits = wanted.before.limits()
    with docker_toolbox.open_toolbox(wanted.client, wanted.before.name, wanted.old_image, None, limits=limits) as made:
        yield made


def is_rollback_requested(wanted: UpgradeRequest) -> bool:
    """Return whether the operator has requested this rollback. Raises DockerFailed, ServerError."""
    if not has_image(wanted.client, wanted.new_image):
        return False
    with docker_toolbox.open_toolbox(wanted.client, wanted.after.name, wanted.new_image, wanted.volume) as made:
        return bool(rollback.read_state(made, wanted.after.major, wanted.before.major))


def roll_back(wanted: UpgradeRequest) -> None:
    """Stop the new server and set its data directory aside. The old directory is unchanged. Raises ServerError."""
    client = wanted.client
    remove_leftover_containers(client, wanted.after.name)
    server = find_container(client, wanted.before.name)
    if server is not None and server.status == "running":
        with docker_errors():
            server.stop(timeout=wanted.grace_s)
    with docker_toolbox.open_toolbox(client, wanted.after.name, wanted.new_image, wanted.volume) as made:
        if not rollback.read_state(made, wanted.after.major, wanted.before.major):
            raise ServerError("no rollback was asked for:  pgstack upgrade rollback STACK")
        rollback.carry_out(made, wanted.before.major)


def _find_server(wanted: UpgradeRequest) -> Container:
    found = find_container(wanted.client, wanted.before.name)
    if found is None:
        raise ServerError(
            f"the container {wanted.before.name} is gone: an upgrade needs the running old server\n"
            f"  set pgvector:image back to PostgreSQL {wanted.before.major}, `up`, then change it again"
        )
    return found

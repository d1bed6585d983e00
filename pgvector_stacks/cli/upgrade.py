"""`pgstack upgrade …`: may it be done, back again, done with it. The upgrade itself is an `up` with another major."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgvector_stacks.cli import deploy, inspection
from pgvector_stacks.cli.confirm import must_be_typed
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.image_names import MAJORS, major_of
from pgvector_stacks.config.environment import ROOT, Environment
from pgvector_stacks.docker import docker_host
from pgvector_stacks.docker.container_spec import PORT
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.toolbox import docker_toolbox, embedded_toolbox
from pgvector_stacks.toolbox.interface import Toolbox, with_password
from pgvector_stacks.upgrade import facts, rollback
from pgvector_stacks.upgrade.checks import collations, reindex, verify
from pgvector_stacks.upgrade.decision import decide, words
from pgvector_stacks.upgrade.engines import docker_facts, embedded_guardian, embedded_upgrade
from pgvector_stacks.upgrade.journal import Journal
from pgvector_stacks.upgrade.no_drift import NoDrift

Say = Callable[[str], object]


def check(environment: Environment, database: inspection.Database, target: str, say: Say) -> None:
    """Say what an upgrade to `target` would do. Raises PgstackError with every reason why it can't be done.

    `target`: a major version, or for a Docker stack an image.
    """
    major = int(target) if target.isdigit() else major_of(target)
    if major is None or (target.isdigit() and major not in MAJORS):
        known = ", ".join(map(str, MAJORS))
        raise PgstackError(f"{target}: neither a major version ({known}) nor an image whose name tells it")
    source = facts.of_source(database.admin)
    if environment.engine == "embedded":
        wanted = embedded_upgrade.target_of_wheel(major)
        disk = embedded_upgrade.disk(ROOT / ".data" / environment.stack)
    else:
        engine = deploy.docker_endpoint(environment)
        client = docker_host.connect(engine.url, engine.chosen_by)
        server = docker_host.server_of(client, environment.name)
        if server is None:
            raise PgstackError(f"the container {environment.name} is gone:  pgstack up {environment.stack}")
        image = "" if target.isdigit() else target
        wanted = facts.Target(major)
        if image and docker_host.has_image(client, image):
            wanted = docker_facts.target_of_image(client, environment.name, image, major)
        elif image:
            say(f"the image {image} isn't on the engine: its version and extensions are looked at during `up`")
        disk = docker_facts.disk(server)
    if major == source.major:
        raise PgstackError(f"{environment.stack} runs PostgreSQL {source.version} already")
    if environment.drift == "refuse":
        NoDrift(environment.stack, environment.database).must_hold(database.admin, source)
    say(words(source, wanted, decide(source, wanted, disk, environment.upgrade_method)))
    if sorts := collations.words(source, wanted, environment.upgrade_reindex):
        say(sorts)


def sort_anew(environment: Environment, database: inspection.Database, say: Say) -> None:
    """What `upgradeReindex: after` left to do. Raises PgstackError, psycopg.Error."""
    again = f"pgstack upgrade reindex {environment.stack}"
    count = reindex.complete(database.admin, say, remedy=again)
    say(f"{count} indexes sorted again" if count else "nothing waits: the collation versions agree")


@contextmanager
def open_toolbox(environment: Environment) -> Iterator[Toolbox]:
    """With the programs of the stack file's version. Raises PgstackError."""
    if environment.engine == "embedded":
        with embedded_toolbox.open_toolbox(ROOT / ".data" / environment.stack) as made:
            yield made
        return
    engine = deploy.docker_endpoint(environment)
    client = docker_host.connect(engine.url, engine.chosen_by)
    if not docker_host.volume_exists(client, environment.volume_name):
        raise PgstackError(f"there is no volume {environment.volume_name}: the stack has no data here")
    if not docker_host.has_image(client, environment.image):
        raise PgstackError(f"the image {environment.image} isn't on the engine:  docker pull {environment.image}")
    with docker_toolbox.open_toolbox(client, environment.name, environment.image, environment.volume_name) as made:
        yield made


def compare(environment: Environment, database: inspection.Database, runs: int, image: str | None, say: Say) -> bool:
    """Whether every row is as the last upgrade kept it; what differs is said. `image`: with the old version's programs,
    None for the one that was upgraded from. Raises PgstackError, psycopg.Error where it can't be told.
    """
    if environment.engine == "embedded":
        embedded_guardian.wait(ROOT / ".data" / environment.stack)
    with open_toolbox(environment) as made:
        journal = verify.kept(made, runs)
        copy = verify.place(made, journal.old)
    say(f"compares PostgreSQL {journal.old} as kept at {journal.at} with {runs} as it serves now")
    admin = database.admin
    with _old_programs(environment, journal, image, verify.left_to_do(copy)) as (made, host, port):
        live = with_password(made, journal.old, host, port or admin.port, admin)
        verdict = verify.verify(made, live, runs, copy, say)
    for difference in verdict.differs:
        say(difference)
    if verdict.differs:
        say(
            f"{len(verdict.differs)} differences in {verdict.tables} tables; what was written since the upgrade, by the"
            " application or a script, looks the same as a fault of the upgrade"
        )
    else:
        say(f"equal: {verdict.tables} tables, {verdict.rows} rows; left out: the schema pgstack, which an `up` writes")
    return not verdict.differs


@contextmanager
def _old_programs(
    environment: Environment, journal: Journal, image: str | None, then: str
) -> Iterator[tuple[Toolbox, str, int | None]]:
    """With the programs of the version that was upgraded from; and where they reach the running server."""
    if environment.engine == "embedded":
        with embedded_toolbox.open_toolbox(ROOT / ".data" / environment.stack) as made:
            yield made, embedded_server.HOST, None
        return
    wanted = image or journal.old_image
    engine = deploy.docker_endpoint(environment)
    client = docker_host.connect(engine.url, engine.chosen_by)
    named = f"pgstack upgrade verify {environment.stack} --image IMAGE"
    if image is not None and major_of(image) not in (None, journal.old):
        raise PgstackError(f"--image {image}: what is kept is PostgreSQL {journal.old}\n  {named}")
    if not wanted or not docker_host.has_image(client, wanted):
        raise PgstackError(
            f"the image {wanted or 'that was upgraded from'} isn't on the engine\n"
            f"  pull one with PostgreSQL {journal.old} and the extensions it had, and name it:  {named}"
        )
    with docker_toolbox.open_toolbox(
        client, environment.name, wanted, environment.volume_name, network=environment.name,
        then=then,
    ) as made_there:  # fmt: skip
        yield made_there, environment.name, PORT


def ask_rollback(environment: Environment, runs: int, given: str | None, say: Say) -> None:
    """Note that the next `up` goes back. `runs`: the major that is deployed. Raises PgstackError."""
    stack = environment.stack
    if environment.major == runs:
        key = "pgvector:image" if environment.engine == "docker" else "pgvector:postgresVersion"
        raise PgstackError(
            f"{stack} runs PostgreSQL {runs}, and its file says so too\n"
            f"  set {key} back to the former version first, then:  pgstack upgrade rollback {stack}"
        )
    with open_toolbox(environment) as made:
        journal = rollback.possible(made, runs)
        if journal.old != environment.major:
            raise PgstackError(f"what is kept is PostgreSQL {journal.old}, the stack file says {environment.major}")
        minutes = rollback.minutes(journal)
        say(
            f"goes back from PostgreSQL {runs} to {journal.old} as it was at {journal.at}: everything written in the "
            f"{minutes} minute{'' if minutes == 1 else 's'} since is given up\n"
            f"  ({made.directory(runs)} is put aside, until:  pgstack upgrade confirm {stack})"
        )
        must_be_typed(stack, f"a rollback of {stack} gives up what was written since", given, "--yes", say)
        rollback.ask(made, journal)


def confirm(environment: Environment, runs: int, given: str | None, say: Say) -> None:
    """Delete what upgrades kept. Raises PgstackError."""
    with open_toolbox(environment) as made:
        found = rollback.kept(made, runs, MAJORS)
        if not found:
            say("nothing is kept besides the data that is served")
            return
        for each in found:
            say(f"deletes {each}")
        must_be_typed(
            environment.stack, f"there is no way back for {environment.stack} afterwards", given, "--yes", say
        )
        rollback.free(made, found)
        say("deleted")

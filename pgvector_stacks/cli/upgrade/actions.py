"""`pgstack upgrade …`: what comes before and after an upgrade. The upgrade itself is an `up` with another major."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from pgvector_stacks.cli import inspection
from pgvector_stacks.cli.confirm import require_typed_name
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.image_names import MAJORS, parse_major
from pgvector_stacks.config.engines import get_config
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.engines.interface import Need, Programs, get_engine, refuse_lacking
from pgvector_stacks.toolbox.interface import connect_with_password
from pgvector_stacks.upgrade import facts, rollback
from pgvector_stacks.upgrade.checks import collations, reindex, verify
from pgvector_stacks.upgrade.decision import decide, describe_choice
from pgvector_stacks.upgrade.journal import Journal
from pgvector_stacks.upgrade.no_drift import NoDrift

Say = Callable[[str], object]


def check(environment: Environment, database: inspection.DatabaseAddresses, target: str, say: Say) -> None:
    """Print what an upgrade to `target` would do. Raises PgstackError with every reason why it can't be done.

    `target`: a major version, or for a Docker stack an image.
    """
    major = int(target) if target.isdigit() else parse_major(target)
    if major is None or (target.isdigit() and major not in MAJORS):
        known = ", ".join(map(str, MAJORS))
        raise PgstackError(f"{target}: neither a major version ({known}) nor an image whose name tells it")
    refuse_lacking(environment, "upgrade")
    source = facts.query_source(database.admin)
    image = "" if target.isdigit() else target
    wanted, disk = get_engine(environment).target(environment, major, image, say)
    if major == source.major:
        raise PgstackError(f"{environment.stack} runs PostgreSQL {source.version} already")
    if environment.drift == "refuse":
        NoDrift(environment.stack, environment.database).must_hold(database.admin, source)
    say(describe_choice(source, wanted, decide(source, wanted, disk, environment.upgrade_method)))
    if sorts := collations.describe_rebuilds(source, wanted, environment.upgrade_reindex):
        say(sorts)


def rebuild_indexes(environment: Environment, database: inspection.DatabaseAddresses, say: Say) -> None:
    """Rebuild the indexes that `upgradeReindex: after` left for later. Raises PgstackError, psycopg.Error."""
    again = f"pgstack upgrade reindex {environment.stack}"
    count = reindex.reindex_stale_indexes(database.admin, say, remedy=again)
    say(f"{count} indexes rebuilt" if count else "nothing waits: the collation versions agree")


def open_data(environment: Environment) -> AbstractContextManager[Programs]:
    """Open the data directory with the programs of the stack file's version. Raises PgstackError."""
    refuse_lacking(environment, "upgrade")
    return get_engine(environment).open_programs(environment, Need(data=True))


def compare(
    environment: Environment, database: inspection.DatabaseAddresses, runs: int, image: str | None, say: Say
) -> bool:
    """Compare every row with the data that the last upgrade kept, and print differences. Return True if there are none.

    `image`: an image with the old version's programs; None: the image before the upgrade. Raises PgstackError,
    psycopg.Error if the comparison isn't possible.
    """
    with open_data(environment) as beside:
        journal = verify.find_comparable_upgrade(beside.toolbox, runs)
        copy = verify.choose_copy_path(beside.toolbox, journal.old)
    say(f"compares PostgreSQL {journal.old} as kept at {journal.at} with {runs} as it serves now")
    admin = database.admin
    need = _old_programs(environment, journal, image, verify.cleanup_command(copy))
    with get_engine(environment).open_programs(environment, need) as old:
        host, port = old.address or (admin.host, admin.port)
        live = connect_with_password(old.toolbox, journal.old, host, port, admin)
        verdict = verify.verify(old.toolbox, live, runs, copy, say)
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


def _old_programs(environment: Environment, journal: Journal, image: str | None, then: str) -> Need:
    """Return what `compare` needs of the old version. Raises PgstackError if the named image has another version."""
    if image is not None and parse_major(image) not in (None, journal.old):
        raise PgstackError(
            f"--image {image}: what is kept is PostgreSQL {journal.old}\n"
            f"  pgstack upgrade verify {environment.stack} --image IMAGE"
        )
    return Need(data=True, server=True, image=image or journal.old_image, then=then)


def ask_rollback(environment: Environment, runs: int, given: str | None, say: Say) -> None:
    """Request that the next `up` rolls the upgrade back. `runs`: the deployed major version. Raises PgstackError."""
    stack = environment.stack
    if environment.major == runs:
        key = get_config(environment.engine).version_key
        raise PgstackError(
            f"{stack} runs PostgreSQL {runs}, and its file says so too\n"
            f"  set {key} back to the former version first, then:  pgstack upgrade rollback {stack}"
        )
    with open_data(environment) as beside:
        made = beside.toolbox
        journal = rollback.find_reversible_upgrade(made, runs)
        if journal.old != environment.major:
            raise PgstackError(f"what is kept is PostgreSQL {journal.old}, the stack file says {environment.major}")
        minutes = rollback.minutes_since(journal)
        say(
            f"goes back from PostgreSQL {runs} to {journal.old} as it was at {journal.at}: everything written in the "
            f"{minutes} minute{'' if minutes == 1 else 's'} since is given up\n"
            f"  ({made.directory(runs)} is put aside, until:  pgstack upgrade confirm {stack})"
        )
        require_typed_name(stack, f"a rollback of {stack} gives up what was written since", given, "--yes", say)
        rollback.request_rollback(made, journal)


def confirm(environment: Environment, runs: int, given: str | None, say: Say) -> None:
    """Delete the data directories that upgrades kept. Raises PgstackError."""
    with open_data(environment) as beside:
        made = beside.toolbox
        found = rollback.list_kept(made, runs, MAJORS)
        if not found:
            say("nothing is kept besides the data that is served")
            return
        for each in found:
            say(f"deletes {each}")
        require_typed_name(
            environment.stack, f"there is no way back for {environment.stack} afterwards", given, "--yes", say
        )
        rollback.delete_kept(made, found)
        say("deleted")

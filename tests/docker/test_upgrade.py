"""The version upgrade on a real Docker Engine: 15 (bookworm) to 17 (trixie) by changing the image and an `up`."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable

import pytest

from pgvector_stacks.backup.manifest import read
from pgvector_stacks.backup.store import list_backups
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.config.environment import from_config
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.docker.container_spec import ContainerSpec
from pgvector_stacks.upgrade.engines import docker_upgrade
from pgvector_stacks.upgrade.progress import Pace
from tests.docker.conftest import PG15, PG17, PG18, SMALL, DockerStack, Make
from tests.docker.old_way import OldWay, old_way
from tests.docker.test_adoption import FIGURES, ROWS, adopting
from tests.docker.watched import Up
from tests.lacking import loop_disk

pytestmark = [pytest.mark.engine, pytest.mark.docker]
old = pytest.fixture(old_way)
STEPS = ("prepare", "rehearse", "make the standby", "stop", "hand over", "transfer", "verify", "keep")
# all of them with `make test-upgrade`
FAULTS = int(os.environ.get("PGSTACK_UPGRADE_FAULTS", "1"))
KILLS = int(os.environ.get("PGSTACK_UPGRADE_KILLS", "1"))
MOST_S = 35.0  # of a run on a small machine
GONE_WITHIN_S = 30.0
EVERYTHING = FIGURES | {
    # the stack's own passwords are set again by an `up`, with a salt of their own
    "roles": "SELECT string_agg(rolname || ' ' || CASE WHEN rolname IN ('app', 'readonly', 'postgres') THEN '' "
    "ELSE coalesce(md5(rolpassword), '-') END, ',' ORDER BY rolname) FROM pg_authid WHERE oid >= 16384",
    "grants": "SELECT string_agg(c.oid::regclass || ' ' || a.grantee::regrole || ' ' || a.privilege_type, ',' "
    "ORDER BY c.oid::regclass::text, a.grantee::regrole::text, a.privilege_type) "
    "FROM (SELECT oid, relacl FROM pg_class WHERE relnamespace = 'app'::regnamespace) c, "
    "LATERAL aclexplode(relacl) a WHERE a.privilege_type <> 'MAINTAIN'",
    "comments": "SELECT count(*)::text FROM pg_description WHERE objoid >= 16384 AND classoid = 'pg_class'::regclass",
    "large objects": "SELECT string_agg(md5(lo_get(oid)), ',' ORDER BY oid) FROM pg_largeobject_metadata",
    "publications": "SELECT string_agg(pubname, ',') FROM pg_publication",
    "parts": "SELECT string_agg(tableoid::regclass || ' ' || at, ',' ORDER BY at) FROM app.measured",
}
MORE = """
CREATE TABLE app.measured (at date NOT NULL, value int) PARTITION BY RANGE (at);
CREATE TABLE app.measured_2025 PARTITION OF app.measured FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE app.measured_2026 PARTITION OF app.measured FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO app.measured SELECT date '2025-12-25' + i, i FROM generate_series(1, 20) i;
COMMENT ON TABLE app.measured IS 'ein Maß';
CREATE INDEX by_title ON app.document (title);
CREATE INDEX ON app.embedding USING ivfflat (embedding vector_l2_ops) WITH (lists = 4);
SELECT lo_from_bytea(0, 'bytes');
CREATE PUBLICATION told FOR TABLE app.tenant;
"""


def asks(stack: DockerStack) -> Callable[[str], str]:
    """The last of several statements counts, as with psql."""

    def ask(text: str) -> str:
        with connect(stack.admin(), wait_s=10, application="test", own_path=True) as connection:
            cursor = connection.execute(text.encode())
            while cursor.nextset():
                pass
            return str(cursor.fetchall()[0][0])

    return ask


def everything(ask: Callable[[str], str]) -> dict[str, str]:
    found = {name: ask(query).splitlines()[-1] for name, query in EVERYTHING.items()}
    del found["indexes"]  # pg_upgrade makes files of new names
    return found


def test_a_database_of_compose_is_adopted_and_then_upgraded_with_everything_in_it(
    make: Make, old: Callable[..., OldWay]
) -> None:
    before = old()
    before.make(LANG="en_US.utf8")
    before.psql(ROWS)
    before.psql(MORE)
    before.psql('CREATE DATABASE "Second One"')
    before.down()
    stack = adopting(make, before)
    stack.configure(tls="require")  # the standby, the backups and the drill prove whose server they talk to
    stack.up()
    ask = asks(stack)
    known = everything(ask)
    assert known["rows"] == "3/50/600/600/10"

    said = stack.ok("upgrade", "check", "dev", PG17)
    assert "upgrades PostgreSQL 15." in said
    stack.configure(image=PG17)
    said = stack.ok("preview", "dev")
    assert re.search(r"upgrades PostgreSQL 15\.\d+ → 17\.\d+, .* \(standby: about 5 s of downtime\)", said)
    assert re.search(r"needs .* free, keeps 15 for rollback", said)
    sorts = r"rebuilds \d+ text indexes \(\d+ MB\) while the database is closed \(C library 2\.36 → 2\.41\): "
    assert re.search(sorts + ".*app.by_title", said), said
    assert everything(ask) == known  # a preview changes nothing
    said = stack.up()
    assert re.search(r"down until here +\d+\.\d s", said)
    assert "2 vector indexes answer" in said
    assert re.search(r"restored and compared in \d+ s: good", said)  # a backup first
    assert "rebuilt" in said  # another C library
    assert "a backup of PostgreSQL 17, which serves meanwhile" in said  # and one after
    backups = [read(each.folder) for each in list_backups(stack.root / ".data" / "backups" / "dev")]
    assert [each.major for each in backups] == [15, 17]
    assert backups[0].rows == backups[1].rows
    assert "SUPERUSER" in stack.fails("backup", "drill", "dev")  # Compose's own superuser is one of its roles
    assert "good" in stack.ok("backup", "drill", "dev", "--superusers")
    assert "drift" not in said
    assert everything(ask) == known
    assert "17." in ask("SHOW server_version")
    assert "unchanged" in stack.up()
    assert ask("SELECT count(*) FROM pg_replication_slots") == "0"
    assert "replication" not in before.in_volume("cat /volume/pgstack-*/pg_hba.conf")

    # back again, as it was
    stack.do("INSERT INTO app.invoice (total) VALUES (99)")
    assert "set pgvector:image back" in stack.fails("upgrade", "rollback", "dev", "--yes")
    stack.configure(image=PG15)
    assert "downgrade" in stack.fails("preview", "dev")
    said = stack.ok("upgrade", "rollback", "dev", "--yes")
    assert "since is given up" in said
    assert everything(ask) == known
    assert "15." in ask("SHOW server_version")
    assert "unchanged" in stack.up()

    # and forward once more, and done with it
    stack.configure(image=PG17, upgradeBackup=False)
    stack.up()
    assert everything(ask) == known
    said = stack.ok("upgrade", "confirm", "dev", "--yes")
    assert "15/docker" in said
    assert "17/docker.rolled-back" in said
    assert before.in_volume("ls -d /volume/*/docker*").split() == ["/volume/17/docker"]
    assert everything(ask) == known
    assert "nothing is kept" in stack.ok("upgrade", "confirm", "dev", "--yes")
    stack.configure(image=PG15)
    assert "was confirmed" in stack.fails("upgrade", "rollback", "dev", "--yes")


def wanted(stack: DockerStack, said: list[str]) -> docker_upgrade.UpgradeRequest:
    """The upgrade of a stack that runs with PostgreSQL 15."""
    before, after = (from_config("dev", {**SMALL, "image": image}) for image in (PG15, PG17))
    specs = [
        ContainerSpec(stack.name, each.major, each.tuned.settings, each.memory_mb, each.cpus, each.tuned.shm_mb)
        for each in (before, after)
    ]
    return docker_upgrade.UpgradeRequest(
        client=stack.client, before=specs[0], after=specs[1], old_image=PG15,
        new_image=PG17, volume=stack.name, address=stack.admin(), method=None, grace_s=60, backup=None,
        pgvector_minimum="0.8.0", report=said.append, pace=Pace(first_s=0.02, every_s=0.1),
    )  # fmt: skip


def nothing_is_left(stack: DockerStack, new: int = 17) -> None:
    assert stack.of_role("throw-away") == []
    left = set(stack.in_a_throw_away(f"ls /v/{new} || true").split())
    assert left <= {"pgstack.lock", "upgrade.json"}, left
    assert "replication" not in stack.in_a_throw_away("cat /v/pgstack-*/pg_hba.conf")
    assert stack.ask("SELECT count(*) FROM pg_replication_slots") == [(0,)]


@pytest.fixture(scope="module")
def fifteen(make_shared: Make, image: Callable[[str], str]) -> DockerStack:
    """Runs PostgreSQL 15, with a table of 1000 rows or more. Each test leaves it so."""
    image(PG17)
    stack = make_shared("dev", image=PG15)
    stack.up()
    stack.fill()
    return stack


def test_a_fault_at_any_step_leaves_the_old_server_serving(fifteen: DockerStack) -> None:
    seed = int(os.environ.get("PGSTACK_SEED", random.randrange(10**6)))
    print(f"seed {seed}: repeat with PGSTACK_SEED={seed}")  # noqa: T201
    stack = fifteen
    rows = stack.rows()
    for step in random.Random(seed).sample(STEPS, min(FAULTS, len(STEPS))):

        def fail(name: str, wrong: str = step) -> None:
            if name == wrong:
                raise ServerError("injected")

        stack.do("INSERT INTO public.kept VALUES (1)")
        rows += 1
        said: list[str] = []
        with pytest.raises(ServerError, match="injected"):
            docker_upgrade.carry_out(wanted(stack, said), fail)
        assert stack.rows() == rows, step
        behind = STEPS.index(step) > STEPS.index("make the standby")
        assert any(re.match(r"make the standby: .* of \d+ MB", line) for line in said) == behind, said
        assert stack.ask("SHOW server_version")[0][0].startswith("15."), step
        behind_doors = STEPS.index(step) > STEPS.index("stop")
        assert any("15 serves again" in line for line in said) == (behind_doors or step == "stop"), said
        nothing_is_left(stack)


@pytest.mark.promise("kill -9 of an upgrade on Docker loses nothing")
def test_kill_9_of_an_up_at_a_random_moment_loses_nothing(make: Make, image: Callable[[str], str]) -> None:
    """The old data serves or the new data does, also before the next `up`; the next one goes through."""
    seed = int(os.environ.get("PGSTACK_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    print(f"seed {seed}: repeat with PGSTACK_SEED={seed}")  # noqa: T201
    image(PG17)
    killed = 0
    for number in chance.sample(range(max(2, KILLS)), KILLS):
        stack = make("dev", image=PG15)
        stack.up()
        stack.fill()
        stack.configure(image=PG17)
        up = Up(stack)
        victim = chance.choice(("pulumi.dynamic", "pulumi --non-interactive", "-m pgvector_stacks.cli"))
        what = f"number {number}, {victim} killed (seed {seed})"
        if number == 0:  # the upgrade is done, the old container not yet replaced
            up.until("DataDirectory data updated")
        else:
            happened = up.until("DataDirectory data updating")
            time.sleep(chance.uniform(0, MOST_S) if happened else 0)
        hit = up.kill(victim)
        killed += bool(hit)
        up.end()
        assert not stack.left(up.process.pid, GONE_WITHIN_S), what
        # none where it was killed after the old container went and before the new one came
        if any(each.status != "created" for each in stack.of_name()):
            assert stack.rows_once_back() == 1000, what
        said = stack.up()
        assert "Traceback" not in said, what
        assert stack.rows() == 1000, what
        assert stack.ask("SHOW server_version")[0][0].startswith("17."), what
        assert stack.of_role("throw-away") == [], what
        assert "is up: unchanged" in stack.up(), what
        print(f"{what}: hit {len(hit)} processes, at {up.lines[-1][1].strip()[:70]!r}")  # noqa: T201
        stack.clean()
    assert killed >= max(1, KILLS // 4), f"most `up`s were done before anything was killed: {killed} of {KILLS}"


def test_drift_is_refused_before_anything_stops(fifteen: DockerStack) -> None:
    stack = fifteen
    started, rows = stack.started_at, stack.rows()
    stack.configure(image=PG17, drift="refuse")
    for said in (stack.fails("preview", "dev"), stack.refused(), stack.fails("upgrade", "check", "dev", PG17)):
        assert "the schema of dev was changed by other hands than its scripts" in said
        assert "table public.kept was added" in said
        assert "upgrade 15 → 17" not in said
    assert (stack.started_at, stack.rows()) == (started, rows)
    while drifted := re.search(r"^drift +(\w+) (\S+) was added", stack.run("status", "dev").stdout, re.MULTILINE):
        stack.ok("accept", "dev", *drifted.groups())
    assert "upgrades PostgreSQL 15." in stack.ok("preview", "dev")
    stack.configure(image=PG15, drift=None)


def test_a_schema_that_the_target_does_not_take_is_refused_before_anything_stops(
    make: Make, image: Callable[[str], str]
) -> None:
    """17.12 writes an attribute option that 18.6 rejects."""
    image(PG18)
    stack = make("dev", image=PG17, upgradeBackup=False)
    stack.up()
    stack.fill()
    started = stack.started_at
    stack.configure(image=PG18)
    said = stack.refused()
    print(said)  # noqa: T201
    assert "rehearsed on an empty server: PostgreSQL 18 doesn't take" in said
    assert (stack.started_at, stack.rows()) == (started, 1000)
    nothing_is_left(stack, 18)


def test_by_clone_where_the_disk_shares_blocks_between_copies(make: Make, image: Callable[[str], str]) -> None:
    image(PG17)
    with loop_disk(4096, "mkfs.xfs", "-m", "reflink=1") as place:
        place.joinpath("data").mkdir()
        stack = make("dev", image=PG15, dataPath=str(place / "data"), upgradeMethod="clone", upgradeBackup=False)
        try:
            stack.up()
            stack.fill()
            assert "(clone: about 5 s of downtime)" in stack.ok("upgrade", "check", "dev", PG17)
            stack.configure(image=PG17)
            assert "(clone: about 5 s of downtime)" in stack.ok("preview", "dev")
            assert re.search(r"down until here +\d+\.\d s", stack.up())
            assert stack.rows() == 1000
            assert re.search(r"equal: \d+ tables, \d+ rows", stack.ok("upgrade", "verify", "dev"))
            assert ".reflink" not in stack.in_a_throw_away("ls -A /v")
            stack.do("DELETE FROM public.kept")
            stack.configure(image=PG15)
            stack.ok("upgrade", "rollback", "dev", "--yes")
            assert stack.rows() == 1000
        finally:
            stack.clean()

"""What may not be adopted is refused before anything is touched; what was interrupted is recognised and goes on."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable

import pytest

from pgvector_stacks.common import shell
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.docker import adoption
from pgvector_stacks.docker.container_spec import ContainerSpec
from pgvector_stacks.docker.docker_host import open_throw_away, put_files, remove_leftover_containers
from tests.docker.conftest import PG15, PG17, DockerStack, Make
from tests.docker.old_way import OldWay, old_way
from tests.docker.test_adoption_script import MV

pytestmark = [pytest.mark.engine, pytest.mark.docker]
old = pytest.fixture(scope="module")(old_way)
KILLS = 3 if "PGSTACK_KILLS" not in os.environ else 20
ENTRIES = 22  # of a data directory of PostgreSQL 15 that was shut down


@pytest.fixture(scope="module")
def stopped(old: Callable[..., OldWay]) -> OldWay:
    """A volume of the old way, in order, that nobody uses."""
    made = old(user="postgres", database="app")
    made.make()
    made.psql("CREATE TABLE public.kept AS SELECT generate_series(1, 1000) AS i")
    made.down()
    return made


def spec(old: OldWay) -> ContainerSpec:
    settings = {"shared_buffers": "64MB"}
    return ContainerSpec(name=f"{old.name}-stack", major=15, settings=settings, memory_mb=512, cpus=1, shm_mb=64)


def adopt(old: OldWay, database: str = "app") -> list[str]:
    said: list[str] = []
    adoption.adopt(
        old.client, spec(old), old.image, old.name, image_name="IMAGE", database=database, report=said.append
    )
    return said


# what is done to the volume, what undoes it, what the refusal says
REFUSED = (
    ("chown -R 1000 base", "chown -R 999 base", "belongs to user 1000, the postgres of IMAGE is 999"),
    ("chown 70 .", "chown 999 .", "as Alpine's images have it"),
    ("ln -s /elsewhere pg_tblspc/1", "rm pg_tblspc/1", "./pg_tblspc/1 -> /elsewhere: WAL or a tablespace outside"),
    ("mv pg_wal away; ln -s /wal pg_wal", "rm pg_wal; mv away pg_wal", "./pg_wal -> /wal: WAL or a tablespace"),
    ("touch standby.signal", "rm standby.signal", r"a standby or a restore that isn't finished (standby.signal)"),
    ("echo \"ident_file = '/var/lib/postgresql/data/i'\" >>postgresql.conf", "sed -i '$d' postgresql.conf",
     "postgresql.conf names a path of the old place"),
    ("mkdir -p data && cp -a PG_VERSION data", "rm -r data", "more than one data directory: in its root, in data/"),
    ("mkdir -p 15/docker && touch 15/docker/x", "rm -r 15", "15/docker is in the way and is not a data directory"),
    ("echo 14 >PG_VERSION", "echo 15 >PG_VERSION", "holds data of PostgreSQL 14, IMAGE is PostgreSQL 15"),
    ("echo 'nonsense = 1' >>postgresql.conf", "sed -i '$d' postgresql.conf",
     "the old container starts on it as before"),
    ("mv global/pg_control .", "mv pg_control global", "pg_control says 'nothing' where 'shut down' is expected"),
)  # fmt: skip


def test_what_can_not_be_adopted_is_refused_and_left_as_it_is(stopped: OldWay) -> None:
    with stopped.root_in_volume() as root:
        for break_it, mend_it, expected in REFUSED:
            as_postgres = "" if "chown" in break_it else "; chown -Rh 999 ."
            root(f"cd /volume; umask 077; {break_it}{as_postgres}")
            try:
                before = stopped.listing(root)
                with pytest.raises(ServerError) as refused:
                    adopt(stopped)
                assert expected in str(refused.value)
                assert stopped.listing(root) == before, break_it
            finally:
                root(f"cd /volume; {mend_it}; rm -rf 15")


def test_a_database_that_is_not_there_is_refused_with_those_that_are(stopped: OldWay) -> None:
    before = stopped.listing()
    with pytest.raises(ServerError, match="has no database shop; it has: postgres app"):
        adopt(stopped, "shop")
    changed = {path for path, checksum in stopped.listing().items() if before.get(path) != checksum}
    assert not {path for path in changed if "/base/" in path or "conf" in path}


def half_move(old: OldWay, steps: int) -> None:
    """What a run leaves that is killed after so many renames."""
    with open_throw_away(
        old.client, spec(old).name, old.image,
        ["sh", "-c", 'mkdir /tmp/w; cp /tmp/fake-mv /tmp/w/mv; echo 0 >/tmp/count; PATH=/tmp/w:$PATH setsid sh -ec '
                     "'echo $$ >/tmp/script; exec sh -ec \"$0\"' \"$0\" & wait $!",
         shell.get("journal") + shell.get("adopt")],
        user="postgres", network_mode="none", volumes={old.name: {"bind": "/volume", "mode": "rw"}},
        environment={"VOLUME": "/volume", "MAJOR": "15", "PLACE": ".", "DATABASE": "app", "HOW": "kill",
                     "AT": str(steps)},
    ) as container:  # fmt: skip
        put_files(container, "/tmp", {"fake-mv": MV.lstrip()}, mode=0o755)
        container.start()
        assert container.wait()["StatusCode"] == 137, container.logs().decode()


def by_hand(old: OldWay) -> str:
    """The way back that docs/upgrade.md tells."""
    return old.in_volume("set -e; cd /volume; mv 15/docker/* .; rmdir 15/docker; rm -r 15; ls -A | wc -l")


def test_a_real_data_directory_survives_kills_at_any_step_and_the_way_back_by_hand(stopped: OldWay) -> None:
    before = stopped.listing()
    for steps in sorted(random.Random(15).sample(range(1, ENTRIES + 1), KILLS)):
        half_move(stopped, steps)
        seen = adoption.inspect_legacy_volume(stopped.client, spec(stopped).name, stopped.image, stopped.name)
        assert seen.journal == "15", steps
        said = adopt(stopped)
        assert said[0].endswith("undid a move that was interrupted")
        assert said[-1].endswith("PostgreSQL 15's data lies in 15/docker now")
        assert adopt(stopped) == []  # nothing is left to do
        moved = stopped.listing()
        assert {path.replace("./15/docker/", "./") for path in moved} == set(before)
        assert all(path.startswith("./15/docker/") for path in moved)
        by_hand(stopped)
        assert set(stopped.listing()) == set(before)


def test_previews_refuse_and_the_first_up_that_may_goes_through(make: Make, stopped: OldWay) -> None:
    stack: DockerStack = make("dev", image=PG15, adoptVolume="pgstack-test-nothing", baseline=[])
    assert "there is no volume pgstack-test-nothing to adopt" in stack.fails("preview", "dev")
    stack.configure(adoptVolume=stopped.name, image=PG17)
    said = stack.fails("preview", "dev")
    assert f"volume {stopped.name} holds data of PostgreSQL 15, {PG17} is PostgreSQL 17" in said
    assert "pgvector:image: pgvector/pgvector:0.8.6-pg15-bookworm" in said
    stack.configure(image=PG15, database="shop")
    assert f"volume {stopped.name} has no database shop; it has: postgres app" in stack.refused()
    half_move(stopped, 9)
    stack.configure(database="app")
    assert "an interrupted move is undone first; moves PostgreSQL 15's data" in stack.ok("preview", "dev")
    # a stack that doesn't adopt it, but has a volume of that name
    other = make("dev", image=PG15, containerName=stopped.name)
    assert f"volume {stopped.name} is half adopted: a move was interrupted" in other.fails("preview", "dev")

    # killed while it works, whatever it is doing just then: the next one goes on
    stack.configure(baseline=["init.sql", "integration_upgrade.sql", "install_pgvector.sql"])
    process = stack.start("up", "dev")
    deadline = time.monotonic() + 60
    while not stack.client.containers.list(all=True, ignore_removed=True, filters={"name": f"{stack.name}-throw-away"}):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(random.Random(4).uniform(0, 1.5))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert stack.left(process.pid, 10) == []
    said = stack.up()
    assert re.search(r"took over \d+ objects", said)
    assert stack.rows() == 1000
    assert stack.ask("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'kept'") == [("schema_owner",)]
    assert "is up: unchanged" in stack.up()
    remove_leftover_containers(stack.client, spec(stopped).name)


def test_data_that_was_not_shut_down_is_recovered_at_its_old_place_and_then_moves(old: Callable[..., OldWay]) -> None:
    killed = old(user="boss", database="app")
    killed.make("/var/lib/postgresql/data", PGDATA="/var/lib/postgresql/data/pgdata")
    killed.psql("CREATE TABLE public.kept AS SELECT generate_series(1, 1000) AS i")
    killed.kill()
    seen = adoption.inspect_legacy_volume(killed.client, spec(killed).name, killed.image, killed.name)
    assert adoption.describe_adoption(seen, killed.name, 15).endswith(
        "data, now in pgdata/, into 15/docker; it wasn't shut down: PostgreSQL 15 recovers it first"
    )
    adopt(killed)
    query = "echo 'SELECT count(*) FROM public.kept' | postgres --single -D /volume/15/docker app 2>/dev/null"
    assert 'count = "1000"' in killed.in_volume(query)

"""An HNSW index on the container as the product tunes it, against the same image as it comes, under the same limits.

Ours: settings, /dev/shm and command line of pgvector_stacks' docker/container_spec.py and sizing/budget.py, and for the
session that builds, the maintenance_work_mem that a script's connection gets. The peer: `docker run --memory --cpus`,
nothing else. Both hold the same rows, loaded once by COPY; the index is built again in turns, then asked in turns.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from statistics import mean
from typing import TYPE_CHECKING, Any

import psycopg
from docker.errors import DockerException
from docker.types import Mount, Ulimit
from psycopg import Connection

from bench.docker_bench import Engine, engine, free_port, removed
from bench.figures import Figure, Goal, NotMeasured, Samples, figure, interleave, spread, unmeasured
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.config.environment import from_config
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.docker import data_volume
from pgvector_stacks.docker.container_spec import PORT, ContainerSpec
from pgvector_stacks.sizing.budget import tune_for_container
from pgvector_stacks.sizing.settings import Limits

if TYPE_CHECKING:
    from bench.vectors import Vectors

LIMITS = Limits(2048, 2)
# An index misses some queries altogether: fewer of them, and one more or less decides whether two indexes are alike.
DIMENSIONS, QUERIES, NEIGHBOURS, EF_SEARCH = 384, 1000, 10, 40
BUILD_GOAL, SEARCH_GOAL = Goal(0.333), Goal(1.1)
RECALL_TOLERANCE = 0.02
PEER = "stock settings"
WAIT_S = 120.0
CHUNK = 1 << 20
STOCK_MB = 64  # maintenance_work_mem as PostgreSQL comes
INDEX = "CREATE INDEX item_hnsw ON item USING hnsw (embedding vector_cosine_ops) WITH (m = 16, ef_construction = 64)"
NEAREST = f"SELECT id FROM item ORDER BY embedding <=> %s::vector LIMIT {NEIGHBOURS}"
Report = Callable[[str, float | str], None]


@dataclass(frozen=True, slots=True)
class Side:
    """One container's server with the rows in it. `build_mb`: for the session that builds; 0: the server's own."""

    address: Address
    build_mb: int
    notices: list[str] = field(default_factory=list)
    """what the server said while it built"""

    def session(self) -> Connection[Any]:
        return connect(self.address, wait_s=WAIT_S, application="bench", own_path=True)

    def memory(self) -> str:
        """What the last build had, and when the graph outgrew it: then it goes on on disk, many times slower."""
        had = f"{self.build_mb or STOCK_MB} MB"
        outgrown = [words for notice in self.notices for words in re.findall(r"after \d+ tuples", notice)]
        return f"{had}, outgrown {outgrown[0]}" if outgrown else f"{had}, enough"

    def load(self, rows: bytes) -> None:
        with self.session() as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute(f"CREATE TABLE item (id int PRIMARY KEY, embedding vector({DIMENSIONS}))".encode())
            with connection.cursor().copy("COPY item (id, embedding) FROM STDIN (FORMAT binary)") as copy:
                for start in range(0, len(rows), CHUNK):
                    copy.write(rows[start : start + CHUNK])
            connection.execute("VACUUM (ANALYZE) item")

    def build(self) -> float:
        """Seconds of CREATE INDEX; the former one and a checkpoint's writes are out of the way before.

        Raises NotMeasured, as where the container's memory or /dev/shm doesn't suffice.
        """
        with _told(), self.session() as connection:
            connection.execute("DROP INDEX IF EXISTS item_hnsw")
            connection.execute("CHECKPOINT")
            if self.build_mb:
                connection.execute(f"SET maintenance_work_mem = '{self.build_mb}MB'".encode())
            self.notices.clear()
            connection.add_notice_handler(lambda notice: self.notices.append(notice.message_primary or ""))
            started = time.perf_counter()
            connection.execute(INDEX.encode())
            return time.perf_counter() - started

    @contextmanager
    def asking(self, *, exact: bool) -> Iterator[Callable[[str], list[int]]]:
        """A function from a query to the ids of its neighbours, by the index or without one."""
        with self.session() as connection:
            kind = "indexscan" if exact else "seqscan"
            connection.execute(f"SET enable_{kind} = off; SET hnsw.ef_search = {EF_SEARCH}".encode())
            yield lambda query: [row[0] for row in connection.execute(NEAREST.encode(), (query,)).fetchall()]

    def search(self, queries: Sequence[str]) -> float:
        """Seconds for all of them, one after the other on one connection; the pages are in memory by then.

        Raises NotMeasured.
        """
        with _told(), self.asking(exact=False) as ask:
            started = time.perf_counter()
            for query in queries:
                ask(query)
            return time.perf_counter() - started

    def answers(self, queries: Sequence[str], *, exact: bool) -> list[list[int]]:
        with self.asking(exact=exact) as ask:
            return [ask(query) for query in queries]


@contextmanager
def _told() -> Iterator[None]:
    """What the server says or a connection lacks, as NotMeasured."""
    try:
        yield
    except (psycopg.Error, PgstackError) as error:
        raise NotMeasured(" ".join(str(error).split())) from None


@contextmanager
def tuned(where: Engine) -> Iterator[Side]:
    """A server as the product runs it."""
    made = tune_for_container(LIMITS)
    address = _address("postgres")
    with removed(where.client, network=True) as name:
        spec = ContainerSpec(name, where.major, made.settings, LIMITS.memory_mb, LIMITS.cpus, made.shm_mb)
        where.client.volumes.create(name)
        data_volume.prepare_data(where.client, spec, where.image, name, address.password)
        data_volume.install_files(where.client, spec, where.image, name)
        files = from_config("dev", {}).open_files
        where.client.containers.run(
            where.image, spec.command, name=name, network=name, detach=True, user="postgres",
            environment=spec.environment,
            read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges"], tmpfs=spec.tmpfs,
            mounts=[Mount(VOLUME, name, type="volume")], ulimits=[Ulimit(name="nofile", soft=files, hard=files)],
            ports={f"{PORT}/tcp": (address.host, address.port)}, **spec.limits(),
        )  # fmt: skip
        yield Side(address, made.build_mb)


@contextmanager
def stock(where: Engine) -> Iterator[Side]:
    """`docker run --memory 2048m --cpus 2` with a volume: the image's settings, 64 MB of /dev/shm."""
    address = _address("postgres")
    with removed(where.client, network=True) as name:
        where.client.containers.run(
            where.image, name=name, network=name, detach=True, environment={"POSTGRES_PASSWORD": address.password},
            mounts=[Mount(where.old_data, name, type="volume")],
            ports={f"{PORT}/tcp": (address.host, address.port)},
            mem_limit=f"{LIMITS.memory_mb}m", nano_cpus=round(LIMITS.cpus * 1e9),
        )  # fmt: skip
        yield Side(address, 0)


def _address(user: str) -> Address:
    return Address("127.0.0.1", free_port(), "postgres", user, secrets.token_hex(16))


def recall(found: Sequence[Sequence[int]], exact: Sequence[Sequence[int]]) -> float:
    """The mean share of the exact neighbours that was found."""
    return mean(len(set(mine) & set(true)) / len(true) for mine, true in zip(found, exact, strict=True))


def judged(build: Figure, ours: float, peer: float) -> Figure:
    """A faster build doesn't count if recall is lower than the peer's."""
    said = f"recall@{NEIGHBOURS} at ef_search {EF_SEARCH}: ours {ours:.3f}, {PEER} {peer:.3f}"
    if ours >= peer - RECALL_TOLERANCE:
        return replace(build, note=f"{build.note}; {said}")
    return replace(build, note=f"{build.note}; {said}: more than {RECALL_TOLERANCE} less", verdict="missed")


def compare(where: Engine, vectors: Vectors, repeat: int, report: Report) -> Iterator[Figure]:
    """Build, then search; each in turns."""
    from bench.vectors import binary, text

    build, search = names(len(vectors.rows))
    rows, queries = binary(vectors.rows), [text(vector) for vector in vectors.queries]
    with tuned(where) as ours, stock(where) as peer:
        sides = {"ours": ours, PEER: peer}
        for side in sides.values():
            side.load(rows)
        built = interleave({name: side.build for name, side in sides.items()}, repeat, report)
        note = "; ".join(f"{name} {spread(built[name].values)} s ({side.memory()})" for name, side in sides.items())
        found = figure(build, PEER, built["ours"], built[PEER], BUILD_GOAL, note=note)
        if found.ratio is None:
            yield found
            yield unmeasured(search, PEER, SEARCH_GOAL, "one side has no index")
            return
        exact = ours.answers(queries, exact=True)
        recalls = [recall(side.answers(queries, exact=False), exact) for side in sides.values()]
        yield judged(found, *recalls)
        asked = interleave({name: partial(side.search, queries) for name, side in sides.items()}, repeat, report)
        per_query = {
            name: Samples(tuple(1000 * seconds / len(queries) for seconds in samples.values), samples.reason)
            for name, samples in asked.items()
        }
        note = f"ours {spread(per_query['ours'].values)} ms, {PEER} {spread(per_query[PEER].values)} ms a query"
        yield figure(search, PEER, per_query["ours"], per_query[PEER], SEARCH_GOAL, unit="ms", note=note)


def names(rows: int) -> tuple[str, str]:
    """Of the two figures."""
    return f"HNSW build, {rows:,} × {DIMENSIONS}", f"HNSW search, {rows:,} × {DIMENSIONS}"


def measure(rows: int, repeat: int, report: Report) -> Iterator[Figure]:
    """Never raises NotMeasured: the figures say it."""
    build, search = names(rows)
    try:
        if find_spec("numpy") is None:
            raise NotMeasured("numpy is not installed:  make .venv/ready-demo")
        from bench.vectors import draw

        with engine() as where:
            print(f"  {where.facts()}", flush=True)
            goals = {build: BUILD_GOAL, search: SEARCH_GOAL}
            try:
                for found in compare(where, draw(rows, DIMENSIONS, QUERIES), repeat, report):
                    del goals[found.name]
                    yield found
            except (PgstackError, DockerException, psycopg.Error, OSError) as error:
                for name, goal in goals.items():
                    yield figure(name, PEER, Samples(reason=str(error)), Samples(), goal)
    except NotMeasured as error:
        yield unmeasured(build, PEER, BUILD_GOAL, str(error))
        yield unmeasured(search, PEER, SEARCH_GOAL, str(error))

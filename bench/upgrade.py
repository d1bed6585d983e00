"""Downtime of an upgrade 16 → 18 by every method, as a client sees it that writes all the time: from its last
acknowledged row to its first on the new server. Against `dump`, and against pg_upgrade --copy by hand.

The embedded engine: the same steps as in a container, without the engine's own seconds. One data directory a size is
made and copied for each run. Each run ends with a count: no acknowledged row may be missing. `clone` needs a TMPDIR
on a file system with reflinks.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psycopg

from bench.figures import Figure, Goal, NotMeasured, Samples, figure, interleave, unmeasured
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config.environment import from_config
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.sizing.settings import derive_settings
from pgvector_stacks.toolbox import embedded_toolbox
from pgvector_stacks.toolbox.interface import connect_with_password, require_success
from pgvector_stacks.upgrade import facts, run
from pgvector_stacks.upgrade.decision import METHODS, Method, choose_method
from pgvector_stacks.upgrade.engines import embedded_upgrade
from pgvector_stacks.upgrade.engines.embedded_control import EmbeddedServerControl

OLD, NEW = 16, 18
PASSWORD = "bench"  # noqa: S105
DIMENSIONS = 384
# A row of vectors takes about 4 kB, half of it in the index. More than that many take too long to index; the rest is
# ballast, which is kind to `dump`.
BYTES_A_VECTOR, MOST_VECTORS, BYTES_A_ROW = 4000, 250_000, 8000
WITHIN_S, FLAT, LIKE_BARE, FAR_BELOW = 10.0, Goal(1.3), Goal(1.5), Goal(0.05)
BARE = "pg_upgrade --copy"
Report = Callable[[str, float | str], None]


@dataclass(frozen=True, slots=True)
class Cluster:
    """`root` as `.data/<stack>` is: a folder with a data directory a major."""

    root: Path
    settings: dict[str, str]

    def directory(self, major: int) -> embedded_server.Directory:
        return embedded_server.Directory(self.root / str(major), major)

    def address(self, port: int) -> Address:
        return Address(embedded_server.HOST, port, "app", embedded_server.ADMIN, PASSWORD)

    def stop(self) -> None:
        for major in (OLD, NEW):
            if self.directory(major).path.is_dir():
                embedded_server.stop(self.directory(major))


def fill(cluster: Cluster, size: int) -> None:
    """About `size` bytes: vectors with an HNSW index, and rows that don't compress."""
    from bench.vectors import binary, draw  # numpy comes with the demo

    old, vectors = cluster.directory(OLD), min(size // BYTES_A_VECTOR, MOST_VECTORS)
    embedded_server.initialise(old, PASSWORD)
    port = embedded_server.start(old, cluster.settings)
    try:
        with connect(replace(cluster.address(port), database="postgres"), own_path=True) as connection:
            connection.execute("CREATE DATABASE app")
        with connect(cluster.address(port), own_path=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute("CREATE TABLE written (i bigint PRIMARY KEY, at timestamptz DEFAULT now())")
            connection.execute(f"CREATE TABLE embedding (id int PRIMARY KEY, v vector({DIMENSIONS}) NOT NULL)")
            with connection.cursor().copy("COPY embedding (id, v) FROM STDIN (FORMAT binary)") as copy:
                copy.write(binary(draw(vectors, DIMENSIONS, 1).rows))
            connection.execute("SET maintenance_work_mem = '1GB'")
            connection.execute("CREATE INDEX ON embedding USING hnsw (v vector_l2_ops)")
            connection.execute("CREATE TABLE ballast (id bigint, content bytea)")
            connection.execute("ALTER TABLE ballast ALTER content SET STORAGE EXTERNAL")
            (made,) = connection.execute("SELECT pg_database_size('app')").fetchone() or (0,)
            rows = max(0, size - made) // BYTES_A_ROW
            connection.execute(
                f"INSERT INTO ballast SELECT i, decode(repeat(md5(i::text), {BYTES_A_ROW // 16}), 'hex')"
                f" FROM generate_series(1, {rows}) i".encode()
            )
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
    finally:
        embedded_server.stop(old)


class Writer:
    """Inserts a row at a time, each acknowledged, on a connection that it opens again and again."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.acknowledged: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def _write(self) -> None:
        number = 0
        connection: psycopg.Connection[object] | None = None
        while not self._stop.is_set():
            number += 1
            try:
                connection = connection or connect(self.address, own_path=True)
                connection.execute("INSERT INTO written (i) VALUES (%s)", (number,))
            except (PgstackError, psycopg.Error):
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.02)
                continue
            self.acknowledged.append((time.monotonic(), number))
            time.sleep(0.005)
        if connection is not None:
            connection.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(timeout=60)

    def wait_for(self, more: int) -> None:
        """Until so many rows more were acknowledged."""
        wanted, deadline = len(self.acknowledged) + more, time.monotonic() + 120
        while len(self.acknowledged) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)

    @property
    def longest_gap_s(self) -> float:
        times = [at for at, _ in self.acknowledged]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


def downtime(template: Path, settings: dict[str, str], method: Method | None) -> float:
    """Seconds; `method` None: by hand. Raises NotMeasured."""
    with tempfile.TemporaryDirectory(prefix="pgstack-bench-", dir=template.parent) as folder:
        cluster = Cluster(Path(folder), settings)
        old, new = cluster.directory(OLD), cluster.directory(NEW)
        _copied(template, old.path)
        port = embedded_server.start(old, settings)
        writer = Writer(cluster.address(port))
        try:
            with writer.writing():
                writer.wait_for(100)
                if method is None:
                    _by_hand(cluster)
                else:
                    _ours(cluster, port, method)
                embedded_server.include_settings(new.path)
                embedded_server.start(new, settings, port=port)
                writer.wait_for(20)
            with connect(writer.address, own_path=True) as connection:
                there = {row[0] for row in connection.execute("SELECT i FROM written").fetchall()}
        finally:
            cluster.stop()
    lost = [number for _, number in writer.acknowledged if number not in there]
    if lost:
        raise NotMeasured(f"{len(lost)} acknowledged rows are missing")
    return writer.longest_gap_s


def _copied(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)
    target.chmod(0o700)


def _ours(cluster: Cluster, port: int, method: Method) -> None:
    old, new = cluster.directory(OLD), cluster.directory(NEW)
    source = facts.query_source(replace(cluster.address(port), database="postgres"))
    with embedded_toolbox.open_toolbox(cluster.root) as toolbox:
        try:
            choice = choose_method(source, embedded_upgrade.measure_disk(cluster.root), method)
        except PgstackError as error:
            raise NotMeasured(str(error)) from None
        live = connect_with_password(
            toolbox,
            OLD,
            embedded_server.HOST,
            port,
            Address(embedded_server.HOST, port, "postgres", embedded_server.ADMIN, PASSWORD),
        )
        control = EmbeddedServerControl(old, new, cluster.settings, port)
        run.Upgrade(toolbox, control, source, NEW, choice, live, cluster.settings, lambda _: None).carry_out()


def _by_hand(cluster: Cluster) -> None:
    """What the manual says, and nothing else: initdb before the stop, then pg_upgrade --copy."""
    old, new = cluster.directory(OLD), cluster.directory(NEW)
    embedded_server.initialise(new, PASSWORD)
    with embedded_toolbox.open_toolbox(cluster.root) as toolbox:
        embedded_server.stop(old)
        trust = toolbox.put("trust.conf", "local all all trust\n")
        options = f"-c hba_file={trust}"
        command = (
            f'cd "{toolbox.sockets}" && exec pg_upgrade --copy'
            f' -b "{toolbox.bin_directory(OLD)}" -B "{toolbox.bin_directory(NEW)}"'
            f' -d "{old.path}" -D "{new.path}" -U {embedded_server.ADMIN} -j 2 -s "{toolbox.sockets}"'
            f' -o "{options}" -O "{options}"'
        )
        require_success("pg_upgrade", toolbox.run(NEW, "sh", "-c", command))


def measure(sizes_mb: Sequence[int], repeat: int, report: Report) -> Iterator[Figure]:
    """For each size each method, and what the figures are held against."""
    if find_spec("numpy") is None:
        yield unmeasured("downtime of an upgrade", "dump", Goal(None), "numpy is not installed:  make .venv/ready-demo")
        return
    settings = derive_settings(from_config("local", {}).limits)
    found: dict[tuple[int, str], Samples] = {}
    methods: dict[str, Method | None] = {name: name for name in METHODS} | {BARE: None}
    for size in sizes_mb:
        with tempfile.TemporaryDirectory(prefix="pgstack-bench-upgrade-") as folder:
            template = Cluster(Path(folder) / "template", settings)
            fill(template, size * 10**6)
            data = template.directory(OLD).path
            acts = {name: partial(downtime, data, settings, method) for name, method in methods.items()}
            dumps = {"dump": acts.pop("dump")}  # once: it takes minutes
            for turns, sides in ((repeat, acts), (1, dumps)):
                for name, samples in interleave(sides, turns, partial(_say, report, size)).items():
                    found[size, name] = samples
        standby, dump, copy = found[size, "standby"], found[size, "dump"], found[size, "copy"]
        fast = Goal(None if standby.middle is None or standby.middle < WITHIN_S else 0.0)
        yield figure(f"downtime, standby, {size} MB, {WITHIN_S:.0f} s at most", "dump", standby, dump, fast)
        if size >= 1000:
            yield figure(f"downtime, standby, {size} MB", "dump", standby, dump, FAR_BELOW)
        yield figure(f"downtime, copy, {size} MB", BARE, copy, found[size, BARE], LIKE_BARE)
        for name in ("link", "clone"):
            yield figure(f"downtime, {name}, {size} MB", BARE, found[size, name], found[size, BARE], Goal(None))
    if len(sizes_mb) > 1:
        smallest, largest = sizes_mb[0], sizes_mb[-1]
        name = f"downtime, standby, {largest} MB"
        yield figure(name, f"{smallest} MB", found[largest, "standby"], found[smallest, "standby"], FLAT)


def _say(report: Report, size: int, name: str, value: float | str) -> None:
    report(f"{name}, {size} MB", value)

"""The stack `dev` as a whole: `up` from nothing against `docker run`, and a preview that changes nothing.

Pulumi has a floor: what the same four Docker resources and an empty dynamic resource cost in a plain program. It is
measured in the same turns. Ours may take 1.5 times `docker run`, waiting and psql, and the floor besides.

Copies of this checkout in a temporary directory, each with its own state, container name and port; modules are
compiled before anything is timed. What stays on the engine is removed by its name after each run, untimed.
"""

from __future__ import annotations

import compileall
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import checkout, plain_docker
from bench.checkout import Checkout, inherited, seconds_of_no_op
from bench.contenders import ROOT, Run, timed
from bench.docker_bench import Engine, Pulumi, engine, free_port, pulumi, removed
from bench.figures import Figure, Goal, NotMeasured, Samples, differences, figure, interleave, spread, unmeasured
from pgvector_stacks.common.errors import ConnectionFailed, ServerError
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, SQL, from_config
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.docker.container_spec import TMPFS
from pgvector_stacks.embedded import embedded_server

STACK = "dev"
UP_GOAL, PREVIEW_GOAL = Goal(1.5), Goal(1.25)
UP, FLOOR, PREVIEW = "up of dev less the floor", "up of dev, the floor as peer", "no-op preview of dev"
BY_HAND, PLAIN = "docker run", "plain program"
WAIT_S = 120.0
Report = Callable[[str, float | str], None]


@dataclass(frozen=True, slots=True)
class Setup:
    """Where it all happens: the engine, Pulumi, and a copy of this checkout that was never brought up."""

    engine: Engine
    pulumi: Pulumi
    root: Path
    template: Checkout

    def fresh(self, name: str) -> Checkout:
        """A copy of the copy, with a container name and port of its own; its compiled modules come along."""
        root = self.root / name
        shutil.copytree(self.template.root, root)
        found = Checkout(root, STACK, self.pulumi.variables)
        found.configure({"containerName": name, "port": free_port()})
        return found

    def plain(self, name: str) -> Plain:
        folder = self.root / f"{name}-plain"
        folder.mkdir()
        (folder / "Pulumi.yaml").write_text(plain_docker.PROJECT)
        return Plain(folder, self.pulumi, shape(self.engine, name, free_port()))


@dataclass(frozen=True, slots=True)
class Plain:
    """The plain program in a folder and backend of its own, run by the same Automation API."""

    folder: Path
    pulumi: Pulumi
    shape: plain_docker.Shape

    def run(self, verb: str) -> Run:
        environment = inherited() | self.pulumi.variables
        path = [*map(str, self.pulumi.toolchain.path_dirs), environment.get("PATH", "")]
        environment |= {
            "PATH": ":".join(path),
            "PYTHONPATH": str(ROOT),
            "PULUMI_PYTHON_CMD": sys.executable,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_BACKEND_URL": f"file://{self.folder}",
            "PULUMI_CONFIG_PASSPHRASE": "",
        }
        command = [sys.executable, "-m", "bench.worker", "plain", verb, json.dumps(self.shape.as_json())]
        return timed(command, environment, self.folder)

    def up(self) -> float:
        return self.run("up").seconds

    def preview(self) -> float:
        return seconds_of_no_op(self.run("preview"))


def shape(engine: Engine, name: str, port: int) -> plain_docker.Shape:
    """What `dev` has, for the image's own entrypoint."""
    dev = from_config(STACK, {})
    settings = (word for setting in dev.tuned.settings.items() for word in ("-c", "=".join(setting)))
    return plain_docker.Shape(
        name=name, image=engine.image, port=port, data=engine.old_data, command=("postgres", *settings), tmpfs=TMPFS,
        memory_mb=dev.memory_mb, cpus=f"{dev.cpus:.1f}", shm_mb=dev.tuned.shm_mb, open_files=dev.open_files,
    )  # fmt: skip


@contextmanager
def setup() -> Iterator[Setup]:
    """Raises NotMeasured."""
    with (
        engine() as found,
        tempfile.TemporaryDirectory(prefix="pgstack-bench-", ignore_cleanup_errors=True) as directory,
    ):
        root = Path(directory)
        program = pulumi(root / "home")
        for fact in (found.facts(), program.note):
            print(f"  {fact}", flush=True)
        template = checkout.copy(root / "template", STACK)
        compileall.compile_dir(template.root, quiet=2)
        yield Setup(found, program, root, template)


def ours(where: Setup) -> float:
    """`pgstack up dev` from nothing, process start to end."""
    with removed(where.engine.client) as name:
        copied = where.fresh(name)
        try:
            return copied.pgstack("up", STACK).seconds
        finally:
            shutil.rmtree(copied.root, ignore_errors=True)


def floor(where: Setup) -> float:
    """The plain program from nothing, process start to end."""
    with removed(where.engine.client) as name:
        return where.plain(name).up()


def by_hand(where: Setup) -> float:
    """`docker run` with dev's limits and a volume, wait until it answers over TCP, psql of the same three scripts."""
    dev = from_config(STACK, {})
    address = Address("127.0.0.1", free_port(), dev.database, "postgres", secrets.token_hex(16))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"PGPASSWORD": address.password, "POSTGRES_PASSWORD": address.password}
    try:
        psql: list[str | Path] = [
            embedded_server.find_bin_directory(embedded_server.VERSIONS[-1]) / "psql",
            "-X",
            "-q",
            "-1",
        ]
    except ServerError as error:
        raise NotMeasured(str(error)) from None
    psql += ["-v", "ON_ERROR_STOP=1", *(word for script in DEFAULT_SCRIPTS for word in ("-f", SQL / script))]
    psql += [f"postgresql://{address.user}@{address.host}:{address.port}/{address.database}"]
    with removed(where.engine.client, network=True) as name:
        run = [
            "docker",
            "run",
            "--detach",
            "--name",
            name,
            "--network",
            name,
            "--memory",
            f"{dev.memory_mb}m",
            "--cpus",
            f"{dev.cpus:g}",
        ]
        run += ["--env", "POSTGRES_PASSWORD", "--env", f"POSTGRES_DB={dev.database}"]
        run += ["--volume", f"{name}:{where.engine.old_data}", "--publish", f"{address.host}:{address.port}:5432"]
        started = time.perf_counter()
        timed([*run, where.engine.image], environment)
        try:
            connect(address, wait_s=WAIT_S).close()
        except ConnectionFailed as error:
            raise NotMeasured(str(error)) from None
        timed(psql, environment)
        return time.perf_counter() - started


def up(where: Setup, repeat: int, report: Report) -> list[Figure]:
    """Ours, `docker run` and the floor in turns."""
    contenders = {"ours": ours, BY_HAND: by_hand, PLAIN: floor}
    found = interleave({name: partial(run, where) for name, run in contenders.items()}, repeat, report)
    whole, hand, plain = (found[name] for name in contenders)
    shown = f"ours {spread(whole.values)} s with the floor, {PLAIN} {spread(plain.values)} s (the floor)"
    note = f"{shown}; {BY_HAND}, wait and psql {spread(hand.values)} s"
    return [
        figure(UP, BY_HAND, differences(whole, plain), hand, UP_GOAL, note=note),
        figure(FLOOR, PLAIN, whole, plain, Goal(None), note=shown),
    ]


def preview(where: Setup, repeat: int, report: Report) -> Figure:
    """Both brought up once and previewed in turns."""
    client = where.engine.client
    with removed(client) as name, removed(client) as plain_name:
        copied, plain = where.fresh(name), where.plain(plain_name)
        try:
            copied.pgstack("up", STACK)
            plain.up()
            for each in (copied, plain):
                each.preview()
            found = interleave({"ours": copied.preview, PLAIN: plain.preview}, repeat, report)
        except NotMeasured as error:
            return figure(PREVIEW, PLAIN, Samples(reason=str(error)), Samples(), PREVIEW_GOAL)
    mine, theirs = found["ours"], found[PLAIN]
    note = f"ours {spread(mine.values)} s; {PLAIN} {spread(theirs.values)} s; processes in turns, without their imports"
    return figure(PREVIEW, PLAIN, mine, theirs, PREVIEW_GOAL, note=note)


def measure(names: Sequence[str], repeat: int, report: Report) -> Iterator[Figure]:
    """The figures that are named: docker-up, docker-preview. Never raises NotMeasured: the figures say it."""
    try:
        with setup() as where:
            if "docker-up" in names:
                yield from up(where, repeat, report)
            if "docker-preview" in names:
                yield preview(where, repeat, report)
    except NotMeasured as error:
        if "docker-up" in names:
            yield unmeasured(UP, BY_HAND, UP_GOAL, str(error))
        if "docker-preview" in names:
            yield unmeasured(PREVIEW, PLAIN, PREVIEW_GOAL, str(error))

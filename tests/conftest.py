"""What tests share: a real PostgreSQL for each worker, and a fresh database a test, copied from a template.

The template has the default scripts applied and is made once a session; a copy takes some 30 ms. Everything is
stopped and removed at the end, also after a failure. Set PGSTACK_KEEP=1 to keep a test's database and see its URL.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString

import pytest
from psycopg import Connection, sql

from pgvector_stacks.automation.toolchain import Toolchain, find_or_get
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, SQL
from pgvector_stacks.connections import role_limits, roles
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.migrations import apply
from pgvector_stacks.migrations.scripts.script_files import Script, load, load_verify, parse
from pgvector_stacks.sizing.settings import Limits, derive_settings
from pgvector_stacks.toolbox import embedded_toolbox
from pgvector_stacks.toolbox.embedded_toolbox import EmbeddedToolbox
from pgvector_stacks.toolbox.interface import ServerConnection as Reached
from pgvector_stacks.toolbox.interface import passfile_line
from tests.docker_plugin import install
from tests.engine.checkout import Checkout, copy_of_the_program, stop_servers

# Half of what `local` has, so that two workers and a deployment fit into a small runner.
LIMITS = Limits(memory_mb=512, cpus=2)
ROLE_LIMITS = role_limits.derive_role_limits(100, 1024)  # those of `local`
TEMPLATE = "template_app"
COUNTER = itertools.count(1)
SAMPLE = "PGSTACK_SAMPLE"
os.environ.setdefault(SAMPLE, str(random.SystemRandom().randrange(10**6)))  # xdist's workers have it from here


@dataclass(frozen=True)
class Server:
    """A running server of this test session."""

    directory: embedded_server.Directory
    port: int
    password: str
    settings: dict[str, str]

    def admin(self, database: str) -> Address:
        return Address(embedded_server.HOST, self.port, database, embedded_server.ADMIN, self.password)


@dataclass(frozen=True)
class FreshDatabase:
    """A database of one test, with the default scripts applied."""

    server: Server
    admin: Address
    app_password: str

    @property
    def app_url(self) -> str:
        return replace(self.admin, user=roles.APP, password=self.app_password).url

    def as_role(self, role: str) -> Address:
        return replace(self.admin, user=role, password=self.app_password)

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with connect(self.admin, application="test", own_path=True) as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def do(self, statement: str) -> None:
        with connect(self.admin, application="test", own_path=True) as connection:
            connection.execute(statement.encode())

    def names(self) -> list[str]:
        """The names in the ledger, in order."""
        return [row[0] for row in self.ask("SELECT name FROM pgstack.ledger ORDER BY position")]

    def request(self, *more: Script, scripts: tuple[Script, ...] | None = None, **options: Any) -> apply.Request:
        """The default scripts and `more` behind them."""
        listed = (default_scripts() if scripts is None else scripts) + more
        given: dict[str, Any] = {"lock_wait_s": 5.0, "limits": ROLE_LIMITS} | options
        return apply.Request(stack="test", scripts=listed, **given)

    def apply(self, *more: Script, **options: Any) -> apply.Outcome:
        return apply.apply(self.admin, self.request(*more, **options))

    def bring_up(self, **options: Any) -> None:
        """`apply`, as a stack's `up` does it: `app` and `readonly` get their password."""
        self.apply(**{"app_password": self.app_password, "readonly_password": self.app_password} | options)

    @contextmanager
    def programs(self, root: Path) -> Iterator[tuple[EmbeddedToolbox, Reached]]:
        """pg_dump and the others beside the server, in the folder `root`, and how they reach it."""
        root.mkdir(exist_ok=True)
        with embedded_toolbox.open_toolbox(root) as toolbox:
            passfile = toolbox.put("passfile", passfile_line(self.server.password))
            yield toolbox, Reached(18, embedded_server.HOST, self.server.port, passfile=passfile)


def default_scripts() -> tuple[Script, ...]:
    return load(SQL, DEFAULT_SCRIPTS, listed_elsewhere=["*.sql"])


def script(text: str, name: str = "0004_test.sql") -> Script:
    """A script that isn't on disk."""
    return parse(name, text, "0" * 64)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run whole stacks on Docker first: some take minutes, and none of these must begin when all others are done.

    xdist gives each worker an equal part of the list to begin with, so their modules are dealt out to all parts.
    """
    if "PGSTACK_EXAMPLES" not in os.environ and not any("::" in argument for argument in config.args):
        left_out = outside_of_the_sample(items, os.environ[SAMPLE])
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]
    items[:] = order_slow_first(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def order_slow_first(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """The same items in `workers` equal parts, each with its share of the modules on Docker at its head."""
    slow = [item for item in items if "docker" in item.path.parent.name]
    others = iter([item for item in items if "docker" not in item.path.parent.name])
    modules = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in slow))}
    ordered: list[pytest.Item] = []
    for part in range(workers):
        ordered += [item for item in slow if modules[item.path] % workers == part]
        ordered += itertools.islice(others, max(0, (part + 1) * len(items) // workers - len(ordered)))
    return ordered


def outside_of_the_sample(items: Sequence[pytest.Item], seed: str) -> set[pytest.Item]:
    """Two thirds of the examples of each test marked `sample`; each has a chance in every run."""
    examples: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sample"):
            examples.setdefault(item.nodeid.partition("[")[0], []).append(item)
    return {
        item
        for name, found in examples.items()
        for item in random.Random(f"{seed} {name}").sample(found, len(found) * 2 // 3)
    }


def pytest_report_header() -> list[str]:
    return [install.choice(), f"sample of long matrices: {SAMPLE}={os.environ[SAMPLE]}; all: PGSTACK_EXAMPLES=4"]


@pytest.fixture(scope="session")
def client_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the clients of docs/clients.md are installed, once."""
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="session")
def docker_plugin(tmp_path_factory: pytest.TempPathFactory) -> install.Installed:
    """The pulumi-docker plugin that a test's Pulumi runs: its environment needs `docker_plugin.variables()`."""
    pulumi = find_or_get(lambda _: None).pulumi
    return install.ensure(tmp_path_factory.mktemp("pulumi home"), pulumi=pulumi)


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    return find_or_get(lambda _: None)


@pytest.fixture
def checkout(tmp_path: Path, toolchain: Toolchain) -> Iterator[Checkout]:
    """Below a folder only its owner may enter, with a space in its path."""
    assert toolchain.pulumi.exists()
    mine = copy_of_the_program(tmp_path / "check out")
    try:
        yield mine
    finally:
        stop_servers(mine.root)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="pgstack test ") as folder:
        directory = embedded_server.Directory(Path(folder) / "18", 18)
        password = secrets.token_urlsafe(12)
        settings = derive_settings(LIMITS)
        embedded_server.initialise(directory, password)
        port = embedded_server.start(directory, settings)
        try:
            yield Server(directory, port, password, settings)
        finally:
            embedded_server.stop(directory)


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    bring_up_template(server)
    return TEMPLATE


def bring_up_template(server: Server) -> None:
    """Also what a test puts right with that took something from a role of the server."""
    request = apply.Request(
        stack="test",
        scripts=default_scripts(),
        verify=load_verify(SQL),
        app_password=server.password,
        readonly_password=server.password,
        limits=ROLE_LIMITS,
    )
    apply.apply(server.admin(TEMPLATE), request)


@pytest.fixture
def fresh_database(server: Server, template: str) -> Iterator[FreshDatabase]:
    with _database(server, template) as database:
        yield database


@pytest.fixture
def empty_database(server: Server, template: str) -> Iterator[FreshDatabase]:
    """Roles exist, the database has nothing in it."""
    with _database(server, "template0") as database:
        yield database


class _database:
    """A context manager that makes a database from a template and drops it again."""

    def __init__(self, server: Server, template: str) -> None:
        self.server, self.template = server, template
        self.name = f"test_{os.getpid()}_{next(COUNTER)}"

    def __enter__(self) -> FreshDatabase:
        with self._connect() as connection:  # one for all: a login takes ten times as long as one of these
            # FILE_COPY takes 10 ms of a processor, the default 80
            _execute(connection, "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", self.name, self.template)
            # CREATE DATABASE doesn't copy what is set for the database
            _execute(connection, "ALTER DATABASE {} SET search_path = app, public", self.name)
            _execute(connection, "ALTER DATABASE {} OWNER TO {}", self.name, roles.OWNER)
            roles.ensure_database_rights(connection, self.name)
        return FreshDatabase(self.server, self.server.admin(self.name), self.server.password)

    def __exit__(self, *_: object) -> None:
        if os.environ.get("PGSTACK_KEEP"):
            print(f"kept: psql {self.server.admin(self.name).url}")  # noqa: T201
            return
        with self._connect() as connection:
            _execute(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)

    def _connect(self) -> Connection[Any]:
        return connect(self.server.admin("postgres"), wait_s=10, application="test")


def _execute(connection: Connection[Any], statement: LiteralString, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))

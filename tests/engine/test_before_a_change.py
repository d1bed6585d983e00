"""A change of the server hides nothing: what can't go on is refused before the server is touched, in preview and `up`.

Every key that changes the embedded server × every refusal, on one stack; a seeded sample of the pairs, all of them with
PGSTACK_EXAMPLES set.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import psycopg
import pytest

from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.embedded import embedded_server
from tests.engine.checkout import Checkout

pytestmark = pytest.mark.engine
SEED = int(os.environ.get("PGSTACK_SEED") or random.SystemRandom().randrange(10**6))
LATER = "0004_later.sql"


@contextmanager
def edited(stack: Checkout) -> Iterator[str]:
    path = stack.root / "sql" / LATER
    before = path.read_text()
    path.write_text(before.replace("int", "bigint"))
    yield f"sql/{LATER} was changed after it ran in local"
    path.write_text(before)


@contextmanager
def removed(stack: Checkout) -> Iterator[str]:
    listed = list(stack.configured("scripts"))  # type: ignore[call-overload]
    stack.configure(scripts=listed[:-1])
    (stack.root / "sql" / LATER).rename(stack.root / "later.sql")
    yield f"sql/{LATER} ran in local"
    (stack.root / "later.sql").rename(stack.root / "sql" / LATER)
    stack.configure(scripts=listed)


@contextmanager
def reordered(stack: Checkout) -> Iterator[str]:
    listed = list(stack.configured("scripts"))  # type: ignore[call-overload]
    stack.configure(scripts=[*listed[:-2], listed[-1], listed[-2]])
    yield "the order changed: in local"
    stack.configure(scripts=listed)


@contextmanager
def drifted(stack: Checkout) -> Iterator[str]:
    stack.do("CREATE INDEX by_hand ON app.tenant (name)")
    stack.configure(drift="refuse")
    yield "by_hand was added"
    stack.configure(drift="report")
    stack.do("DROP INDEX app.by_hand")


Refusal = Callable[[Checkout], AbstractContextManager[str]]
REFUSALS: tuple[Refusal, ...] = (edited, removed, reordered, drifted)
FREE_PORT = "a free port"
# all that change the embedded server; another major is refused or announced by the upgrade's own check, and to another
# database none of the refusals applies
KEYS: tuple[tuple[str, object], ...] = (
    ("memoryMb", 640), ("cpus", 1), ("port", FREE_PORT), ("durability", "none"), ("adminPassword", "another one"),
    ("upgradeMethod", "dump"), ("backupDirectory", "elsewhere"),
)  # fmt: skip


def pairs() -> list[tuple[tuple[str, object], Refusal]]:
    found = list(itertools.product(KEYS, REFUSALS))
    if os.environ.get("PGSTACK_EXAMPLES"):
        return found
    return [(KEYS[0], edited), (KEYS[1], drifted), random.Random(SEED).choice(found)]


@contextmanager
def changed(stack: Checkout, key: str, value: object) -> Iterator[None]:
    before = (stack.root / "stacks" / "Pulumi.local.yaml").read_text()
    if key.endswith("Password"):
        stack.secret(key, str(value))
    else:
        stack.configure(**{key: _free_port() if value == FREE_PORT else value})
    yield
    file = stack.root / "stacks" / "Pulumi.local.yaml"
    file.write_text(before)


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.promise("Whatever changes the server, what can't go on is refused before the server is touched")
def test_whatever_changes_the_server_what_can_not_go_on_is_refused_before(deployed: Checkout) -> None:
    print(f"seed {SEED}: repeat with PGSTACK_SEED={SEED}")  # noqa: T201
    deployed.add_script("create table app.later (id int)", LATER)
    deployed.ok("up")
    with psycopg.connect(deployed.outputs()["appUrl"], autocommit=True) as client:
        started = client.execute("SELECT pg_postmaster_start_time()").fetchone()
        for (key, value), refusal in pairs():
            with changed(deployed, key, value), refusal(deployed) as words:
                for command in ("preview", "up"):
                    said = deployed.fails(command)
                    assert words in said, (key, refusal.__name__, command)
        # the very connection of before: no client was cut
        assert client.execute("SELECT pg_postmaster_start_time()").fetchone() == started
    assert "8 unchanged" in deployed.ok("preview", "--expect-no-changes")


def test_a_preview_beside_a_change_of_the_server_names_scripts_drift_and_what_goes_with_a_database(
    deployed: Checkout,
) -> None:
    deployed.add_script("create table app.later (id int)", LATER)
    deployed.do("CREATE INDEX by_hand ON app.tenant (name)")
    deployed.configure(memoryMb=640)
    said = deployed.ok("preview")
    assert f"to run: sql/{LATER} (new)" in said
    assert "drift: index app.tenant.by_hand was added" in said
    assert "to run: sql/init.sql" not in said

    deployed.configure(database="shop")
    said = deployed.ok("preview")
    assert "another database: shop takes the place of app, which stays" in said
    assert "there is no database shop yet: `up` makes it, empty, and runs every script" in said
    assert "to run: sql/init.sql (new)" in said

    deployed.configure(database=None)
    _drop_the_database(deployed.admin())
    said = deployed.ok("preview")
    assert "the database app is gone: `up` makes a new and empty one and runs every script" in said
    assert "to run: sql/init.sql (new)" in said
    assert f"to run: sql/{LATER} (new)" in said
    deployed.ok("up")
    assert deployed.ask("SELECT count(*) FROM pgstack.ledger") == [(4,)]
    assert "unchanged" in deployed.ok("up")

    deployed.do("DROP EXTENSION vector CASCADE")
    assert "`up` fixes: extension vector is gone: it is made again, and not what went with it" in deployed.ok("preview")
    said = deployed.run("up").stdout
    assert deployed.ask("SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == [(1,)], said

    deployed.configure(memoryMb=704)
    embedded_server.stop(deployed.directory)
    said = deployed.ok("preview")
    assert "the ledger could not be compared: can't connect to 127.0.0.1:" in said
    assert "what may not run is refused then" in said


def _drop_the_database(admin: Address) -> None:
    with connect(replace(admin, database="postgres"), application="test", own_path=True) as connection:
        connection.execute("DROP DATABASE app WITH (FORCE)")


@pytest.mark.promise("After a first `up` that failed every command works from the state")
@pytest.mark.parametrize("text", ["SELECT 1/0"])
def test_after_a_first_up_that_failed_every_command_works_from_the_state(checkout: Checkout, text: str) -> None:
    checkout.add_script(text, LATER)
    assert "division by zero" in checkout.fails("up")
    said = checkout.fails("status", code=2)
    assert "no `up` of local came to its end yet" in said
    assert f"pending  sql/{LATER}" in said
    assert "division by zero" in said
    assert "its first `up` did not" in checkout.fails("doctor")
    for command in (("verify",), ("test-connection",)):
        assert "is not up" not in checkout.run(*command).stdout
    assert checkout.ask("SELECT count(*) FROM pgstack.event")[0][0] > 0
    checkout.ok("backup", "create", "local")
    (checkout.root / "sql" / LATER).write_text("SELECT 1")
    assert "local is up" in checkout.ok("up")

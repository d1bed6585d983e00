"""Text indexes after a change of the C library (2.36 → 2.41), on request rebuilt only once the server serves.

What waits is found again after a kill, and what can't be sorted is named.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pgvector_stacks.connections.connection import Address, connect
from tests.docker.conftest import PG15, PG17, DockerStack, Make
from tests.docker.watched import Up

pytestmark = [pytest.mark.engine, pytest.mark.docker]
SORTED = """
CREATE TABLE words (id int, word text, EXCLUDE (word WITH =));
INSERT INTO words SELECT i, md5(i::text) FROM generate_series(1, 400000) AS i;
CREATE INDEX by_word ON words (lower(word));
CREATE UNIQUE INDEX once ON words (word, id);
CREATE INDEX no_text ON words (id);
CREATE INDEX plain ON words (word COLLATE "C");
"""
STALE = "SELECT count(*) FROM pg_database WHERE datcollversion <> pg_database_collation_actual_version(oid)"
INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


def there(stack: DockerStack) -> Address:
    return replace(stack.admin(), database="sorted")


def ask(stack: DockerStack, query: str) -> Any:
    with connect(there(stack), wait_s=60, application="test", own_path=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall()[0][0] if cursor.description else None


def kill_while_it_sorts(stack: DockerStack) -> None:
    """An open transaction keeps it from ending; the tables are large enough for it to come in time."""
    up = Up(stack)
    assert up.until("DataDirectory data updated", timeout_s=300)
    with connect(there(stack), wait_s=120, application="test", autocommit=False, own_path=True) as holds:
        holds.execute("INSERT INTO words VALUES (0, 'held')")
        deadline = time.monotonic() + 120
        asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'REINDEX INDEX%' AND state = 'active'"
        while not ask(stack, asked):
            assert time.monotonic() < deadline, up.said
            assert up.process.poll() is None, up.said
            time.sleep(0.1)
        assert up.kill("pulumi.dynamic")
        up.end()
        holds.rollback()


def test_what_waits_is_told_found_after_a_kill_and_sorted_while_the_server_serves(
    make: Make, image: Callable[[str], str]
) -> None:
    image(PG17)
    stack = make("dev", image=PG15, upgradeReindex="after", upgradeBackup=False)
    stack.up()
    stack.do("CREATE DATABASE sorted LOCALE 'en_US.utf8' TEMPLATE template0")
    ask(stack, SORTED)
    stack.configure(image=PG17)
    expected = (
        r"rebuilds 3 text indexes \(\d+ MB\) once the server serves \(C library 2\.36 → 2\.41\): "
        r"sorted: public\.\w+ \d+ MB, sorted: public\.\w+ \d+ MB, sorted: public\.\w+ \d+ MB"
    )
    for said in (stack.ok("preview", "dev"), stack.ok("upgrade", "check", "dev", PG17)):
        assert re.search(expected, said), said
        assert "may miss rows, and unique ones (2) may let duplicates in" in said
    said = stack.ok("upgrade", "check", "dev", "17")  # an image nobody named
    assert re.search(r"rebuilds 3 text indexes \(\d+ MB\) if PostgreSQL 17 has another version of the C library", said)

    kill_while_it_sorts(stack)
    assert ask(stack, STALE) == 1
    said = stack.up()
    assert ask(stack, STALE) == 0
    assert ask(stack, INVALID) == 0
    assert "is up: unchanged" in stack.up()
    assert "nothing waits" in stack.ok("upgrade", "reindex", "dev")

    # duplicates that got in, and what an ended run left
    ask(
        stack,
        "CREATE TABLE twice (word text); INSERT INTO twice VALUES ('a'), ('a'); CREATE INDEX single ON twice (word)",
    )
    ask(stack, "UPDATE pg_index SET indisunique = true WHERE indexrelid = 'single'::regclass")
    ask(stack, "CREATE INDEX single_ccnew ON twice (word)")
    ask(stack, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'single_ccnew'::regclass")
    ask(stack, "UPDATE pg_database SET datcollversion = '2.36' WHERE datname = 'sorted'")
    said = stack.fails("upgrade", "reindex", "dev")
    assert "1 indexes can't be rebuilt" in said
    assert "sorted: public.single: could not create unique index" in said
    assert "remove the duplicates, then pgstack upgrade reindex dev" in said
    assert (ask(stack, STALE), ask(stack, INVALID)) == (1, 0)
    ask(stack, "DELETE FROM twice WHERE ctid = '(0,1)'")
    assert "4 indexes rebuilt" in stack.ok("upgrade", "reindex", "dev")
    assert (ask(stack, STALE), ask(stack, INVALID)) == (0, 0)

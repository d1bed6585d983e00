"""`pgstack upgrade verify` in Docker: every row of 17 against a copy of the kept 15, started by its own image."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

from tests.docker.conftest import PG15, PG17, DockerStack, Make
from tests.docker.test_upgrade import pytestmark as pytestmark

CONTENT = """
CREATE TABLE public.vectors AS
    SELECT i, ARRAY[sin(i), cos(i), i / 7.0]::vector(3) AS v, 'wörd ' || i AS word, now() AS at, i / 3.0::float8 AS f,
           jsonb_build_object('i', i) AS doc, sha256(i::text::bytea) AS raw, interval '1 day' * i AS long
      FROM generate_series(1, 5000) AS i;
CREATE INDEX ON public.vectors USING hnsw (v vector_l2_ops);
CREATE TABLE public.parts (i int, t text) PARTITION BY HASH (t);
CREATE TABLE public.parts_0 PARTITION OF public.parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE public.parts_1 PARTITION OF public.parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO public.parts SELECT i, 'part ' || i FROM generate_series(1, 100) AS i;
CREATE SEQUENCE public.numbers;
SELECT nextval('public.numbers');
SELECT lo_from_bytea(0, 'an object');
"""


def in_15(stack: DockerStack) -> list[str]:
    return stack.in_a_throw_away("ls /v/15").split()


def end_while_it_copies(stack: DockerStack, how: signal.Signals) -> str:
    """What it said."""
    process = stack.start("upgrade", "verify", "dev")
    deadline = time.monotonic() + 120
    while "verify" not in in_15(stack):
        assert process.poll() is None
        assert time.monotonic() < deadline
    os.kill(process.pid, how)
    said, _ = process.communicate(timeout=60)
    deadline = time.monotonic() + 120
    while "verify" in in_15(stack) or stack.of_role("throw-away"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return said


def test_every_row_is_compared_on_a_copy_that_goes_in_any_case(make: Make, image: Callable[[str], str]) -> None:
    image(PG17)
    stack = make("dev", image=PG15, upgradeBackup=False)
    stack.up()
    stack.do(CONTENT)
    there = in_15(stack)
    assert "there is nothing to compare with: " in stack.fails("upgrade", "verify", "dev")
    stack.configure(image=PG17)
    stack.up()
    said = stack.ok("upgrade", "verify", "dev")
    assert re.search(r"equal: \d+ tables, \d+ rows", said), said
    assert in_15(stack) == there

    stack.do("UPDATE public.vectors SET word = 'other' WHERE i = 7; INSERT INTO public.parts VALUES (0, 'new')")
    said = stack.fails("upgrade", "verify", "dev", code=2)
    one, none = "1 of the kept ones are not there as they were", "0 of the kept ones are not there as they were"
    assert f"app: table public.vectors: 5000 rows kept, 5000 now; {one}, 1 are new or changed" in said
    assert re.search(rf"app: table public\.parts_\d: \d+ rows kept, \d+ now; {none}, 1 are new or changed", said), said
    assert "2 differences in" in said
    assert "what was written since the upgrade" in said
    end_while_it_copies(stack, signal.SIGKILL)
    assert "Traceback" not in end_while_it_copies(stack, signal.SIGINT)
    wrong = stack.fails("upgrade", "verify", "dev", "--image", PG17)
    assert "what is kept is PostgreSQL 15" in wrong
    assert "nowhere:pg15 isn't on the engine" in stack.fails("upgrade", "verify", "dev", "--image", "nowhere:pg15")
    assert "2 differences in" in stack.fails("upgrade", "verify", "dev", "--image", PG15, code=2)
    assert in_15(stack) == there
    assert stack.of_role("throw-away") == []

    stack.ok("upgrade", "confirm", "dev", "--yes")
    assert "the upgrade from 15 was confirmed" in stack.fails("upgrade", "verify", "dev")

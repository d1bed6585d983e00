"""What the server says while a script runs reaches whoever ran it."""

from __future__ import annotations

import pytest

from pgvector_stacks.migrations import apply
from pgvector_stacks.migrations.execution import notices
from pgvector_stacks.migrations.execution.notices import Notices
from tests.conftest import FreshDatabase, script

TALKS = """
DO $$ BEGIN
    RAISE WARNING '7 rows had no tenant and were skipped' USING HINT = 'see them';
    RAISE NOTICE 'only when asked';
    FOR i IN 1..30 LOOP RAISE WARNING 'the same'; END LOOP;
END $$;
"""
BUILDS = """
CREATE TABLE big AS SELECT array_fill(i / 1000.0, ARRAY[500])::vector(500) AS v FROM generate_series(1, 700) i;
SET maintenance_work_mem = '1MB';
CREATE INDEX big_v ON big USING hnsw (v vector_l2_ops);
"""
CHECKS = "DO $$ BEGIN RAISE WARNING 'from a check'; END $$"


@pytest.mark.parametrize("verbose", [False, True])
def test_warnings_and_an_index_build_that_left_the_memory_are_told_with_the_script(
    fresh_database: FreshDatabase, verbose: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if verbose:
        monkeypatch.setenv(notices.VERBOSE, "1")
    scripts = (script(TALKS, "0004_talks.sql"), script(BUILDS, "0005_builds.sql"))
    said: list[str] = []
    request = fresh_database.request(*scripts, verify=(script(CHECKS, "verify/check.sql"),))
    apply.apply(fresh_database.admin, request, warn=said.append)
    assert "sql/0004_talks.sql: warning: 7 rows had no tenant and were skipped\n  hint: see them" in said
    assert "sql/0004_talks.sql: warning: the same (30 times)" in said
    assert said[-1] == "sql/verify/check.sql: warning: from a check"
    (build,) = (one for one in said if one.startswith("sql/0005_builds.sql"))
    assert "no longer fits into maintenance_work_mem" in build
    assert "pgstack plan-memory" in build
    assert ("sql/0004_talks.sql: notice: only when asked" in said) is verbose


class Said:
    """A message as psycopg hands it over."""

    severity = severity_nonlocalized = "WARNING"
    message_detail = message_hint = None

    def __init__(self, message_primary: str) -> None:
        self.message_primary = message_primary


def test_a_thousand_different_messages_are_bounded() -> None:
    said: list[str] = []
    found = Notices(said.append, verbose=False)
    found.begin("sql/a.sql")
    for number in range(1000):
        found(Said(f"row {number}"))  # type: ignore[arg-type]
    found.end()
    assert len(said) == notices.MOST + 1
    assert said[-1] == "sql/a.sql: 980 more messages, not shown"

"""What would undo the environment's limits is sent under another name; all else as it is written, at its place."""

from __future__ import annotations

import pytest

from pgvector_stacks.migrations.scripts.lock_timeout import as_sent
from tests.conftest import script


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("set lock_timeout = 0; select 1", "set pgstack.lock = 0; select 1"),
        ("SET LOCAL Lock_Timeout TO '5s'", "SET LOCAL pgstack.lock TO '5s'"),
        ('set "lock_timeout" = 0', 'set "pgstack.lock" = 0'),
        ("set statement_timeout = '0s'", "set pgstack.statement = '0s'"),
        (
            "select pg_catalog.set_config('lock_timeout', '0', false)",
            "select pg_catalog.set_config('pgstack.lock', '0', false)",
        ),
        (
            "do $x$ begin set local lock_timeout = 0; perform set_config('lock_timeout', v, true);"
            " execute 'set lock_timeout = ''0'''; end $x$",
            "do $x$ begin set local pgstack.lock = 0; perform set_config('pgstack.lock', v, true);"
            " execute 'set pgstack.lock = ''0'''; end $x$",
        ),
    ],
)
def test_what_undoes_a_limit_sets_something_else(text: str, sent: str) -> None:
    for before in ("", "-- lock_timeout = 0\n/* ü */ select 'set lock_timeout = 0';\n"):
        assert as_sent(script(before + text), 2000) == before + sent


@pytest.mark.parametrize(
    "text",
    [
        "set lock_timeout = '1s'",
        "set statement_timeout = '1h'",
        "set lock_timeout to default",
        "reset lock_timeout",
        "create function f() returns int language sql set lock_timeout = 0 as 'select 1'",
        "alter role schema_owner set lock_timeout = 0",
        "do $$ begin execute format('alter database %I set lock_timeout = 0', current_database()); end $$",
        "insert into t values ('set lock_timeout = 0')",
    ],
)
def test_what_undoes_none_is_sent_as_it_is(text: str) -> None:
    assert as_sent(script(text), 2000) == text

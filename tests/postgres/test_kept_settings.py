"""What would undo the environment's limits, or the encoding, is sent under another name; all else stays as it is."""

from __future__ import annotations

import pytest

from pgvector_stacks.migrations.scripts.kept_settings import protect_limits
from tests.conftest import FreshDatabase, script


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
        ("set client_encoding = 'WIN1252'", "set pgstack.charset = 'WIN1252'"),
        ("select set_config('client_encoding', v, false)", "select set_config('pgstack.charset', v, false)"),
        ("set names 'latin1'; select 1", "set pg.n= 'latin1'; select 1"),
        (
            "do $x$ begin set local client_encoding to latin1; end $x$",
            "do $x$ begin set local pgstack.charset to latin1; end $x$",
        ),
    ],
)
def test_what_undoes_a_limit_sets_something_else(text: str, sent: str) -> None:
    for before in ("", "-- lock_timeout = 0\n/* ü */ select 'set lock_timeout = 0';\n"):
        assert protect_limits(script(before + text), 2000) == before + sent


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
        "set client_encoding = 'UTF8'; set client_encoding to utf8; set names 'utf-8'; reset client_encoding",
        "set names default; select set_config('client_encoding', 'UTF8', false), set_config('names', 'x', false)",
        "update t set names = 'latin1'; select names from t",
    ],
)
def test_what_undoes_none_is_sent_as_it_is(text: str) -> None:
    assert protect_limits(script(text), 2000) == text


def test_a_script_may_say_which_encoding_its_file_had_before(empty_database: FreshDatabase) -> None:
    """Its text goes out in UTF-8 all the same: 'ü' became 'Ã¼' from the second statement on, or `up` failed."""
    listed = (
        script("create schema a; create table a.t (v text)", "1.sql"),
        script("set client_encoding = 'LATIN1'; create table a.tür (); grant select on a.tür to readonly", "2.sql"),
        script(
            "-- pgstack: no-transaction\nset names 'LATIN1'; insert into a.t values ('ü'); create table a.ü ()", "3.sql"
        ),
        script(
            "create function a.f() returns void language sql as 'set client_encoding = latin1';"
            " create table a.ö (); select a.f()", "4.sql",
        ),
    )  # fmt: skip
    empty_database.apply(scripts=listed)
    assert empty_database.ask("SELECT ascii(v) FROM a.t") == [(252,)]
    may = "SELECT has_table_privilege('readonly', 'a.' || t, 'SELECT') FROM unnest('{tür,ü,ö}'::text[]) t"
    assert empty_database.ask(may) == [(True,)] * 3

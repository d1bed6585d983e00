"""A setting counts as what the server makes of it, however the stack file spells it, and as the server has it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import Connection, Error

from pgvector_stacks.connections import setting_values
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.inspection.effective_settings import SettingsComparison, compare
from pgvector_stacks.inspection.validation import ServerRequirements, validate
from pgvector_stacks.migrations import apply
from pgvector_stacks.sizing.settings import derive_settings
from tests.conftest import LIMITS, FreshDatabase, default_scripts

SAMPLE = int(os.environ.get("PGSTACK_SETTINGS", "150"))  # more with `make test-all`
# as a stack file may give them; the server has each
GIVEN = {
    "checkpoint_timeout": "900s", "log_min_duration_statement": "1000", "work_mem": "8192", "log_statement": "DDL",
    "autovacuum_naptime": "60", "wal_compression": "true", "log_lock_waits": "yes", "timezone": "europe/berlin",
    "log_timezone": "EUROPE/BERLIN", "vacuum_cost_delay": "2", "datestyle": "German", "lock_timeout": "7s",
    "idle_in_transaction_session_timeout": "5min", "idle_session_timeout": "1h", "statement_timeout": "600000",
    "search_path": 'app,"public"', "application_name": "ours", "client_connection_check_interval": "1500ms",
    "shared_preload_libraries": "", "wal_buffers": "-1", "min_wal_size": "0.25GB", "max_wal_size": "0x200",
    "temp_buffers": "8.5MB", "log_file_mode": "0640", "tcp_keepalives_idle": "0", "my.own": "As It Is",
    "random_page_cost": "1.10", "wal_level": "REPLICA", "huge_pages": "no", "vacuum_buffer_usage_limit": "1e3",
    "hnsw.ef_search": "40", "deadlock_timeout": ".5 min", "client_min_messages": "Notice", "jit": "of",
    "track_activity_query_size": "2kB", "listen_addresses": "127.0.0.1", "sort_mem": "8MB",
}  # fmt: skip
OTHERS = {  # what the same server has not
    "checkpoint_timeout": "15s", "log_min_duration_statement": "-1", "work_mem": "8192MB", "log_statement": "mod",
    "wal_compression": "false", "timezone": "Europe/Paris", "datestyle": "ISO, MDY", "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0", "statement_timeout": "0", "search_path": "app",
    "client_connection_check_interval": "1s", "wal_buffers": "1MB", "my.own": "as it is", "random_page_cost": "1.2",
    "shared_preload_libraries": "vector", "log_file_mode": "640", "no_such_setting": "1", "jit": "on",
    "vacuum_cost_delay": "2s", "application_name": "pgstack", "sort_mem": "4MB",
}  # fmt: skip


@pytest.fixture(scope="module")
def tuned() -> Iterator[Address]:
    """A server that has `GIVEN`."""
    with tempfile.TemporaryDirectory(prefix="pgstack test ") as folder:
        directory = embedded_server.Directory(Path(folder) / "18", 18)
        embedded_server.initialise(directory, "secret")
        given = {name: value for name, value in GIVEN.items() if name != "listen_addresses"}  # which the engine sets
        port = embedded_server.start(directory, derive_settings(LIMITS) | given)
        try:
            yield Address(embedded_server.HOST, port, "postgres", embedded_server.ADMIN, "secret")
        finally:
            embedded_server.stop(directory)


def test_settings_that_the_server_took_pass_and_an_up_can_be_repeated(tuned: Address) -> None:
    """Whatever our own sessions set for themselves: timeouts, a path, how dates are written."""
    request = apply.Request(stack="test", scripts=default_scripts(), app_password="a", readonly_password="b")
    address = replace(tuned, database="app")
    demands = ServerRequirements(settings=derive_settings(LIMITS) | GIVEN)
    for _ in range(2):
        apply.apply(address, request)
        with connect(address) as connection:
            assert validate(connection, demands).failures == {}


@pytest.mark.parametrize("name", GIVEN)
def test_a_setting_passes_exactly_where_the_server_has_it(tuned: Address, name: str) -> None:
    with connect(tuned) as connection:
        assert compare(connection, {name: GIVEN[name]}) == SettingsComparison(1, (), ())
        if name in OTHERS:
            found = compare(connection, {name: OTHERS[name]})
            assert found.equal == 0
            assert found.different[0].startswith(f"{name} is ")
            assert found.different[0].endswith(f", derived {OTHERS[name]}")


def test_a_setting_that_no_server_has_is_told(tuned: Address) -> None:
    with connect(tuned) as connection:
        wanted = {"no_such_setting": "1"}
        assert compare(connection, wanted).different == ("no_such_setting is None, derived 1",)


def test_what_a_database_or_a_role_sets_for_its_sessions_is_not_taken_for_the_servers(
    fresh_database: FreshDatabase,
) -> None:
    name = fresh_database.admin.database
    fresh_database.do(f"ALTER DATABASE {name} SET work_mem = '99MB'")
    fresh_database.do(f"ALTER ROLE postgres IN DATABASE {name} SET jit = on")
    fresh_database.do("ALTER ROLE postgres SET random_page_cost = 9")
    wanted = fresh_database.server.settings
    try:
        with connect(fresh_database.admin) as connection:
            found = compare(connection, wanted)
    finally:
        fresh_database.do("ALTER ROLE postgres RESET random_page_cost")
    assert found.different == ()
    assert found.hidden == ("random_page_cost can't be seen: set for the role",)
    assert found.equal == len(wanted) - 1


def test_the_environment_of_libpq_changes_nothing(
    fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=77MB")
    with connect(fresh_database.admin) as connection:
        assert compare(connection, fresh_database.server.settings).different == ()


NUMBERS = st.one_of(
    st.integers(-5, 5000).map(str), st.integers(0, 5000).map(hex), st.integers(0, 600).map(lambda n: f"0{n:o}"),
    st.floats(0, 5000).map(lambda x: f"{x:.3f}"), st.floats(0, 99).map(lambda x: f"{x:.2e}"),
    st.floats(0, 99).map(float.hex), st.sampled_from(["0x.8", "0x1.", "0X1P2", "-0x1", "0x1p", "0x1.8e1"]),
    st.sampled_from(["-1", "+1", ".5", "1.", "08", "1e3", "0x", "", " 1", "1 ", "nan", "inf", "1_000", "9" * 25]),
)  # fmt: skip
UNITS = st.sampled_from(
    ["", "", " ", "B", "kB", "MB", "GB", "TB", "KB", "mb", "us", "ms", "s", "min", "h", "d", "S", " kB ", "MBs"]
)
WORDS = st.sampled_from(
    ["on", "off", "true", "false", "yes", "no", "1", "0", "t", "f", "y", "n", "o", "of", "tru", "TRUE", "Off", "2", "",
     "onn", "auto", "Replica", "debug", "debug2", "info", "always", "try", "pglz", "REGRESS", "read committed", "none",
     "ddl", "DDL", "safe_encoding", "local", "remote_apply", "iso_8601"]
)  # fmt: skip
SPELLINGS = st.one_of(st.builds(str.__add__, NUMBERS, UNITS), WORDS)
UNTOUCHED = {"role", "session_authorization", "transaction_read_only", "transaction_deferrable", "is_superuser",
             "transaction_isolation", "default_transaction_read_only", "default_transaction_isolation",
             "exit_on_error", "allow_system_table_mods", "ignore_system_indexes", "zero_damaged_pages",
             "ignore_checksum_failure", "debug_discard_caches", "log_statement_stats"}  # fmt: skip


@pytest.fixture(scope="module")
def tried(server: Any) -> Iterator[tuple[Connection[Any], list[tuple[str, str, str | None, list[str]]]]]:
    """A session, and every setting that it may set: name, kind, unit, words."""
    with connect(server.admin("postgres"), application="test", own_path=True) as connection:
        connection.execute("SET log_min_messages = panic")
        rows = connection.execute(
            "SELECT name, vartype, unit, coalesce(enumvals, '{}') FROM pg_settings"
            " WHERE context IN ('user', 'superuser') AND vartype <> 'string' AND name <> ALL (%s)"
            " AND name NOT LIKE 'log_%%_stats' AND name NOT LIKE '%%messages'"
            " AND name NOT LIKE 'tcp_%%' ORDER BY name", (sorted(UNTOUCHED),),
        ).fetchall()  # fmt: skip
        assert len(rows) > 150
        yield connection, rows


def stored(connection: Connection[Any], name: str, value: str) -> str | None:
    """What the server makes of a spelling; None where it refuses it."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
            row = connection.execute("SELECT setting FROM pg_settings WHERE name = %s", (name,)).fetchone()
    except Error:
        return None
    return None if row is None else str(row[0])


@settings(max_examples=SAMPLE, deadline=None, print_blob=True)
@given(data=st.data(), one=SPELLINGS, other=SPELLINGS)
def test_two_spellings_are_the_same_exactly_where_the_server_stores_one_value(
    tried: tuple[Connection[Any], list[tuple[str, str, str | None, list[str]]]], data: Any, one: str, other: str
) -> None:
    connection, rows = tried
    name, kind, unit, words = data.draw(st.sampled_from(rows), "setting")
    if words:
        one = data.draw(st.sampled_from(words)).swapcase() if data.draw(st.booleans()) else one
        other = data.draw(st.sampled_from(words)) if data.draw(st.booleans()) else other
    first, second = stored(connection, name, one), stored(connection, name, other)
    if first is None or second is None:
        return
    assert setting_values.are_equal(name, kind, unit, one, other) == (first == second), (
        name,
        unit,
        one,
        other,
        first,
        second,
    )
    assert setting_values.are_equal(name, kind, unit, one, first), (name, unit, one, first)


@given(st.integers(0, 2000), st.sampled_from(sorted(setting_values.BYTES)), st.sampled_from(["B", "kB", "8kB", "MB"]))
@example(900, "kB", "8kB")
def test_a_size_is_the_same_in_every_unit_that_holds_it(count: int, unit: str, own: str) -> None:
    size = count * setting_values.BYTES[unit]
    for other, factor in setting_values.BYTES.items():
        if size % factor == 0:
            assert setting_values.are_equal("x", "integer", own, f"{count}{unit}", f"{size // factor} {other}")


@given(st.integers(1, 2000), st.sampled_from(sorted(setting_values.MICROSECONDS)), st.sampled_from(["ms", "s", "min"]))
@example(900, "s", "min")
def test_a_time_is_the_same_in_every_unit_that_holds_it(count: int, unit: str, own: str) -> None:
    time = count * setting_values.MICROSECONDS[unit]
    for other, factor in setting_values.MICROSECONDS.items():
        if time % factor == 0:
            assert setting_values.are_equal("x", "integer", own, f"{count}{unit}", f"{time // factor}{other}")

"""`app` and `readonly` can't take the server from anybody, and rights that somebody raised are told and taken back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.schema_props import RoleLimitProps
from pgvector_stacks.cli import inspection
from pgvector_stacks.common.errors import ConnectionFailed, SettingRefused
from pgvector_stacks.connections import roles
from pgvector_stacks.connections.connection import Address, connect, explain
from pgvector_stacks.connections.role_limits import RESERVED, RoleLimits, derive_role_limits
from pgvector_stacks.inspection import database_drift, hba_rules, raised_rights, rerun_reasons, role_drift, schema_drift
from tests.conftest import ROLE_LIMITS, FreshDatabase, script

SCRIPT = script("CREATE SCHEMA s; CREATE TABLE s.item (id int)", "0001.sql")


@pytest.fixture
def stack(empty_database: FreshDatabase) -> Iterator[FreshDatabase]:
    bring_up(empty_database)
    try:
        yield empty_database
    finally:
        words = dict.fromkeys(role_drift.LOGINS, empty_database.app_password)
        with connect(in_postgres(empty_database)) as cluster:  # the roles are the server's: others want them whole
            roles.ensure_cluster(cluster, empty_database.admin.database, words)
            role_drift.repair(cluster, ROLE_LIMITS)


def bring_up(database: FreshDatabase, **options: Any) -> None:
    database.bring_up(**{"scripts": (SCRIPT,)} | options)


def in_postgres(database: FreshDatabase) -> Address:
    return replace(database.admin, database="postgres")


def mended(database: FreshDatabase) -> tuple[str, ...]:
    made = rerun_reasons.DeployedDatabase(
        database.admin, app_password=database.app_password, readonly_password=database.app_password, limits=ROLE_LIMITS
    )
    with connect(database.admin) as connection:
        return rerun_reasons.find_reasons(connection, made)


def as_admin(database: FreshDatabase, statement: str) -> None:
    """Whatever role the database makes of a session."""
    with connect(database.admin) as connection:
        connection.execute(statement.encode())


def refused(address: Address, statement: str) -> str:
    """The SQLSTATE with which the server refuses it."""
    with connect(address, own_path=True) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(statement.encode())
    return str(caught.value.sqlstate)


RAISED = {
    "ALTER ROLE readonly SUPERUSER": "role readonly has SUPERUSER",
    "ALTER ROLE app CREATEROLE REPLICATION BYPASSRLS": "role app has CREATEROLE, REPLICATION, BYPASSRLS",
    "GRANT pg_execute_server_program TO app": "role app is a member of pg_execute_server_program",
    "GRANT pg_write_all_data TO readonly": "role readonly is a member of pg_write_all_data",
    "GRANT schema_owner TO app": "role app is a member of schema_owner",
    "CREATE ROLE pg1 CREATEROLE; GRANT pg1 TO app": "role app is a member of pg1",
    "GRANT pg_monitor TO readonly WITH ADMIN OPTION; SET ROLE readonly; GRANT pg_monitor TO app GRANTED BY readonly":
        "role app is a member of pg_monitor",
    "ALTER ROLE app NOINHERIT": "role app doesn't inherit",
    "ALTER ROLE schema_owner LOGIN PASSWORD 'known'": "role schema_owner may log in",
    "ALTER ROLE app CONNECTION LIMIT -1": "role app may have any number of connections (CONNECTION LIMIT",
    "ALTER ROLE app RESET temp_file_limit": "role app doesn't set temp_file_limit",
    "ALTER ROLE app SET idle_in_transaction_session_timeout = 0": "role app sets idle_in_transaction_session_timeout",
    "ALTER ROLE app IN DATABASE {name} SET temp_file_limit = -1": "role app sets temp_file_limit = -1 in database",
    "ALTER ROLE app SET role = readonly": "role app sets role = readonly",
    "ALTER ROLE readonly PASSWORD 'mine'": "role readonly has another password than the stack's",
    "ALTER DATABASE {name} OWNER TO app": "belongs to app",
    "ALTER DATABASE {name} IS_TEMPLATE true": "is a template",
    "ALTER DATABASE {name} SET role = 'app'": "makes sessions the role app",
    "GRANT CONNECT ON DATABASE postgres TO PUBLIC": "everybody may enter the database postgres",
    "GRANT CONNECT ON DATABASE template1 TO PUBLIC": "everybody may enter the database template1",
    "GRANT EXECUTE ON FUNCTION pg_catalog.lo_create(oid) TO PUBLIC": "role readonly may make large objects",
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_lock(bigint) TO readonly":
        "role readonly may take advisory locks",
    "GRANT CONNECT ON DATABASE {name} TO PUBLIC": "everybody may enter the database test_",
    "GRANT CONNECT ON DATABASE postgres TO app": "role app has CONNECT on the database postgres",
    "GRANT ALTER SYSTEM ON PARAMETER archive_command TO app WITH GRANT OPTION; SET ROLE app;"
    "GRANT ALTER SYSTEM ON PARAMETER archive_command TO readonly":
        "role readonly has ALTER SYSTEM on the parameter archive_command",
    "GRANT SET ON PARAMETER session_preload_libraries TO PUBLIC":
        "everybody has SET on the parameter session_preload_libraries",
    "GRANT INSERT ON pgstack.ledger TO app WITH GRANT OPTION; SET ROLE app; GRANT INSERT ON pgstack.ledger TO readonly":
        "role readonly has INSERT on the table pgstack.ledger",
    "GRANT UPDATE (name) ON pgstack.ledger TO app": "role app has UPDATE (name) on the table pgstack.ledger",
    "GRANT CREATE ON SCHEMA pgstack TO readonly": "role readonly has CREATE on the schema pgstack",
    "GRANT EXECUTE ON FUNCTION pgstack.land TO PUBLIC": "everybody has EXECUTE on the function pgstack.land(jsonb)",
    "ALTER ROLE ALL SET role = 'app'": "every role sets role = app (ALTER ROLE ALL)",
    # last: only our own connections get in from here on
    "ALTER DATABASE {name} SET local_preload_libraries = 'nosuch'": "load nosuch (SET local_preload_libraries)",
    "ALTER ROLE ALL SET local_preload_libraries = 'nosuch'": "every role sets local_preload_libraries = nosuch",
}  # fmt: skip


def test_raised_rights_are_told_and_the_next_up_takes_them_back(stack: FreshDatabase) -> None:
    assert mended(stack) == ()
    try:
        for statement in RAISED:
            as_admin(stack, statement.replace("{name}", stack.admin.database))
        lines = "\n".join(mended(stack))
        assert [expected for expected in RAISED.values() if expected not in lines] == []
        bring_up(stack)
        assert mended(stack) == ()
    finally:
        with connect(stack.admin) as connection:
            connection.execute("DROP ROLE IF EXISTS pg1")


def test_what_an_administrator_may_have_meant_is_noted_and_stays(stack: FreshDatabase) -> None:
    name = stack.admin.database
    try:
        stack.do(
            "CREATE ROLE mallory LOGIN SUPERUSER; CREATE ROLE eve; GRANT schema_owner TO eve; CREATE ROLE reporting;"
            "GRANT reporting TO app; ALTER ROLE app SET search_path = s;"
            "ALTER ROLE ALL SET work_mem = '5MB';"
            f"ALTER DATABASE {name} SET session_preload_libraries = plpgsql;"
            f"ALTER DATABASE {name} CONNECTION LIMIT 50; GRANT CREATE ON DATABASE {name} TO app;"
            "GRANT SET ON PARAMETER log_min_messages TO schema_owner; GRANT SELECT ON pgstack.ledger TO reporting"
        )
        stack.do("CREATE DATABASE pgstack_before_x")
        for _ in range(2):
            with connect(stack.admin) as connection:
                notes = role_drift.find_intended(connection)
                itself = database_drift.read_attributes(connection, name)
                rights = raised_rights.describe_intended(raised_rights.find_raised(connection, name))
            assert rights == (
                f"role app has CREATE on the database {name}",
                "role schema_owner has SET on the parameter log_min_messages",
            )
            assert {
                "role app is a member of reporting", "role app sets search_path = s", "role mallory has SUPERUSER",
                "role eve is a member of schema_owner",
            } <= set(notes)  # fmt: skip
            assert itself is not None
            assert {
                f"database {name} takes 50 connections at most (CONNECTION LIMIT)",
                "every role sets work_mem = 5MB (ALTER ROLE ALL)",
                f"database {name} makes sessions load plpgsql (SET session_preload_libraries)",
                "database pgstack_before_x is what a restore replaced, and takes its room until it is dropped",
            } <= set(database_drift.describe_intended(itself))
            assert mended(stack) == ()
            bring_up(stack)
    finally:
        stack.do(
            "REVOKE SET ON PARAMETER log_min_messages FROM schema_owner; REVOKE SELECT ON pgstack.ledger FROM reporting"
        )
        stack.do("ALTER ROLE ALL RESET work_mem; ALTER ROLE app RESET search_path; DROP ROLE mallory, eve, reporting")
        stack.do("DROP DATABASE IF EXISTS pgstack_before_x")


def test_a_closed_database_is_named_with_its_remedy_and_opened_by_the_next_up(stack: FreshDatabase) -> None:
    name = stack.admin.database
    with connect(in_postgres(stack)) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
    with pytest.raises(ConnectionFailed, match=r"takes no connections .ALLOW_CONNECTIONS false.\n.*pgstack up STACK"):
        connect(stack.admin)
    bring_up(stack)
    connect(stack.admin).close()


def test_nobody_enters_the_databases_of_postgresql_itself_but_who_could_before(stack: FreshDatabase) -> None:
    for database in database_drift.NEIGHBOURS:
        for role in role_drift.LOGINS:
            with pytest.raises(ConnectionFailed, match="may not connect to the database"):
                connect(replace(stack.as_role(role), database=database))
    try:
        stack.do("CREATE ROLE monitor LOGIN PASSWORD 'm'; GRANT CONNECT ON DATABASE postgres TO PUBLIC")
        bring_up(stack)
        connect(replace(in_postgres(stack), user="monitor", password="m")).close()
    finally:
        stack.do("DROP OWNED BY monitor")
        with connect(in_postgres(stack)) as connection:
            connection.execute("DROP OWNED BY monitor; DROP ROLE monitor")


def test_readonly_makes_no_large_objects_and_no_temporary_tables_and_app_still_may(stack: FreshDatabase) -> None:
    readonly = stack.as_role("readonly")
    for statement in ("SELECT lo_create(0)", "SELECT lo_creat(-1)", "SELECT lo_from_bytea(0, 'x')",
                      "SELECT lo_import('/etc/passwd')", "CREATE TEMP TABLE t ()"):  # fmt: skip
        assert refused(readonly, statement) == "42501"
    with connect(stack.as_role("app")) as connection:
        connection.execute("CREATE TEMP TABLE t ()")
        connection.execute("SELECT lo_unlink(lo_from_bytea(0, 'x'))")


def test_readonly_takes_no_advisory_locks_and_app_still_may(stack: FreshDatabase) -> None:
    """A session that fills the lock table with them lets nobody in, and keeps those of the application from it."""
    taken = "SELECT count({}(i)) FROM generate_series(1::bigint, 10) AS i"
    for name in roles.ADVISORY_LOCKS:
        assert refused(stack.as_role("readonly"), taken.format(name)) == "42501", name
    assert refused(stack.as_role("readonly"), "SELECT pg_advisory_lock(1, 2)") == "42501"
    with connect(stack.admin) as connection:
        every = "SELECT count(DISTINCT proname) FROM pg_proc WHERE proname ~ 'advisory_(xact_)?lock'"
        assert connection.execute(every).fetchone() == (len(roles.ADVISORY_LOCKS),)
    with connect(stack.as_role("app")) as connection:
        connection.execute("SELECT pg_advisory_lock(1), pg_try_advisory_xact_lock_shared(1, 2), pg_advisory_unlock(1)")


def test_a_full_lock_table_is_told_with_its_remedy() -> None:
    said = psycopg.OperationalError(
        'FATAL:  out of shared memory\nHINT:  You might need to increase "max_locks_per_transaction".'
    )
    assert "restart the server" in explain(Address("127.0.0.1", 5432, "app", "app", "x"), said)


def test_a_database_of_before_has_no_drift_when_it_loses_large_objects(stack: FreshDatabase) -> None:
    """Else an `up` where drift is refused would be refused ever after."""
    for name in ("lo_creat(int)", "lo_create(oid)", "lo_from_bytea(oid, bytea)", "pg_advisory_lock(bigint)",
                 "pg_try_advisory_xact_lock_shared(int, int)"):  # fmt: skip
        stack.do(f"GRANT EXECUTE ON FUNCTION pg_catalog.{name} TO PUBLIC")
        stack.do(f"REVOKE EXECUTE ON FUNCTION pg_catalog.{name} FROM app, schema_owner")
    with connect(stack.admin) as connection:
        assert schema_drift.find_drift(connection) == ()
        bring_up(stack)
        assert schema_drift.find_drift(connection) == ()


@pytest.mark.promise("The application's roles leave connections for an `up`")
def test_app_and_readonly_leave_connections_for_the_scripts(stack: FreshDatabase) -> None:
    few = RoleLimits(3, 2, 1024, 600)
    bring_up(stack, limits=few)
    with contextlib.ExitStack() as opened:
        for role in role_drift.LOGINS:
            for _ in range(few.connections(role)):
                opened.enter_context(connect(stack.as_role(role)))
            with pytest.raises(ConnectionFailed, match=f"raise pgvector:{role}Connections"):
                connect(stack.as_role(role))
        bring_up(stack, limits=few, scripts=(SCRIPT, script("CREATE TABLE s.more ()", "0002.sql")))


def test_a_session_of_app_ends_at_its_limits_and_cannot_raise_them(stack: FreshDatabase) -> None:
    bring_up(stack, limits=RoleLimits(10, 10, 1, 0.2))
    app = stack.as_role("app")
    with connect(app, options="-c work_mem=64kB") as connection:
        with pytest.raises(psycopg.Error, match="temp_file_limit"):
            connection.execute("SELECT count(*) FROM (SELECT g FROM generate_series(1, 400000) g ORDER BY g DESC) x")
        assert refused(app, "SET temp_file_limit = -1") == "42501"
    with contextlib.closing(psycopg.connect(app.url)) as plain:  # ours have no idle timeouts
        plain.execute("SELECT 1")
        time.sleep(0.6)
        with pytest.raises(psycopg.Error, match="idle-in-transaction timeout"):
            plain.execute("SELECT 1")


@pytest.mark.promise("The application's limits cut no script")
def test_the_scripts_are_not_cut_by_the_limits_of_the_application(stack: FreshDatabase) -> None:
    heavy = script(
        "SET work_mem = '64kB'; CREATE TABLE s.big AS SELECT g FROM generate_series(1, 400000) g ORDER BY g DESC",
        "0002.sql",
    )
    bring_up(stack, limits=RoleLimits(1, 1, 1, 0.001), scripts=(SCRIPT, heavy))


@given(st.integers(8, 5000), st.integers(256, 1 << 20), st.integers(0, 20))
def test_what_is_derived_leaves_connections_for_us(most: int, memory_mb: int, reserved: int) -> None:
    limits = derive_role_limits(most, memory_mb, reserved=reserved)
    assert min(limits.app_connections, limits.readonly_connections) >= 1
    left = most - limits.app_connections - limits.readonly_connections
    assert left > RESERVED or most - max(RESERVED, reserved + 2) - 1 < 2
    assert RoleLimitProps.from_limits(limits).limits == limits


def test_limits_that_leave_no_connection_are_refused() -> None:
    with pytest.raises(SettingRefused, match="of max_connections 100 at most 94"):
        derive_role_limits(100, 1024, app=80, readonly=20)
    assert derive_role_limits(100, 1024, app=90).readonly_connections == 4
    assert derive_role_limits(100, 1024, readonly=50).app_connections == 44


def test_a_line_that_lets_somebody_in_without_a_password_is_told(stack: FreshDatabase) -> None:
    file = stack.server.directory.path / "pg_hba.conf"
    before = file.read_text()
    with connect(stack.admin) as connection:
        assert hba_rules.find_faults(connection, tls=False) == ()
        try:
            # what a superuser's COPY … TO writes
            file.write_text(f"host all all 0.0.0.0/0 trust\n{before}\nhost all\n")
            said: list[str] = []
            inspection.status(inspection.DatabaseAddresses(stack.admin), "local", said.append)
        finally:
            file.write_text(before)
    told = [line for line in said if "pg_hba.conf" in line]
    assert told[0] == "drift    pg_hba.conf line 1 lets all into all from 0.0.0.0 by trust, declared is scram-sha-256"
    assert "can't be read: end-of-line" in told[1]


def test_the_lines_that_the_engines_write_are_right_and_tls_is_looked_at() -> None:
    line = hba_rules.Rule(1, "host", ["all"], ["all"], "0.0.0.0", "0.0.0.0", "scram-sha-256")
    assert hba_rules.describe_faults([line], tls=False) == ()
    assert hba_rules.describe_faults([line], tls=True) == (
        "pg_hba.conf line 1 lets all into all from 0.0.0.0 without TLS",
    )
    assert hba_rules.describe_faults([replace(line, type="hostssl")], tls=True) == ()
    assert hba_rules.describe_faults([replace(line, address="127.0.0.1", netmask="255.255.255.255")], tls=True) == ()
    assert hba_rules.describe_faults([replace(line, method="md5")], tls=False) != ()
    assert hba_rules.describe_faults([replace(line, type="local", address=None, netmask=None)], tls=True) == ()


def test_rights_on_the_lock_are_told_and_the_next_up_takes_them_back(stack: FreshDatabase) -> None:
    granted = (
        "CREATE ROLE eve; GRANT USAGE, CREATE ON SCHEMA pgstack TO eve; GRANT SELECT ON pgstack.up TO eve;"
        "GRANT UPDATE ON pgstack.up TO eve WITH GRANT OPTION; GRANT TRUNCATE ON pgstack.up TO PUBLIC;"
        "SET ROLE eve; GRANT UPDATE ON pgstack.up TO app"
    )
    with connect(in_postgres(stack)) as cluster:
        try:
            cluster.execute(granted.encode())
            cluster.execute("RESET ROLE")
            assert mended(stack) == (
                "role eve has CREATE on the schema pgstack",
                "role app has UPDATE on the table pgstack.up",
                "role eve has UPDATE on the table pgstack.up",
                "everybody has TRUNCATE on the table pgstack.up",
            )
            bring_up(stack)
            assert mended(stack) == ()
        finally:
            cluster.execute("RESET ROLE")
            cluster.execute("DROP OWNED BY eve CASCADE; DROP ROLE eve; REVOKE TRUNCATE ON pgstack.up FROM PUBLIC")

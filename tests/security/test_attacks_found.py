"""What somebody found who attacked the whole: each as it was done, and refused now."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.backup import store
from pgvector_stacks.backup.create import create
from pgvector_stacks.backup.drill import drill
from pgvector_stacks.backup.manifest import BackupFailed, BackupRefused, Trust, verify
from pgvector_stacks.backup.restore import restore
from pgvector_stacks.backup.restoring import owner_login, references
from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import ConnectionFailed, SqlFailed
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.inspection import role_drift
from tests.conftest import FreshDatabase, script

HEAD = "-- pgstack: no-transaction\n"
KEY = "k" * 40


def test_a_temporary_table_doesnt_stand_for_the_catalog(fresh_database: FreshDatabase) -> None:
    fresh_database.do("CREATE TABLE public.admins_own (secret text)")
    columns = [
        name for (name,) in fresh_database.ask(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'pg_attribute'::regclass AND attnum > 0"
            " AND attname <> 'attmissingval' ORDER BY attnum"
        )
    ]  # fmt: skip
    text = (
        f"{HEAD}CREATE TEMP TABLE pg_attribute AS SELECT {', '.join(columns)} FROM pg_catalog.pg_attribute;\n"
        "UPDATE pg_temp.pg_attribute SET attacl = '{schema_owner=r/postgres}'"
        " WHERE attrelid = 'public.admins_own'::regclass AND attname = 'secret';\n"
        "CREATE TABLE app.noted (id int);\nSELECT pg_terminate_backend(pg_backend_pid())"
    )
    for _ in range(2):
        with pytest.raises(SqlFailed):
            fresh_database.apply(script(text))
    forged = fresh_database.ask(
        "SELECT FROM pgstack.object WHERE definition ~ 'schema_owner' AND identity ~ 'admins_own'"
    )
    assert forged == []
    assert fresh_database.ask(
        "SELECT has_column_privilege('schema_owner', 'public.admins_own', 'secret', 'SELECT')"
    ) == [(False,)]


def test_whom_a_script_let_in_is_out_behind_it(fresh_database: FreshDatabase) -> None:
    text = f"{HEAD}ALTER ROLE CURRENT_USER PASSWORD 'known';\nSELECT pg_sleep(3)"
    running = threading.Thread(target=lambda: fresh_database.apply(script(text)))
    running.start()
    to = replace(fresh_database.admin, user="schema_owner", password="known")
    end = time.monotonic() + 20
    while True:
        try:
            stays = connect(to)
            break
        except ConnectionFailed:  # not yet
            assert time.monotonic() < end
            time.sleep(0.05)
    running.join()
    with pytest.raises(psycopg.OperationalError):
        stays.execute("SELECT")
    stays.close()
    with connect(fresh_database.admin) as connection:
        assert role_drift.find_faults(connection, {}) == ()


def test_a_pipe_beside_the_files_of_a_backup_is_refused(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    """pg_restore prefers N.dat to N.dat.gz, and reads a pipe of that name."""
    with fresh_database.programs(tmp_path / "root") as (toolbox, server):
        name = fresh_database.admin.database
        create(toolbox, server, tmp_path / "backups", stack="test", database=name, key=KEY)
        folder = store.find_backup(tmp_path / "backups", None)
        os.mkfifo(folder / name / "1.dat")
        with pytest.raises(BackupRefused, match=r"1\.dat: not in the manifest"):
            verify(folder, trust=Trust(KEY))
        (folder / name / "1.dat").unlink()
        assert verify(folder, trust=Trust(KEY)).database == name


def test_a_template_is_no_backup_without_the_database(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    name = fresh_database.admin.database
    made = script(f"ALTER DATABASE {name} IS_TEMPLATE true")
    fresh_database.apply(made)
    assert fresh_database.ask("SELECT datistemplate FROM pg_database WHERE datname = current_database()") == [(False,)]
    fresh_database.do(f"ALTER DATABASE {name} IS_TEMPLATE true")
    with (
        fresh_database.programs(tmp_path / "root") as (toolbox, server),
        pytest.raises(BackupFailed, match="is a template"),
    ):
        create(toolbox, server, tmp_path / "backups", stack="test", database=name)
    fresh_database.apply(made)
    assert fresh_database.ask("SELECT datistemplate FROM pg_database WHERE datname = current_database()") == [(False,)]


OWN_SETTINGS = (
    "transaction_read_only = on", "search_path = ''", "temp_tablespaces = gone, 'Also \"gone'",
    "default_tablespace = gone", "default_text_search_config = gone", "role = gone",
    "createrole_self_grant = 'set, inherit'",
)  # fmt: skip
SETTINGS_OF_ROLES = """
SELECT setrole::regrole::text, setconfig FROM pg_db_role_setting
 WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND setrole <> 0 ORDER BY 1
"""


def test_a_setting_of_readonlys_own_spoils_no_restore(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    name = fresh_database.admin.database
    with connect(fresh_database.as_role("readonly")) as connection:
        for words in OWN_SETTINGS:
            connection.execute(f"ALTER ROLE readonly IN DATABASE {name} SET {words}".encode())
    with connect(fresh_database.as_role("app")) as connection:
        connection.execute(f"ALTER ROLE app IN DATABASE {name} SET temp_tablespaces = ''".encode())
        connection.execute("SELECT set_config('search_path', '', false)")  # a list without elements
        connection.execute(f"ALTER ROLE app IN DATABASE {name} SET search_path FROM CURRENT".encode())
    target = replace(fresh_database.admin, database=f"{name}_restored")
    with fresh_database.programs(tmp_path / "root") as (toolbox, server):
        manifest = create(toolbox, server, tmp_path / "backups", stack="test", database=name, key=KEY)
        folder = store.find_backup(tmp_path / "backups", None)
        assert drill(toolbox, folder, trust=Trust(KEY)).problems == ()
        try:
            restore(toolbox, server, target, folder, manifest, name)
            with connect(target) as connection:
                assert connection.execute(SETTINGS_OF_ROLES).fetchall() == fresh_database.ask(SETTINGS_OF_ROLES)
        finally:
            with connect(replace(fresh_database.admin, database="postgres")) as cluster:
                cluster.execute(f'DROP DATABASE IF EXISTS "{target.database}" WITH (FORCE)'.encode())


def test_an_upgrade_dumps_lists_without_elements(fresh_database: FreshDatabase) -> None:
    """pg_dump writes `SET search_path TO ;`: they get another form before."""
    name = fresh_database.admin.database
    for role, there in (("app", f"IN DATABASE {name} "), ("readonly", "")):
        with connect(fresh_database.as_role(role)) as connection:
            connection.execute("SELECT set_config('search_path', '', false)")
            for setting in ("search_path", "local_preload_libraries"):
                connection.execute(f"ALTER ROLE {role} {there}SET {setting} FROM CURRENT".encode())
    asked = "SELECT setconfig FROM pg_db_role_setting WHERE setrole IN ('app'::regrole, 'readonly'::regrole)"
    try:
        for _ in range(2):
            with connect(fresh_database.admin) as connection:
                connection.execute(queries.get("empty_lists"))
            words = [word for (found,) in fresh_database.ask(asked) for word in found]
            assert words.count('search_path=""') == 2
            assert not any(word.endswith("=") for word in words)
    finally:
        fresh_database.do("ALTER ROLE readonly RESET search_path")


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
HARD = ("FOREIGN KEY (i) REFERENCES a.b(i);\n", '"', "'", "--", "x\n-- y", "\x010\x01", "k")
NAMES = WORDS | st.sampled_from(HARD)


@given(*[NAMES] * 5)
def test_the_tables_of_keys_are_those_that_a_dump_names(
    table: str, key: str, column: str, space: str, other: str
) -> None:
    table, key, column = (f'"{word.replace(chr(34), chr(34) * 2)}"' for word in (table, key, column))
    quoted = ".".join(f'"{word.replace(chr(34), chr(34) * 2)}"' for word in (space, other))
    text = (
        f"-- Name: x'\" y; Type: FK CONSTRAINT\n\nALTER TABLE ONLY s.{table}\n    ADD CONSTRAINT {key} FOREIGN KEY "
        f"({column}, i) REFERENCES {quoted}(id, {column}) ON DELETE SET NULL ({column});\n\n"
    )
    assert references.find_referenced_tables(text * 2) <= {tuple(word.replace("\x01", " ") for word in (space, other))}
    assert len(references.find_referenced_tables(text)) == 1


def test_what_app_grants_to_the_login_of_a_restore_keeps_out_no_other(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    name = fresh_database.admin.database
    target = replace(fresh_database.admin, database=f"{name}_restored")
    fresh_database.do(owner_login.CREATE)  # as while a restore works
    with connect(fresh_database.as_role("app")) as connection:
        connection.execute("SELECT lo_create(4711)")
        connection.execute(f"GRANT SELECT ON LARGE OBJECT 4711 TO {owner_login.ROLE}".encode())
        connection.execute("CREATE TEMP TABLE kept (id int)")
        connection.execute(f"GRANT SELECT ON kept TO {owner_login.ROLE}".encode())
        with fresh_database.programs(tmp_path / "root") as (toolbox, server):
            manifest = create(toolbox, server, tmp_path / "backups", stack="test", database=name, key=KEY)
            folder = store.find_backup(tmp_path / "backups", None)
            try:
                restore(toolbox, server, target, folder, manifest, name)
                assert fresh_database.ask("SELECT FROM pg_roles WHERE rolname = %s", owner_login.ROLE) == []
            finally:
                with connect(replace(fresh_database.admin, database="postgres")) as cluster:
                    cluster.execute(f'DROP DATABASE IF EXISTS "{target.database}" WITH (FORCE)'.encode())


def test_a_no_transaction_script_may_be_baseline(fresh_database: FreshDatabase) -> None:
    fresh_database.do("SET ROLE schema_owner; CREATE TABLE app.b (id int)")
    fresh_database.apply(script(f"{HEAD}CREATE TABLE app.b (id int)"), baseline=("0004_test.sql",))
    assert fresh_database.names()[-1] == "0004_test.sql"


OWNERS = """
CREATE ROLE {name}_other; CREATE ROLE {name}_third;
CREATE SCHEMA admins; GRANT ALL ON SCHEMA admins TO {name}_other, schema_owner;
CREATE TABLE admins.own (id int PRIMARY KEY); INSERT INTO admins.own VALUES (1);
GRANT REFERENCES, SELECT ON admins.own TO {name}_other WITH GRANT OPTION;
SET ROLE {name}_other;
CREATE DOMAIN admins.word AS text CHECK (value <> '');
CREATE TABLE admins.theirs (id int PRIMARY KEY REFERENCES admins.own, words admins.word[] DEFAULT '{{a}}');
INSERT INTO admins.theirs VALUES (1);
GRANT SELECT ON admins.own TO {name}_third;
ALTER DEFAULT PRIVILEGES IN SCHEMA admins GRANT SELECT ON TABLES TO {name}_third;
SET ROLE schema_owner;
CREATE TABLE admins.ours (id int); INSERT INTO admins.ours VALUES (1), (2);
CREATE MATERIALIZED VIEW app.seen AS SELECT id FROM admins.ours;
CREATE PUBLICATION told FOR TABLE app.tenant WHERE (tenant_id > 3);
COMMENT ON TABLE admins.ours IS 'said';
RESET ROLE;
GRANT SELECT ON admins.theirs TO schema_owner; ALTER TABLE app.tenant OWNER TO {name}_third;
REVOKE CREATE ON SCHEMA admins FROM {name}_other, schema_owner;
CREATE FUNCTION admins.noted() RETURNS event_trigger LANGUAGE plpgsql AS 'begin end';
CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION admins.noted();
"""


def test_what_several_owners_have_comes_back(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    """Also where an owner has lost the right to make it: rights are restored last."""
    name = fresh_database.admin.database
    fresh_database.do(OWNERS.format(name=name))
    target = replace(fresh_database.admin, database=f"{name}_restored")
    program = [str(embedded_server.find_bin_directory(18) / "pg_dump"), "--schema-only", "--restrict-key=x", "-d"]
    try:
        with fresh_database.programs(tmp_path / "root") as (toolbox, server):
            manifest = create(toolbox, server, tmp_path / "backups", stack="test", database=name, key=KEY)
            folder = store.find_backup(tmp_path / "backups", None)
            assert drill(toolbox, folder, trust=Trust(KEY)).problems == ()
            restore(toolbox, server, target, folder, manifest, name)
        written = [
            set(
                subprocess.run([*program, address.url], capture_output=True, text=True, check=True).stdout.split("\n\n")
            )
            for address in (fresh_database.admin, target)
        ]  # in no order: objects are made in another one
        assert written[0] == written[1]
        with connect(target) as connection:
            assert connection.execute("SELECT count(*) FROM app.seen").fetchone() == (2,)
    finally:
        with connect(replace(fresh_database.admin, database="postgres")) as cluster:
            cluster.execute(f'DROP DATABASE IF EXISTS "{target.database}" WITH (FORCE)'.encode())
        fresh_database.do(f"REVOKE ALL ON admins.own FROM {name}_other CASCADE")
        for role in (f"{name}_third", f"{name}_other"):
            fresh_database.do(f"DROP OWNED BY {role} CASCADE")
        for role in (f"{name}_third", f"{name}_other"):
            fresh_database.do(f"DROP ROLE {role}")

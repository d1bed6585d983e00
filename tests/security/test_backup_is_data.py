"""A backup is data, not code: what somebody else wrote into one runs nowhere and gives nobody a right."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from pgvector_stacks.backup import manifest as manifests
from pgvector_stacks.backup import store
from pgvector_stacks.backup.create import create
from pgvector_stacks.backup.drill import drill
from pgvector_stacks.backup.manifest import GLOBALS, UNSIGNED, BackupRefused, Manifest, verify
from pgvector_stacks.backup.restore import restore
from pgvector_stacks.backup.restoring.role_statements import POWERFUL, parse, refuse_powers
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.toolbox.embedded_toolbox import EmbeddedToolbox
from pgvector_stacks.toolbox.interface import ServerConnection as Reached
from tests.conftest import FreshDatabase, Server

CRIMES = [
    "\\! id >/tmp/it",
    "\\i /etc/passwd",
    "\\copy x FROM PROGRAM 'id'",
    "\\restrict x \\! id",
    "SELECT pg_read_file('/etc/passwd');",
    "DO $$ BEGIN END $$;",
    "CREATE ROLE a SUPERUSER;",
    "CREATE ROLE a; ALTER ROLE app WITH SUPERUSER;",
    "CREATE ROLE a;\\! id",
    "CREATE ROLE a\n;",
    "CREATE ROLE a -- ;",
    "CREATE ROLE A;",
    "CREATE ROLE a, b;",
    "CREATE USER a;",
    "CREATE ROLE \"a;",
    "ALTER ROLE mallory WITH LOGIN PASSWORD 'plain';",
    "ALTER ROLE mallory WITH LOGIN PASSWORD 'SCRAM-SHA-256$4096:a=$b=:c=' SUPER;",
    "ALTER ROLE mallory WITH SUPERUSER; ALTER ROLE app WITH SUPERUSER;",
    "ALTER ROLE app SET work_mem FROM CURRENT;",
    "ALTER ROLE app SET work_mem TO 1;",
    "ALTER ROLE app RENAME TO postgres;",
    "ALTER ROLE app IN DATABASE app SET work_mem TO '1MB';",
    "COMMENT ON ROLE app IS 'a' || 'b';",
    "COMMENT ON ROLE app IS 'it\\'; CREATE ROLE b; --';",
    "COMMENT ON ROLE app IS E'it\\'; CREATE ROLE b; --';",
    "COMMENT ON DATABASE app IS 'a';",
    "GRANT SELECT ON t TO app;",
    "GRANT a TO b WITH ADMIN OPTION GRANTED BY postgres, c;",
    "SET ROLE = 'postgres';",
    "SET work_mem TO '1';",
    "ALTER SYSTEM SET archive_command TO 'id';",
    "CREATE TABLESPACE t LOCATION '/tmp';",
    "/* a */ CREATE ROLE a;",
]  # fmt: skip


@pytest.mark.parametrize("crime", CRIMES)
def test_what_pg_dumpall_does_not_write_is_refused_with_its_line(crime: str) -> None:
    with pytest.raises(BackupRefused, match="line 3 is refused") as refused:
        parse(f"--\nCREATE ROLE app;\n{crime}\n")
    assert "allowed, one statement a line: CREATE ROLE" in str(refused.value)
    assert "$4096" not in str(refused.value)


POWERS = [
    ("ALTER ROLE app WITH SUPERUSER LOGIN;", "role app gets SUPERUSER"),
    ("ALTER ROLE app WITH NOSUPERUSER BYPASSRLS;", "role app gets BYPASSRLS"),
    ("ALTER ROLE app WITH REPLICATION;", "role app gets REPLICATION"),
    ("GRANT pg_execute_server_program TO app;", "role app becomes a member of pg_execute_server_program"),
    ("GRANT postgres TO app WITH INHERIT TRUE;", "role app becomes a member of postgres"),
    (
        "ALTER ROLE app SET session_preload_libraries TO 'ok', '/tmp/evil';",
        "/tmp/evil is not a library of the server's",
    ),
    ("ALTER ROLE app SET local_preload_libraries TO '../evil';", "evil is not a library of the server's"),
    ("ALTER ROLE app SET dynamic_library_path TO '/tmp';", "says where the server looks for libraries"),
    ("GRANT ALTER SYSTEM, SET ON PARAMETER archive_command TO app;", "app may change the setting archive_command"),
    ("GRANT SET ON PARAMETER session_preload_libraries TO PUBLIC;", "everybody may change the setting"),
]


@pytest.mark.parametrize(("line", "words"), POWERS)
def test_a_superusers_rights_are_refused_unless_asked_for(line: str, words: str) -> None:
    found = parse(line)
    with pytest.raises(BackupRefused, match=GLOBALS) as refused:
        refuse_powers(found, ("postgres", *POWERFUL), allowed=False)
    assert words in str(refused.value)
    assert "--superusers" in str(refused.value)
    refuse_powers(found, ("postgres", *POWERFUL), allowed=True)


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\"'\\;\n-"), min_size=1, max_size=20)


@pytest.mark.promise("Names and texts of a backup never become statements")
@given(NAMES, NAMES, NAMES)
def test_a_name_or_text_never_becomes_a_statement(role: str, setting: str, text: str) -> None:
    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    literal = sql.Literal(text).as_string(None).strip()
    lines = f"CREATE ROLE {quoted(role)};\nCOMMENT ON ROLE {quoted(role)} IS {literal};\n"
    lines += f"ALTER ROLE {quoted(role)} SET {quoted(setting)} TO {literal}, {literal};\n"
    found = parse(lines)
    assert [each.names for each in found] == [frozenset([role])] * 3
    again = "".join(f"{each.command.as_string(None)};\n" for each in found)
    assert parse(again) == found


@given(st.text(st.sampled_from("CREATE ROLEapp;'\"\\!\n-SUWITH$E,"), max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        found = parse(text)
    except BackupRefused:
        return
    assert all(each.command for each in found)


ODD = """
CREATE ROLE "odd; ""1"" x" LOGIN CONNECTION LIMIT 3 VALID UNTIL '2030-01-01' PASSWORD 'x';
COMMENT ON ROLE "odd; ""1"" x" IS E'a line\\n\\\\! id\\nit''s';
ALTER ROLE "odd; ""1"" x" SET search_path = 'a b', "c";
ALTER ROLE "odd; ""1"" x" SET pgstack.word = E'it''s \\\\ odd';
ALTER ROLE "odd; ""1"" x" SET datestyle = 'German';
GRANT pg_read_all_data TO "odd; ""1"" x" WITH ADMIN OPTION, INHERIT FALSE;
GRANT "odd; ""1"" x" TO app;
"""
SHOWN = """
SELECT rolname, rolconnlimit, rolvaliduntil, setconfig, rolpassword, shobj_description(r.oid, 'pg_authid'),
       (SELECT array_agg((roleid::regrole, admin_option, inherit_option)::text)
          FROM pg_auth_members WHERE member = r.oid)
  FROM pg_authid r JOIN pg_db_role_setting ON setrole = r.oid WHERE rolname LIKE 'odd%'
"""


@pytest.fixture
def odd(fresh_database: FreshDatabase) -> Iterator[FreshDatabase]:
    fresh_database.do(ODD)
    try:
        yield fresh_database
    finally:
        fresh_database.do('DROP ROLE IF EXISTS "odd; ""1"" x"')


def dumped(server: Server) -> str:
    program = embedded_server.find_bin_directory(18) / "pg_dumpall"
    done = subprocess.run(
        [program, "-w", "--globals-only", "--no-tablespaces", "-h", embedded_server.HOST, "-p", str(server.port), "-U",
         embedded_server.ADMIN],
        env={"PGPASSWORD": server.password}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def test_every_role_that_pg_dumpall_writes_comes_back_the_same(odd: FreshDatabase) -> None:
    before = odd.ask(SHOWN)
    assert before[0][1] == 3
    found = [each for each in parse(dumped(odd.server)) if each.names & {before[0][0]}]
    odd.do('DROP ROLE "odd; ""1"" x"')
    with connect(odd.server.admin("postgres")) as connection:
        for statement in found:
            connection.execute(statement.command)
    assert odd.ask(SHOWN) == before


@pytest.fixture
def place(odd: FreshDatabase, tmp_path: Path) -> Iterator[tuple[EmbeddedToolbox, Reached, Path]]:
    with odd.programs(tmp_path / "a root") as (made, server):
        yield made, server, tmp_path / "backups"


Place = tuple[EmbeddedToolbox, Reached, Path]


def changed(folder: Path, line: str) -> None:
    """As who may write there would: the digests are right again."""
    path = folder / GLOBALS
    path.write_text(path.read_text() + line + "\n")
    manifest = manifests.read(folder)
    manifests.write(manifest.model_copy(update={"files": manifests.list_files(folder)}), folder)


def test_changed_roles_run_nothing_in_a_drill_or_a_restore(odd: FreshDatabase, place: Place, tmp_path: Path) -> None:
    toolbox, server, into = place
    database = odd.admin.database
    create(toolbox, server, into, stack="local", database=database)
    folder = store.find_backup(into, None)
    good = (folder / GLOBALS).read_text()
    trace = tmp_path / "trace"
    changed(folder, f"\\! id >'{trace}'")
    result = drill(toolbox, folder, trust=UNSIGNED)
    assert "is refused" in result.problems[0]
    target = replace(odd.admin, database=f"{database}_other")
    with pytest.raises(BackupRefused, match="is refused"):
        restore(toolbox, server, target, folder, verify(folder), database)
    (folder / GLOBALS).write_text(good)
    changed(folder, "CREATE ROLE mallory;\nALTER ROLE mallory WITH SUPERUSER LOGIN;")
    with pytest.raises(BackupRefused, match="role mallory gets SUPERUSER"):
        drill(toolbox, folder, trust=UNSIGNED)
    with pytest.raises(BackupRefused, match="role mallory gets SUPERUSER"):
        restore(toolbox, server, target, folder, verify(folder), database)
    assert drill(toolbox, folder, trust=UNSIGNED, superusers=True).ok
    assert not trace.exists()
    assert odd.ask("SELECT count(*) FROM pg_roles WHERE rolname = 'mallory'") == [(0,)]
    assert odd.ask("SELECT count(*) FROM pg_database WHERE datname LIKE %s", f"{database}_other%") == [(0,)]


DATABASE: dict[str, Any] = {
    "name": "a b", "folder": "a%20b", "owner": "app", "encoding": "UTF8", "collate": "C", "ctype": "C", "bytes": 7,
    "contents": {"rows": {}, "sequences": {}, "objects": {}, "extensions": {}}, "sequencesAfter": {},
}  # fmt: skip
FILES = {GLOBALS: {"bytes": 1, "sha256": "0" * 64}, "a%20b/toc.dat": {"bytes": 1, "sha256": "0" * 64}}
MANIFEST: dict[str, Any] = {
    "stack": "local", "startedAt": "2026-11-24T02:00:00Z", "seconds": 1, "serverVersion": "18.4", "major": 18,
    "database": "app", "schemaRevision": "empty", "databases": [DATABASE], "files": FILES,
}  # fmt: skip
FORGED = [
    ({"databases": [DATABASE | {"folder": "../../../etc"}]}, "is not the folder of the database a b"),
    ({"databases": [DATABASE | {"name": "..", "folder": ".."}]}, "is not the folder of the database"),
    ({"databases": [DATABASE | {"name": "a\nb", "folder": "a%0Ab"}]}, "databases.0.name: not a name of a database"),
    ({"databases": [DATABASE | {"name": "x" * 64, "folder": "x" * 64}]}, "not a name of a database"),
    ({"databases": [DATABASE | {"bytes": -1}]}, "databases.0.bytes"),
    ({"databases": [DATABASE | {"provider": "x"}]}, "databases.0.provider"),
    ({"preload": "/tmp/EVIL.so"}, "preload: /tmp/EVIL.so is not a library of the server's own folder"),
    ({"preload": "x'; touch /tmp/x; '"}, "preload: x'; touch /tmp/x; ' is not a library"),
    ({"preload": "auto_explain, ../evil"}, "preload: ../evil is not a library"),
    ({"files": FILES | {"../../x": FILES[GLOBALS]}}, "../../x is not a file of a backup"),
    ({"files": FILES | {"/etc/passwd": FILES[GLOBALS]}}, "/etc/passwd is not a file of a backup"),
    ({"files": FILES | {"a%20b/evil.so": FILES[GLOBALS]}}, "a%20b/evil.so is not a file of a backup"),
    ({"files": {}}, f"{GLOBALS} is not a file of it"),
    ({"files": {GLOBALS: {"bytes": 1, "sha256": "0" * 63}}}, "files.globals.sql.sha256"),
    ({"files": {GLOBALS: {"bytes": 1, "sha256": "0" * 64 + "\n"}}}, "files.globals.sql.sha256"),
    ({"stack": "local; id"}, "stack"),
    ({"major": "18; id"}, "major"),
    ({"serverVersion": "18.4\x1b[2J"}, "serverVersion"),
    ({"schemaRevision": "::error::x"}, "schemaRevision"),
]


@pytest.mark.parametrize(("changed_fields", "words"), FORGED)
def test_a_forged_field_of_the_manifest_is_refused(changed_fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    good = Manifest.model_validate(MANIFEST)
    manifests.write(good, tmp_path)
    assert manifests.read(tmp_path) == good
    # a Manifest can't be made with it, so the file is written as the attacker would
    content = MANIFEST | changed_fields
    (tmp_path / manifests.NAME).write_text(json.dumps(content | {"digest": manifests._digest(content)}))
    with pytest.raises(BackupRefused, match="is not a manifest of a backup") as refused:
        manifests.read(tmp_path)
    assert words in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_a_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "20261124T020000Z"
    (folder / "a%20b").mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("x")
    (folder / GLOBALS).write_text("")
    (folder / "a%20b" / "toc.dat").write_text("x")
    files = {name: file.model_dump(mode="json") for name, file in manifests.list_files(folder).items()}
    manifests.write(Manifest.model_validate(MANIFEST | {"files": files}), folder)
    (folder / "a%20b" / "toc.dat").unlink()
    (folder / "a%20b" / "toc.dat").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackupRefused, match=r"a%20b/toc\.dat: a link"):
        verify(folder)

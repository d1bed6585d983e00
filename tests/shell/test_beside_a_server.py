"""The scripts that run PostgreSQL's programs beside a server, and what ends them: on the session's server."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from pgvector_stacks.common import shell
from pgvector_stacks.connections.server_authentication import UNDEMANDING
from tests.conftest import FreshDatabase


def test_ask_prints_the_answers_and_the_warnings_only_of_a_failure(
    tmp_path: Path, fresh_database: FreshDatabase
) -> None:
    with fresh_database.programs(tmp_path / "stack") as (toolbox, server):

        def ask(text: str) -> tuple[int, str]:
            variables = server.environment | {
                "PGDATABASE": fresh_database.admin.database, "FILE": toolbox.put("ask.sql", text), "LEASH": "",
            }  # fmt: skip
            done = toolbox.run(18, "sh", "-ec", shell.get("leash", "ask"), environment=variables)
            return done.code, done.output

        warn = "DO $$ BEGIN RAISE WARNING 'another library'; END $$;"
        assert ask(f"SELECT 1;\n{warn}\nSELECT 2") == (0, "1\n2\n")
        code, output = ask(f"{warn}\nSELECT nonsense;\nSELECT 3")
    assert code != 0
    assert "another library" in output
    assert 'column "nonsense" does not exist' in output
    assert "3\n" not in output.splitlines()


@pytest.mark.parametrize(("there", "works"), [("COPY (VALUES (1), (2)) TO STDOUT", True), ("SELECT 1/0", False)])
def test_verify_rows_hands_the_ones_rows_to_the_other_and_fails_with_either(
    tmp_path: Path, fresh_database: FreshDatabase, there: str, works: bool
) -> None:
    here = "CREATE TEMPORARY TABLE got (n int);\n\\copy pg_temp.got FROM pstdin\nSELECT sum(n) FROM pg_temp.got;"
    with fresh_database.programs(tmp_path / "stack") as (toolbox, server):
        other = {
            "OTHER_HOST": server.host, "OTHER_PORT": str(server.port), "OTHER_USER": server.user,
            "OTHER_PASSFILE": server.passfile, "OTHER_REQUIREAUTH": "scram-sha-256",
            **{
                name.replace("PG", "OTHER_", 1): value
                for name, value in (UNDEMANDING | dict(server.verification)).items()
            },
        }  # fmt: skip
        variables = server.environment | other | {
            "PGDATABASE": fresh_database.admin.database, "LEASH": "",
            "THERE": toolbox.put("there.sql", there), "HERE": toolbox.put("here.sql", here),
        }  # fmt: skip
        done = toolbox.run(18, "sh", "-ec", shell.get("leash", "verify_rows"), environment=variables)
    if works:
        assert (done.code, done.output) == (0, "3\n")
    else:
        assert done.code == 1
        assert "division by zero" in done.output


def test_dump_and_restore_bring_the_rows_of_one_snapshot(
    tmp_path: Path, fresh_database: FreshDatabase, empty_database: FreshDatabase
) -> None:
    fresh_database.do("INSERT INTO app.tenant (name) VALUES ('kept')")
    with fresh_database.programs(tmp_path / "stack") as (toolbox, server):
        folder = toolbox.private / "dumped"
        question = toolbox.put("contents.sql", "SELECT count(*) FROM app.tenant;\n")
        variables = server.environment | {
            "PGDATABASE": fresh_database.admin.database, "FOLDER": str(folder), "CONTENTS": question, "JOBS": "1",
            "LEASH": "",
        }  # fmt: skip
        done = toolbox.run(18, "sh", "-ec", shell.get("leash", "dump"), environment=variables)
        assert done.code == 0, done.output
        assert [Path(f"{folder}.{when}").read_text() for when in ("before", "after")] == ["1\n", "1\n"]
        assert not Path(f"{folder}.code").exists()
        wanted = toolbox.run(18, "pg_restore", "-l", str(folder)).output
        entries = [line for line in wanted.splitlines() if " app tenant" in line and "TABLE" in line]
        listed = toolbox.put("list", "\n".join(entries) + "\n")
        empty_database.do("CREATE SCHEMA app")
        variables = server.environment | {
            "DUMP": str(folder), "LIST": listed, "TARGET": f"dbname={empty_database.admin.database}",
            "OPTIONS": "--no-owner --no-privileges", "LEASH": "",
        }  # fmt: skip
        done = toolbox.run(18, "sh", "-ec", shell.get("leash", "restore"), environment=variables)
        assert done.code == 0, done.output
        assert empty_database.ask("SELECT name FROM app.tenant") == [("kept",)]
        gone = variables | {"DUMP": "/nonexistent"}
        assert toolbox.run(18, "sh", "-ec", shell.get("leash", "restore"), environment=gone).code != 0


def test_leash_ends_the_work_and_its_folder_with_the_process_that_waits(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    os.mkfifo(private / "leash")
    held = os.open(private / "leash", os.O_RDWR | os.O_CLOEXEC)
    script = shell.get("leash") + "\necho begun\nsleep 300\n"
    with subprocess.Popen(
        ["sh", "-ec", script], env=dict(os.environ) | {"LEASH": str(private / "leash")}, stdout=subprocess.PIPE,
        start_new_session=True,
    ) as work:  # fmt: skip
        assert work.stdout is not None
        assert work.stdout.readline() == b"begun\n"
        time.sleep(0.3)
        assert work.poll() is None
        os.close(held)
        assert work.wait(timeout=30) != 0
    assert not private.exists()


@pytest.mark.parametrize("guard", ["drill_guard", "verify_guard"])
def test_a_guard_removes_the_directory_with_the_process_that_waits(tmp_path: Path, guard: str) -> None:
    """drill_guard and verify_guard: here no server runs in the directory; one that does is in tests of the commands."""
    private, directory = tmp_path / "private", tmp_path / "beside" / "18.copy"
    private.mkdir()
    directory.mkdir(parents=True)
    Path(f"{directory}.log").write_text("")
    os.mkfifo(private / "leash")
    held = os.open(private / "leash", os.O_RDWR | os.O_CLOEXEC)
    variables = dict(os.environ) | {"LEASH": str(private / "leash"), "DIRECTORY": str(directory)}
    subprocess.run(["sh", "-ec", shell.get(guard)], env=variables, check=True, timeout=30)  # it leaves a watcher
    time.sleep(0.3)
    assert directory.is_dir()
    os.close(held)
    deadline = time.monotonic() + 30
    while private.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not private.exists()
    assert not directory.exists()
    assert not Path(f"{directory}.log").exists()

"""Backups of the embedded engine: rows counted before and after, kill -9 in the middle, damaged ones refused."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pgvector_stacks.backup.manifest import Trust, read, write
from pgvector_stacks.backup.store import locking_folder
from pgvector_stacks.connections.connection import connect
from tests.engine.checkout import Checkout, wait_until_gone
from tests.lacking import small_file_system

pytestmark = pytest.mark.engine
ROWS = 200_000
# the full ones run with `make test-all`
RESTORES = 12 if "PGSTACK_KILLS" in os.environ else 3  # that are killed


def backups(checkout: Checkout) -> list[Path]:
    return sorted((checkout.root / ".data" / "backups" / "local").glob("*Z"))


def count(checkout: Checkout) -> int:
    return int(checkout.ask("SELECT count(*) FROM app.kept")[0][0])


def fill(checkout: Checkout, rows: int = ROWS) -> None:
    checkout.do(f"CREATE TABLE app.kept AS SELECT i, repeat(md5(i::text), 10) AS t FROM generate_series(1, {rows}) i")


@pytest.mark.promise("A restore brings every row back and keeps the former database")
def test_rows_come_back_and_the_former_database_is_kept(deployed: Checkout) -> None:
    fill(deployed, 1000)
    deployed.do("CREATE ROLE \"a reporter\" LOGIN PASSWORD 'secret-of-a-reporter'")
    deployed.do('GRANT SELECT ON app.kept TO "a reporter"')
    deployed.do("COMMENT ON DATABASE app IS 'ours'")
    assert "none yet" in deployed.run("status").stdout
    said = deployed.ok("backup", "create")
    assert "rows, PostgreSQL 18" in said
    (folder,) = backups(deployed)
    for path in [folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert "secret-of-a-reporter" not in "".join(path.read_text(errors="replace") for path in folder.glob("*.*"))
    assert "good" in deployed.ok("backup", "drill", "local", "--with-vector-indexes")
    before = deployed.ask("SELECT datacl::text, datdba::regrole::text FROM pg_database WHERE datname = 'app'")
    deployed.do("DROP TABLE app.kept")
    deployed.do("CREATE TABLE app.since (i int)")
    deployed.do('DROP OWNED BY "a reporter"')
    deployed.do('DROP ROLE "a reporter"')
    with connect(deployed.admin(), application="test", own_path=True) as session:
        session.execute("SELECT 1")
        said = deployed.ok("backup", "restore", "local", "--confirm", "local")
        with pytest.raises(Exception, match="terminat"):
            session.execute("SELECT 1")
    assert "makes roles" in said
    assert count(deployed) == 1000
    after = deployed.ask("SELECT datacl::text, datdba::regrole::text FROM pg_database WHERE datname = 'app'")
    assert after == before
    assert deployed.ask("SHOW search_path") == [("app, public",)]
    assert deployed.ask("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'app'") == [
        ("ours",)
    ]
    assert deployed.ask("SELECT rolcanlogin, has_table_privilege(oid, 'app.kept', 'SELECT') FROM pg_roles"
                        " WHERE rolname = 'a reporter'") == [(True, True)]  # fmt: skip
    former = re.search(r"pgstack_before_\w+", said)
    assert former is not None
    deployed.do(f"ALTER DATABASE {former[0]} CONNECTION LIMIT 5")  # it is there
    assert "is up: unchanged" in deployed.ok("up")
    # and the next backup leaves it out
    deployed.ok("backup", "create")
    found = json.loads((backups(deployed)[-1] / "manifest.json").read_text())
    assert [each["name"] for each in found["databases"]] == ["app", "postgres"]
    assert "good" in deployed.run("status").stdout


def test_a_dropped_database_comes_back(deployed: Checkout) -> None:
    fill(deployed, 100)
    deployed.ok("backup", "create")
    with connect(replace(deployed.admin(), database="postgres"), application="test", own_path=True) as connection:
        connection.execute("DROP DATABASE app WITH (FORCE)")
    deployed.ok("backup", "restore", "local", "--confirm", "local")
    assert count(deployed) == 100


def test_the_name_has_to_be_typed(deployed: Checkout) -> None:
    fill(deployed, 10)
    deployed.ok("backup", "create")
    deployed.do("DELETE FROM app.kept")
    assert "--confirm local" in deployed.fails("backup", "restore", "local")
    assert "nothing was done" in deployed.fails("backup", "restore", "local", "--confirm", "production")
    assert count(deployed) == 0


@pytest.mark.promise("A backup that is truncated, altered or incomplete is refused")
def test_a_truncated_an_altered_and_an_incomplete_backup_are_refused(deployed: Checkout) -> None:
    fill(deployed, 1000)
    deployed.ok("backup", "create")
    (folder,) = backups(deployed)
    data = max((folder / "app").glob("*.dat.gz"), key=lambda path: path.stat().st_size)
    whole = data.read_bytes()
    manifest = folder / "manifest.json"
    text = manifest.read_text()
    cases: dict[str, Callable[[], object]] = {
        "bytes instead of": lambda: data.write_bytes(whole[:-10]),
        "its SHA-256 is another": lambda: data.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:]),
        "missing": data.unlink,
        "not in the manifest": lambda: (folder / "app" / "more.dat.gz").write_text("x"),
        "was altered": lambda: manifest.write_text(text.replace('"app.kept": 1000', '"app.kept": 999')),
        "can't be read": lambda: manifest.write_text(text[:1000]),
    }
    commands = (["drill", "local"], ["restore", "local", "--confirm", "local"], ["list", "local", "--verify"])
    for number, (words, damage) in enumerate(cases.items()):
        damage()
        # they read a backup by one function: all three are tried with the first damage, then one after the other
        for command in commands if number == 0 else commands[number % 3 : number % 3 + 1]:
            said = deployed.fails("backup", *command)
            assert words in said, (words, command)
        data.write_bytes(whole)
        (folder / "app" / "more.dat.gz").unlink(missing_ok=True)
        manifest.write_text(text)
    assert count(deployed) == 1000
    assert "FAILED" in deployed.ok("backup", "list")
    assert "FAILED" in deployed.run("status").stdout
    assert "pgstack backup create local" in deployed.fails("doctor").replace("\n", " ")
    assert "good" in deployed.ok("backup", "drill")
    assert "pgstack backup" not in deployed.run("doctor").stdout
    assert "signed" not in deployed.ok("backup", "list")
    drill = folder.with_name(f"{folder.name}.drill.json")
    drill.write_text(drill.read_text().replace('"signature": "', '"signature": "x'))
    assert f"{folder.name}: the record of its drill isn't signed" in deployed.ok("backup", "list")
    assert "the record of its drill isn't signed" in deployed.run("status").stdout


@pytest.mark.promise("Only a backup that the stack's own key signed is tried and restored")
def test_only_a_backup_with_the_stacks_own_key_is_tried_and_restored(deployed: Checkout) -> None:
    fill(deployed, 100)
    deployed.ok("backup", "create")
    key = deployed.ok("backup", "key").strip()
    assert re.fullmatch(r"[0-9a-f]{48}", key)
    assert key not in deployed.state() + deployed.ok("outputs", "local", "--show-secrets")
    (folder,) = backups(deployed)
    signed = read(folder, Trust(key))
    commands = (["drill", "local"], ["restore", "local", "--confirm", "local"])
    write(signed, folder)  # as an earlier version did
    for command in commands:
        assert "isn't signed" in deployed.fails("backup", *command)
    assert "good" in deployed.ok("backup", "drill", "local", "--unsigned")
    deployed.do("DELETE FROM app.kept")
    write(signed, folder, "another stack's key")
    for command in commands:
        assert "isn't signed with this stack's key" in deployed.fails("backup", *command)
    assert count(deployed) == 0
    deployed.ok("backup", "restore", "local", "--confirm", "local", "--unsigned")
    assert count(deployed) == 100
    # a key of one's own counts from the next `up` on, and the generated one again without it
    write(signed, folder, key)
    deployed.secret("backupKey", "k" * 32)
    deployed.ok("up")
    assert deployed.ok("backup", "key").strip() == "k" * 32
    assert "isn't signed with this stack's key" in deployed.fails("backup", "drill")
    deployed.configure(backupKey=None)
    assert "backup-key" in deployed.ok("up")
    assert "good" in deployed.ok("backup", "drill")


def test_a_state_from_before_there_was_a_key_gets_one_with_the_next_up(deployed: Checkout) -> None:
    file = deployed.root / ".pulumi" / "stacks" / "pgvector" / "local.json"
    content = json.loads(file.read_text())
    latest = content["checkpoint"]["latest"]
    latest["resources"] = [each for each in latest["resources"] if not each["urn"].endswith("::backup-key")]
    for each in latest["resources"]:
        for part in ("inputs", "outputs"):
            each.get(part, {}).pop("backupKey", None)
        each["dependencies"] = [urn for urn in each.get("dependencies", []) if not urn.endswith("::backup-key")]
        each.get("propertyDependencies", {}).pop("backupKey", None)
    file.write_text(json.dumps(content))
    assert "it isn't signed: the state has no key yet" in deployed.ok("backup", "create")
    assert "its state has no key" in deployed.fails("backup", "drill")
    assert "has no key yet" in deployed.fails("backup", "key")
    (old,) = backups(deployed)
    server = deployed.ask("SELECT pg_postmaster_start_time()")
    said = deployed.ok("preview")
    assert "backup-key" in said
    deployed.ok("up")
    assert deployed.ask("SELECT pg_postmaster_start_time()") == server
    assert "is up: unchanged" in deployed.ok("up")
    assert "isn't signed" in deployed.fails("backup", "drill", "local", old.name)
    deployed.ok("backup", "create")
    assert "good" in deployed.ok("backup", "drill")


@pytest.mark.promise("kill -9 in the midst of a backup leaves nothing that looks finished")
def test_kill_9_in_the_middle_leaves_nothing_that_looks_finished(deployed: Checkout) -> None:
    fill(deployed)
    kill_at(deployed, "database app", "backup", "create")
    assert "no backup" in deployed.ok("backup", "list")
    deployed.ok("backup", "create")
    assert len(backups(deployed)) == 1
    kill_at(deployed, "database app", "backup", "drill")
    assert not list((deployed.root / ".data" / "local").glob("18.drill*"))
    kill_at(deployed, "beside the live one", "backup", "restore", "local", "--confirm", "local")
    assert count(deployed) == ROWS
    deployed.do("DELETE FROM app.kept")
    assert "good" in deployed.ok("backup", "drill")
    assert "drops pgstack_restoring_" in deployed.ok("backup", "restore", "local", "--confirm", "local")
    assert count(deployed) == ROWS
    assert {path.name for path in (deployed.root / ".data" / "local").iterdir()} <= {"18", "18.log", "18.lock"}


def test_ctrl_c_leaves_nothing(deployed: Checkout) -> None:
    fill(deployed)
    for moment, command in (
        ("database app", ("backup", "create")),
        ("beside the live one", ("backup", "restore", "local", "--confirm", "local")),
    ):
        process = deployed.start(*command)
        assert process.stdout is not None
        with process.stdout:
            next(line for line in process.stdout if moment in line)
            process.send_signal(signal.SIGINT)
            said = process.stdout.read()
            assert process.wait() == 1
        assert "Traceback" not in said
        assert not working_on(deployed)
        place = deployed.root / ".data" / "backups" / "local"
        assert not [path for path in place.iterdir() if path.name.endswith(".unfinished")]
        assert deployed.ask("SELECT count(*) FROM pg_database WHERE datname ~ '^pgstack_'") == [(0,)]
        assert count(deployed) == ROWS
        deployed.ok("backup", "create")


@pytest.mark.promise("kill -9 in the midst of a restore leaves the old database or the new one")
def test_kill_9_around_the_swap_leaves_the_old_database_or_the_new_one(deployed: Checkout) -> None:
    fill(deployed, 1000)
    deployed.ok("backup", "create")
    seed = int(os.environ.get("PGSTACK_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    print(f"seed {seed}: repeat with PGSTACK_SEED={seed}")  # noqa: T201
    names = "SELECT count(*) FROM pg_database WHERE datname ~ '^pgstack_before'"
    asides = 0
    for _ in range(RESTORES):
        deployed.do("DELETE FROM app.kept WHERE i > 10")
        command = ("backup", "restore", "local", "--confirm", "local")
        kill_at(deployed, "compares it", *command, pause_s=chance.uniform(0, 0.3))
        (now,) = deployed.ask(names)[0]
        assert count(deployed) == (1000 if now > asides else 10)
        asides = now
    deployed.ok(*command)
    assert count(deployed) == 1000
    assert deployed.ask(names) == [(asides + 1,)]
    assert deployed.ask("SELECT count(*) FROM pg_database WHERE datname ~ '^pgstack_restoring'") == [(0,)]
    print(f"{asides} of {RESTORES} had swapped")  # noqa: T201


def kill_at(checkout: Checkout, moment: str, *command: str, pause_s: float = 0.15) -> None:
    """kill -9 of pgstack, a moment after it said something; then nothing of it works on, and nobody is connected."""
    process = checkout.start(*command)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if moment in line:
                break
        else:
            raise AssertionError(f"ended before {moment!r}")
        time.sleep(pause_s)
        process.kill()
        process.wait()
    assert not wait_until_gone(process.pid, 20)
    deadline = time.monotonic() + 20
    while (left := working_on(checkout) + passwords_left(checkout)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def passwords_left(checkout: Checkout) -> list[str]:
    """Files with the administrator's password in the machine's temporary folder."""
    left = []
    for path in Path(tempfile.gettempdir()).glob("pgstack-*/passfile"):
        try:
            if checkout.admin().password in path.read_text():
                left.append(str(path))
        except OSError:
            continue
    return left


def working_on(checkout: Checkout) -> list[str]:
    """Processes of PostgreSQL's programs that name the checkout or are connected to it."""
    mine = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment, words = path.read_bytes(), (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if str(checkout.root).encode() in environment + words and re.search(rb"pg_dump|pg_restore|18\.drill", words):
            mine.append(words.replace(b"\0", b" ").decode())
    connected = checkout.ask("SELECT query FROM pg_stat_activity WHERE application_name = 'pgstack'")
    return mine + [row[0] for row in connected]


@pytest.mark.promise("Retention never removes the last backup whose drill was good")
def test_two_at_once_and_retention(deployed: Checkout) -> None:
    fill(deployed, 100)
    deployed.configure(backupKeep=2, backupDirectory="elsewhere")
    place = deployed.root / "elsewhere" / "local"
    deployed.ok("backup", "create")
    with locking_folder(place):
        assert "another `pgstack backup` works in" in deployed.fails("backup", "create")
    first = sorted(place.glob("*Z"))
    deployed.ok("backup", "drill")
    for _ in range(3):
        deployed.ok("backup", "create")
    left = sorted(place.glob("*Z"))
    assert len(left) == 3  # two, and the last whose drill was good
    assert left[0] == first[0]
    assert not backups(deployed)


def test_a_full_disk_is_told_and_leaves_nothing(deployed: Checkout) -> None:
    fill(deployed)
    small = deployed.root / "small"
    small.mkdir()
    with small_file_system(small, "1m"):
        deployed.configure(backupDirectory=str(small))
        said = deployed.fails("backup", "create")
        assert "No space left on device" in said
        assert "nothing of it is kept" in said
        assert {path.name for path in (small / "local").iterdir()} == {".lock"}
        assert count(deployed) == ROWS

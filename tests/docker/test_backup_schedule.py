"""Backups by themselves: a container makes one a day, as `pgstack backup create` would; nothing of it stays after."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from docker.models.containers import Container

from pgvector_stacks.backup.manifest import Manifest, read, verify
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.docker import container_command
from tests.docker.conftest import NO_STRAY, PG15, PG17, PG18, DockerStack, Make
from tests.engine.checkout import KNOWN_SECRETS
from tests.lacking import needs_root

pytestmark = [pytest.mark.engine, pytest.mark.docker]


def far() -> dict[str, object]:
    """No run by itself while a test works."""
    return {"at": f"{datetime.now(UTC) + timedelta(hours=12):%H:%M}"}


def sidecar(stack: DockerStack) -> Container:
    return stack.client.containers.get(f"{stack.name}-backup")


def folder(stack: DockerStack) -> Path:
    return stack.root / ".data" / "backups" / stack.stack


def backups(stack: DockerStack) -> list[Path]:
    return sorted(folder(stack).glob("*Z"))


def volumes(stack: DockerStack) -> set[str]:
    return {each.name for each in stack.client.volumes.list(filters={"name": stack.name})}


def now(stack: DockerStack, *, fails: bool = False) -> str:
    """A run by hand; what it said."""
    container = sidecar(stack)
    place = str(container.attrs["Config"]["Cmd"][-1]).rsplit("/", 1)[0]
    done = container_command.run(container, ["sh", "-eu", f"{place}/now.sh"])
    assert bool(done.code) == fails, done.text
    return done.text


def in_its_volume(stack: DockerStack) -> str:
    """The name and text of each file there, as root of the Docker host sees them."""
    words = 'find /v -type f -exec sh -c "basename {}; cat {}" \\;; stat -c "%a %u" /v/passfile'
    volume = {f"{stack.name}-backup": {"bind": "/v", "mode": "ro"}}
    said = stack.client.containers.run(
        PG17, ["sh", "-euc", words], user="root", network_mode="none", remove=True, volumes=volume, tmpfs=NO_STRAY
    )  # fmt: skip
    text = bytes(said).decode()
    assert text.endswith(f"400 {sidecar(stack).attrs['Config']['User'].split(':')[0]}\n")
    return text


def eventually(true: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def shape(manifest: Manifest) -> dict[str, object]:
    """What two backups of the same data have in common. A scheduled one doesn't say what had drifted."""
    return manifest.model_dump(exclude={"started_at", "seconds", "files"}) | {
        "databases": [each.model_dump(exclude={"bytes", "drifted"}) for each in manifest.databases],
        "files": sorted(manifest.files),
    }


@pytest.mark.parametrize("of", [PG17, PG18] if os.environ.get("PGSTACK_EXAMPLES") else [""])
def test_a_scheduled_backup_is_one_as_create_makes_it(make: Make, of: str) -> None:
    of = of or random.SystemRandom().choice([PG17, PG18])  # each with `make test-all`
    print(of)  # noqa: T201
    stack = make("dev", image=of, tls="require", backup=far() | {"keep": 2})
    stack.up()
    KNOWN_SECRETS.extend(stack.passwords())
    kept = in_its_volume(stack)
    assert not any(secret in kept for secret in stack.passwords())
    KNOWN_SECRETS.append(kept.split("passfile\n", 1)[1].split("\n", 1)[0].rsplit(":", 1)[1])  # its own
    stack.fill(1000)
    stack.do('CREATE DATABASE "a b/ü"')
    stack.do("CREATE TABLE public.near AS SELECT i, format('[%s,1]', i)::vector(2) AS v FROM generate_series(1, 500) i")
    stack.do("CREATE INDEX near_v ON public.near USING hnsw (v vector_l2_ops)")
    stack.do("COMMENT ON DATABASE app IS 'it''s ours: \\x7f ü'")
    said = now(stack)
    assert "is made" in said
    (made,) = backups(stack)
    assert made.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in made.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_uid for path in made.rglob("*")} == {folder(stack).stat().st_uid}
    scheduled = verify(made)
    stack.ok("backup", "create", "dev")
    assert shape(scheduled) == shape(verify(backups(stack)[-1]))
    assert made.name in stack.ok("backup", "list", "dev", "--verify")
    assert "good" in stack.ok("backup", "drill", "dev", made.name, "--with-vector-indexes")
    if of == PG17:  # what doesn't depend on the major
        stack.do("DELETE FROM public.kept")
        stack.ok("backup", "restore", "dev", made.name, "--confirm", "dev")
        assert stack.rows() == 1000
        # two are kept, and the one whose drill was good
        for _ in range(3):
            now(stack)
        assert len(backups(stack)) == 3
        assert backups(stack)[0] == made
    kept_backups = len(backups(stack))

    container = sidecar(stack)
    told = json.dumps(container.attrs) + container.logs().decode() + said + (made / "manifest.json").read_text()
    assert not any(secret in told for secret in KNOWN_SECRETS)
    assert not any(secret in stack.state() for secret in KNOWN_SECRETS)
    assert container.attrs["Config"]["User"].split(":")[0] == str(folder(stack).stat().st_uid) != "0"
    assert {"PGUSER=pgstack_backup", "PGSSLMODE=verify-ca"} <= set(container.attrs["Config"]["Env"])
    host = container.attrs["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["PidsLimit"]) == (True, ["ALL"], 64)
    assert host["PortBindings"] in (None, {})
    assert "schedule daily at" in stack.run("status", "dev").stdout
    assert "is up: unchanged" in stack.up()
    mounted = {each["Name"] for each in sidecar(stack).attrs["Mounts"] if each["Type"] == "volume"}
    assert mounted == {f"{stack.name}-backup"}  # none that the image asked for
    assert volumes(stack) == {stack.name, f"{stack.name}-backup"}

    stack.ok("down", "dev", "--yes")
    assert stack.of_role("backup") == []
    assert volumes(stack) == {stack.name}
    assert len(backups(stack)) == kept_backups
    assert not (folder(stack) / "schedule.json").exists()


@pytest.mark.promise("A schedule of backups runs by itself, and comes and goes without a restart of the server")
def test_a_schedule_comes_and_runs_by_itself_and_goes_and_the_server_never_notices(make: Make) -> None:
    stack = make("dev", restart="unless-stopped")
    stack.up()
    started = stack.started_at
    schedule = far()
    stack.configure(backup=schedule)
    assert "is up: 5 created, 1 updated" in stack.up()
    first = sidecar(stack).id
    runs_by_itself(stack, str(schedule["at"]))
    stack.configure(backup=far() | {"keep": 5})
    stack.up()
    assert sidecar(stack).id != first
    assert "KEEP=5" in sidecar(stack).attrs["Config"]["Env"]
    # a runner elsewhere has another folder and another owner
    stack.configure(backupDirectory="/elsewhere")
    said = stack.ok("preview", "dev", "--offline", DOCKER_HOST=f"unix://{stack.root}/no/docker.sock")
    assert not re.search(r"backup.*(replace|update)", said), said
    stack.configure(backupDirectory=None)
    now(stack)
    stack.configure(backup=None)
    assert "is up: 5 deleted, 1 updated" in stack.up()
    assert stack.ask("SELECT FROM pg_roles WHERE rolname = 'pgstack_backup'") == []
    assert stack.of_role("backup") == []
    assert len(backups(stack)) == 1
    assert stack.started_at == started


def runs_by_itself(stack: DockerStack, at: str) -> None:
    """Its loop waits for the time that is asked for; once more, for one that comes in seconds, it makes a backup."""
    container = sidecar(stack)
    assert container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert eventually(lambda: f" {at} UTC" in container.logs().decode(), within_s=20), container.logs().decode()
    since = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    due = int((datetime.now(UTC) - since).total_seconds() + 5) % 86400
    loop = str(container.attrs["Config"]["Cmd"][-1])
    assert f"SECOND={int(at[:2]) * 3600 + int(at[3:]) * 60}" in container.attrs["Config"]["Env"]
    container.exec_run(
        ["sh", "-c", f"exec sh -eu {loop} >/tmp/said 2>&1"], environment={"SECOND": str(due)}, detach=True
    )

    def said() -> str:
        return container_command.run(container, ["cat", "/tmp/said"]).text

    assert eventually(lambda: said().count("next backup") == 2, within_s=60), said()
    assert said().index("next backup") < said().index("begins") < said().rindex("next backup")
    (made,) = backups(stack)
    verify(made)
    assert "overdue" not in stack.run("doctor", "dev").stdout
    shutil.rmtree(made)


def test_it_follows_a_new_password_and_a_new_major(make: Make) -> None:
    stack = make("dev", image=PG15, backup=far(), upgradeBackup=False)
    stack.up()
    now(stack)
    first = sidecar(stack).id
    stack.secret("adminPassword", "another: 'one'\\ ")
    stack.up()
    assert sidecar(stack).id == first
    now(stack)
    stack.configure(image=PG17)
    stack.up()
    assert sidecar(stack).id != first
    now(stack)
    assert [read(each).major for each in backups(stack)][-1] == 17
    assert "good" in stack.ok("backup", "drill", "dev")


def test_what_went_wrong_is_told_by_doctor_until_it_goes_well(make: Make) -> None:
    stack = make("dev", backup=far())
    stack.up()
    assert "✗ │ backup schedule" not in stack.run("doctor", "dev").stdout
    stack.container.pause()
    try:
        said = now(stack, fails=True)
        assert "timeout" in said
    finally:
        stack.container.unpause()
    assert backups(stack) == []
    assert list(folder(stack).glob("*.unfinished")) == []
    told = stack.fails("doctor", "dev")
    assert "the last run failed" in told
    assert "docker logs" in told
    now(stack)
    assert "the last run failed" not in stack.run("doctor", "dev").stdout

    # no backup for too long: the schedule is told to be older than it is, and the backup too
    (old,) = backups(stack)
    old.rename(old.with_name("20260101T020000Z"))
    (folder(stack) / "schedule.json").write_text('{"since": "2026-01-01T00:00:00+00:00"}')
    assert "overdue" in stack.fails("doctor", "dev")
    assert "overdue" in stack.run("status", "dev").stdout
    sidecar(stack).stop()
    assert f"{stack.name}-backup, which makes the backups, is exited" in stack.fails("doctor", "dev", COLUMNS="300")
    stack.up()
    assert sidecar(stack).status == "running"


def test_it_works_as_the_owner_of_the_folder_whoever_that_is(make: Make, tmp_path: Path) -> None:
    needs_root("a folder of somebody else's")
    stack = make("dev", backup=far() | {"keep": 1}, backupDirectory=str(tmp_path / "kept"))
    place = tmp_path / "kept" / "dev"
    place.mkdir(parents=True, mode=0o700)
    os.chown(place, 12345, 23456)
    stack.up()
    for _ in range(2):
        now(stack)
    (made,) = place.glob("*Z")
    assert {(path.stat().st_uid, path.stat().st_gid) for path in [made, *made.rglob("*")]} == {(12345, 23456)}
    assert made.name in stack.ok("backup", "list", "dev", "--verify")
    # what it may not remove, because somebody else made it, is told; the backup is made all the same
    (place / "20200101T000000Z").mkdir(mode=0o700)
    (place / "20200101T000000Z" / "a").touch()
    for _ in range(2):
        assert "is made" in now(stack, fails=True)
        assert "the last run failed" in stack.fails("doctor", "dev", COLUMNS="300")
    shutil.rmtree(place / "20200101T000000Z.unfinished")
    now(stack)
    assert len(list(place.glob("*Z"))) == 1
    # the folder goes, and the container has the old one still: the next `up` sees to it
    shutil.rmtree(place)
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 23456)
    assert "not made yet" in stack.fails("doctor", "dev", COLUMNS="300")
    stack.up()
    now(stack)
    assert len(list(place.glob("*Z"))) == 1
    assert "is up: unchanged" in stack.up()


def test_a_folder_that_its_owner_may_not_write_fails_the_up_at_once(make: Make, tmp_path: Path) -> None:
    needs_root("a folder of somebody else's")
    stack = make("dev", backup=far(), backupDirectory=str(tmp_path / "kept"))
    place = tmp_path / "kept" / "dev"
    place.mkdir(parents=True)
    os.chown(place, 12345, 23456)
    place.chmod(0o500)
    said = stack.refused()
    assert f"scheduled backups (pgvector:backup) can't be written to {place}" in said
    assert "pgvector:backupDirectory" in said
    assert stack.container.status == "running"
    place.chmod(0o700)
    # nor does a container of somebody else's name go away
    foreign = stack.client.containers.create(PG17, ["true"], name=f"{stack.name}-backup", tmpfs=NO_STRAY)
    assert f"there is a container {stack.name}-backup that this stack did not create" in stack.refused()
    foreign.remove(force=True)
    stack.up()
    now(stack)


def test_a_run_that_is_killed_leaves_no_half_and_the_next_one_tidies(make: Make) -> None:
    stack = make("dev", backup=far())
    stack.up()
    stack.fill(10)
    container = sidecar(stack)
    place = str(container.attrs["Config"]["Cmd"][-1]).rsplit("/", 1)[0]
    with connect(stack.admin(), application="test", own_path=True) as connection, connection.transaction():
        connection.execute("LOCK TABLE public.kept")  # which the dump waits for
        container.exec_run(["sh", "-eu", f"{place}/now.sh"], detach=True)
        assert eventually(lambda: bool(list(folder(stack).glob("*.unfinished/globals.sql"))), within_s=30)
        assert "another `pgstack backup` works" in stack.fails("backup", "create", "dev")  # one at a time
        container.kill()
    assert backups(stack) == []
    assert len(list(folder(stack).glob("*.unfinished"))) == 1
    container.start()
    now(stack)
    assert len(list(folder(stack).glob("*Z*"))) == 1
    assert stack.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgstack'") == [(0,)]

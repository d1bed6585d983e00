"""What a stack with scheduled backups declares besides; one without declares nothing of it. No Docker Engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from components.backup_schedule import BackupFilesProvider
from components.shared.engine import ONLY_AT_AN_UPGRADE, keep_as_in_state
from pgvector_stacks.backup.daily.sidecar import UNUSED_UID
from pgvector_stacks.common.errors import PgstackError
from tests.components.declared import DYNAMIC, Runner, database

SCHEDULE = '{"at": "02:30", "keep": 5}'


@pytest.fixture(autouse=True)
def no_docker_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


def test_a_stack_without_a_schedule_declares_nothing_of_it(run: Runner) -> None:
    without = run(database({}, "production")).declared
    scheduled = run(database({"backup": SCHEDULE}, "production")).declared
    added = {name: each.type.removeprefix(DYNAMIC) for name, each in scheduled.items() if name not in without}
    assert added == {
        "backup-password": "GeneratedPassword",
        "backup-files-volume": "docker:index/volume:Volume",
        "backup-files": "BackupFiles",
        "backup": "docker:index/container:Container",
        "backup-runs": "BackupRuns",
    }
    # nothing else changes, but for what only an upgrade reads: the server isn't restarted. The schema makes the role
    before, after = (
        {name: keep_as_in_state({}, found[name].inputs, ONLY_AT_AN_UPGRADE) for name in without}
        for found in (without, scheduled)
    )
    assert after["schema"].pop("backupPassword") == "generated backup-password"
    assert "backupPassword" in scheduled["schema"].secret
    mine, theirs = (found["schema"].pop("roleLimits") for found in (after, before))
    assert mine["appConnections"] < theirs["appConnections"]  # its connections are no superuser's
    assert after == before


def test_the_container_is_hardened_and_holds_no_password(run: Runner, tmp_path: Path) -> None:
    found = run(database({"backup": SCHEDULE, "backupDirectory": str(tmp_path / "kept")}, "dev")).declared
    backup, server, files = (found[name] for name in ("backup", "server", "backup-files"))
    inputs = backup.inputs
    assert inputs["image"] == server.inputs["image"]
    assert inputs["name"] == found["backup-files-volume"].inputs["name"] == "pgvector-dev-backup"
    assert [each["name"] for each in inputs["networksAdvanced"]] == ["pgvector-dev"]
    assert inputs["readOnly"]
    assert inputs["capabilities"] == {"drops": ["ALL"]}
    assert inputs["securityOpts"] == ["no-new-privileges"]
    mine = f"{os.getuid()}:{os.getgid()}"
    assert inputs["user"] == (mine if os.getuid() else f"{UNUSED_UID}:{UNUSED_UID}")  # never root
    assert inputs["memory"] == inputs["memorySwap"] == 512
    assert inputs["cpus"] == "1.0"
    assert inputs["restart"] == server.inputs["restart"]
    assert inputs["logOpts"] == server.inputs["logOpts"]
    assert "ports" not in inputs
    assert {"SECOND=9000", "KEEP=5", "PGHOST=pgvector-dev", "STACK=dev", "DATABASE=app"} <= set(inputs["envs"])
    assert [(m["type"], m["source"], m["target"], m.get("readOnly")) for m in inputs["mounts"]] == [
        ("volume", "pgvector-dev-backup", "/pgstack", True),
        ("bind", str(tmp_path / "kept" / "dev"), "/backups", None),
    ]
    assert "generated" not in str(inputs)
    assert "PGUSER=pgstack_backup" in inputs["envs"]
    assert "admin-password" not in str(files.inputs)
    assert files.inputs["backupPassword"] == "generated backup-password"
    assert files.inputs["backupKey"] == "generated backup-key"
    assert {"backupPassword", "backupKey"} <= files.secret
    assert backup.delete_before_replace


def test_without_a_number_of_its_own_it_keeps_what_backup_keep_says(run: Runner) -> None:
    envs = run(database({"backup": '{"at": "02:30"}', "backupKeep": 9}, "dev")).declared["backup"].inputs["envs"]
    assert "KEEP=9" in envs


@pytest.mark.parametrize(("major", "place"), [("17", "/var/lib/postgresql/data"), ("18", "/var/lib/postgresql")])
def test_the_image_adds_no_stray_volume(run: Runner, major: str, place: str) -> None:
    given = {"backup": SCHEDULE, "image": f"pgvector/pgvector:pg{major}"}
    backup = run(database(given, "dev")).declared["backup"].inputs
    assert set(backup["tmpfs"]) == {"/tmp", place}
    assert any(each.startswith(f"PATH=/usr/lib/postgresql/{major}/bin:") for each in backup["envs"])


@pytest.mark.parametrize("host", ["ssh://root@elsewhere", "tcp://elsewhere:2376"])
def test_an_engine_elsewhere_is_refused_with_the_other_way(run: Runner, host: str) -> None:
    said, declared = run.refused(database({"backup": SCHEDULE, "dockerHost": host}, "dev"), PgstackError)
    assert f"pgvector:backup: the Docker Engine {host} (pgvector:dockerHost) is elsewhere" in said
    assert "pgstack backup create dev" in said
    assert set(declared) <= {"dev", "backup-key"}


def test_an_offline_preview_elsewhere_sees_no_other_folder_and_no_other_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSTACK_OFFLINE", "1")
    olds = {"docker": "unix:///a", "directory": "/there", "owner": "7:7", "folder": "/pgstack/1"}
    news = {"docker": "ssh://offline.invalid", "directory": "/here", "owner": "0:0", "folder": "/pgstack/2"}
    assert BackupFilesProvider().check(olds, news).inputs == olds | {"folder": "/pgstack/2"}

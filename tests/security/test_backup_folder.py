"""Who may write in the folder of the backups, as the schedule's container may, gets no further and forges no drill."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvector_stacks.backup import create, shared_files, store
from pgvector_stacks.backup import manifest as manifests
from pgvector_stacks.backup.daily import schedule, sidecar
from pgvector_stacks.backup.manifest import BackupFailed, BackupRefused, Trust, verify
from pgvector_stacks.backup.store import DrillResult
from pgvector_stacks.cli.backup import commands, scheduled
from pgvector_stacks.common import shell
from pgvector_stacks.config.environment import from_config
from pgvector_stacks.toolbox.tar_stream import pack, unpack
from tests.lacking import needs_root
from tests.security.test_backup_is_signed import KEY, OTHER_STACKS_KEY, signed

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
GOOD = DrillResult(ok=True, at=NOW, seconds=1.25, vector_indexes=False)
NAME = "20261124T020000Z"


def promptly(work: Callable[[], object], within_s: float = 5) -> None:
    """A command that waits for a pipe never ends."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(within_s)
    assert not thread.is_alive(), "it waits for what lies in the folder"


def as_the_container(code: str, *arguments: Path) -> None:
    """Python as its user, who is no root."""
    words = ["setpriv", f"--reuid={sidecar.UNUSED_UID}", f"--regid={sidecar.UNUSED_UID}", "--clear-groups"]
    subprocess.run([*words, sys.executable, "-c", code, *map(str, arguments)], check=True)


@pytest.mark.parametrize("where", ["a file's name", "the folder's name", "a file", "the manifest"])
@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "large"])
def test_nobody_waits_for_what_is_no_plain_file(where: str, kind: str, tmp_path: Path) -> None:
    directory = tmp_path / "dev"
    made = signed(directory, KEY)
    environment = from_config("dev", {"engine": "docker", "backup": {"at": "02:00"}, "backupDirectory": str(tmp_path)})
    assert environment.backups == directory
    schedule.record_start(directory, NOW)
    store.record_drill(made, GOOD, KEY)
    places = {
        "a file's name": [store.drill_file(made), directory / schedule.SINCE, directory / schedule.FAILED],
        "the folder's name": [made.with_name("20301124T020000Z"), directory / "20301124T020000Z.unfinished"],
        "a file": [made / "a%20b" / "toc.dat", made / manifests.GLOBALS],
        "the manifest": [made / manifests.NAME],
    }[where]
    for place in places:
        place.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(place)
        elif kind == "link":
            place.symlink_to("/dev/zero")
        elif kind == "folder":
            place.mkdir()
        else:
            with place.open("wb") as file:
                file.truncate(1 << 40)  # takes no room, and more memory than there is

    def look() -> None:
        commands.examine_backups(environment, KEY)
        scheduled.examine_schedule(environment, NOW)
        store.last_good_drill_time(directory)
        with suppress(BackupRefused):
            verify(made, trust=Trust(KEY))

    promptly(look)


SWAP = "import os, sys; os.rename(sys.argv[1], sys.argv[1] + '.gone'); os.symlink(sys.argv[2], sys.argv[1])"


@pytest.mark.parametrize("when", ["before it is made", "while it is filled", "before it is closed", "at the end"])
def test_a_backup_of_roots_is_written_nowhere_else(when: str, tmp_path: Path) -> None:
    needs_root("two users")
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:-2]:
        parent.chmod(0o755)
    directory, victim = tmp_path / "dev", tmp_path / "etc"
    directory.mkdir()
    victim.mkdir(mode=0o755)
    (victim / "passwd").write_text("root's")
    (victim / "passwd").chmod(0o644)
    (victim / NAME).mkdir()
    (victim / NAME / "passwd").write_text("root's")
    os.chown(directory, sidecar.UNUSED_UID, sidecar.UNUSED_UID)
    source = signed(tmp_path / "source", KEY)
    finished = directory / NAME

    def swap(now: str) -> None:
        if now == when:
            as_the_container(SWAP, finished.with_name(f"{NAME}{store.UNFINISHED}"), victim)

    before = [(path, path.stat().st_mode, path.stat().st_uid) for path in sorted([victim, *victim.rglob("*")])]
    with store.locking_folder(directory), store.staging(finished) as made:
        swap("before it is made")
        unpack(pack(source), made)
        swap("while it is filled")
        manifests.write(manifests.read(made), made, KEY)
        swap("before it is closed")
        shared_files.close_to_others(made)
        swap("at the end")
        store.promote(made, finished)
    assert verify(finished, trust=Trust(KEY)).stack == "local"
    assert {path.stat().st_uid for path in [finished, *finished.rglob("*")]} == {sidecar.UNUSED_UID}
    after = [(path, path.stat().st_mode, path.stat().st_uid) for path in sorted([victim, *victim.rglob("*")])]
    assert after == before


def test_a_folder_of_the_containers_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Between the moment in which it is made and that in which it is opened."""
    needs_root("two users")
    os.chown(tmp_path, sidecar.UNUSED_UID, sidecar.UNUSED_UID)

    class Theirs(type(tmp_path)):  # type: ignore[misc]
        def mkdir(self, *_: object, **__: object) -> None:
            super().mkdir()
            os.chown(self, sidecar.UNUSED_UID, sidecar.UNUSED_UID)

    with (
        pytest.raises(OSError, match="somebody put another folder there"),
        shared_files.open_private_folder(Theirs(tmp_path / "x")),
    ):
        pass


def test_what_is_handed_over_ends_at_links(tmp_path: Path) -> None:
    needs_root("a folder of root's")
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (folder := tmp_path / "dev").mkdir()
    (folder / "link").symlink_to(outside)
    shared_files.change_owner(folder, sidecar.UNUSED_UID, sidecar.UNUSED_UID)
    assert {path.stat().st_uid for path in (outside, outside / "deep")} == {0}
    assert (folder / "link").lstat().st_uid == sidecar.UNUSED_UID


def test_a_drill_that_never_was_is_told(tmp_path: Path) -> None:
    environment = from_config("production", {"backupDirectory": str(tmp_path)})
    made = signed(tmp_path / "production", KEY)
    store.record_drill(made, GOOD, KEY)
    good = commands.examine_backups(environment, KEY)
    assert good.is_ok
    assert "signed" not in good.found
    for forged in (
        GOOD.model_copy(update={"ok": True}),  # not signed
        store.read_last_drill(made).model_copy(update={"seconds": 1.5}),  # type: ignore[union-attr]
        GOOD.model_copy(update={"signature": "\u00e9"}),
        GOOD.model_copy(update={"signature": GOOD.proof(NAME, OTHER_STACKS_KEY)}),
        GOOD.model_copy(update={"signature": GOOD.proof("20251124T020000Z", KEY)}),  # of another backup
    ):
        store.record_drill(made, forged)
        found = commands.examine_backups(environment, KEY)
        assert "the record of its drill isn't signed" in found.found
        assert found.remedy == "pgstack backup drill production"
        assert store.last_good_drill_time(made.parent, KEY) is None
        assert store.list_with_good_drill(made.parent, KEY) == []  # by which an upgrade goes, too
    assert commands.examine_backups(environment, None).is_ok  # whose state can't be read: nothing is said of signatures


@pytest.mark.parametrize(
    ("key", "words"), [("", "not signed"), (OTHER_STACKS_KEY, "signed with another key"), (KEY, "")]
)
def test_whose_a_backup_is_is_told(key: str, words: str, tmp_path: Path) -> None:
    made = signed(tmp_path / "production", key)
    (tmp_path / "local").symlink_to(made.parent)
    store.record_drill(made, GOOD, KEY)
    (backup,) = store.list_backups(made.parent)
    assert commands.find_doubts(backup, KEY) == [words] * bool(words)
    assert commands.find_doubts(backup, None) == []
    assert commands.find_doubts(backup, "") == ["no key yet"]
    found = commands.examine_backups(from_config("production", {"backupDirectory": str(tmp_path)}), KEY)
    assert found.is_ok is not bool(words)
    assert (f"; {words}" in found.found) is bool(words)
    here = commands.examine_backups(from_config("local", {"backupDirectory": str(tmp_path)}), KEY)
    assert here.is_ok is (key != OTHER_STACKS_KEY)  # an old one of a stack without protection is no fault


def test_a_failure_that_the_container_noted_forges_no_line(tmp_path: Path) -> None:
    environment = from_config("dev", {"engine": "docker", "backup": {"at": "02:00"}, "backupDirectory": str(tmp_path)})
    schedule.record_start(tmp_path / "dev", NOW)
    (tmp_path / "dev" / schedule.FAILED).write_text("now\ndrift    none\n::error::x\n")
    found = scheduled.examine_schedule(environment, NOW)
    assert found is not None
    assert "\n    | drift    none\n    | \\::error::x" in found.found


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """A folder in which the names of the coming minute are there: links into nothing, too."""
    now = datetime.now(UTC)
    for seconds in range(60):
        place = tmp_path / f"{now + timedelta(seconds=seconds):{store.STAMP}}"
        place.touch() if seconds % 2 else place.symlink_to("nowhere")
    return tmp_path


def test_a_backup_does_not_wait_for_names_of_the_coming_seconds(taken: Path) -> None:
    def look() -> None:
        with pytest.raises(BackupFailed, match="named after the coming seconds"):
            create._wait_for_free_name(taken)

    promptly(look, within_s=create.FREE_WITHIN_S + 5)


@pytest.mark.parametrize("lock", ["", "pipe", "link"])
def test_nor_does_one_of_the_schedule_or_for_the_lock(taken: Path, lock: str) -> None:
    other = taken / "other"
    other.write_text("kept")
    if lock == "pipe":
        os.mkfifo(taken / ".lock")
    elif lock == "link":
        (taken / ".lock").symlink_to(other)
    done = subprocess.run(
        ["sh", "-ec", shell.get("backup_once")], env=os.environ | {"BACKUPS": str(taken), "KEEP": "1"},
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (done.returncode, "named after the coming seconds" in done.stdout) == (73, True), done.stderr
    assert other.read_text() == "kept"

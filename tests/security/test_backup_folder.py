"""Who may write in the folder of the backups, as the schedule's container may, gets no further and forges no drill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvector_stacks.backup import create, shared_files, store
from pgvector_stacks.backup import manifest as manifests
from pgvector_stacks.backup.copies.after_backup import prune_and_copy
from pgvector_stacks.backup.daily import schedule, sidecar
from pgvector_stacks.backup.manifest import BackupFailed, BackupRefused, Trust, verify
from pgvector_stacks.backup.retention import DrilledBackup
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
        place = tmp_path / f"{now + timedelta(seconds=seconds):{manifests.STAMP}}"
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


def impostor(directory: Path, name: str) -> Path:
    """A folder that anybody can make who may write there."""
    (directory / name).mkdir(parents=True)
    (directory / name / manifests.NAME).write_text("{}")
    return directory / name


@dataclass
class Elsewhere:
    """The other host: what it was sent, and told to remove."""

    there: list[str]
    url: str = "ssh://other/backups"
    stack: str = "production"

    def send(self, backup: Path) -> None:
        self.there.append(backup.name)

    def list_copies(self) -> list[DrilledBackup]:
        return [DrilledBackup(name, None) for name in sorted(self.there)]

    def remove(self, names: list[str]) -> None:
        for name in names:
            self.there.remove(name)


@pytest.mark.promise("A folder with a later time takes no new backup's place")
def test_a_later_name_takes_no_new_backups_place(tmp_path: Path) -> None:
    made = signed(tmp_path, KEY)
    later = [impostor(tmp_path, f"2099010{day}T000000Z").name for day in range(1, 4)]
    place = Elsewhere(later.copy())
    prune_and_copy(made, 2, place, lambda _: None)  # type: ignore[arg-type]
    assert made.is_dir()
    assert made.name in place.there
    assert manifests.read(made).folder_name == made.name


def test_a_name_that_is_no_time_is_no_backup(tmp_path: Path) -> None:
    environment = from_config("dev", {"engine": "docker", "backup": {"at": "02:00"}, "backupDirectory": str(tmp_path)})
    made = signed(environment.backups, KEY)
    schedule.record_start(environment.backups, NOW)
    for name in ("99999999T999999Z", "20261301T000000Z", "20261124T020061Z"):
        impostor(environment.backups, name)
    assert [each.name for each in store.list_backups(environment.backups)] == [made.name]
    assert commands.examine_backups(environment, KEY).found.startswith("last 2026-11-24")
    assert scheduled.examine_schedule(environment, NOW) is not None


def proven(content: dict[str, object], **more: object) -> str:
    return json.dumps(content | {"digest": manifests._digest(content)} | more)


@pytest.mark.parametrize("how", ["deep", "signature", "count", "surrogate"])
def test_a_manifest_that_no_one_could_write_is_damaged(how: str, tmp_path: Path) -> None:
    """It is told in words, so that it hides no other backup."""
    environment = from_config("dev", {"engine": "docker", "backupDirectory": str(tmp_path)})
    made = signed(environment.backups, KEY)
    content = json.loads((made / manifests.NAME).read_text())
    del content["digest"]
    signature = content.pop("signature")
    texts = {"deep": "[" * 100_000, "signature": proven(content, signature="\ud800")}
    if how == "count":
        content["databases"][0]["contents"]["rows"] = {"a": int("9" * 4300), "b": 1}
        texts[how] = proven(content, signature=signature)
    if how == "surrogate":
        content["stack"] = "\ud800"
        texts[how] = proven(content, signature=signature)
    (made / manifests.NAME).write_text(texts[how])
    (backup,) = store.list_backups(environment.backups)
    for trust in (Trust(KEY), manifests.UNSIGNED):
        with suppress(BackupRefused):
            f"{verify(made, trust=trust).rows:,}"
    with suppress(BackupRefused):
        assert commands.find_doubts(backup, KEY)
    assert commands.examine_backups(environment, KEY).found


@pytest.mark.parametrize("change", [{"at": "2026-11-24T03:00:00"}, {"seconds": 1e300}, {"seconds": "NaN"}])
def test_a_record_that_no_drill_wrote_is_none(change: dict[str, object], tmp_path: Path) -> None:
    made = signed(tmp_path, "")
    store.record_drill(made, GOOD)
    other = signed(tmp_path / "other", "").rename(tmp_path / "20261125T020000Z")
    record = json.loads(store.drill_file(made).read_text())
    store.drill_file(other).write_text(json.dumps(record | change))
    assert store.read_last_drill(other) is None
    assert store.last_good_drill_time(tmp_path) == NOW

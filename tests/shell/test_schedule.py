"""The scripts of the schedule's container, each with made-up neighbours; all of them together are in tests/docker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pgvector_stacks.common import shell
from tests.lacking import needs_root
from tests.shell.test_files import sh, write

MAKES = """
use strict;
my ($command, @words) = @ARGV;
if ($command eq 'make') { open(my $file, '>', "$words[0]/dump") or die; print "dumping\\n"; exit($ENV{CODE} // 0) }
print "20200101T000000Z\\n";
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the container's scripts lie, each under its name there."""
    write(tmp_path, {"once.sh": shell.get("backup_once"), "now.sh": shell.get("backup_now"), "backup.pl": MAKES})
    (tmp_path / "backups").mkdir()
    return tmp_path


def run(place: Path, script: str, **variables: str) -> tuple[int, str]:
    done = sh(f'sh -eu "{place}/{script}"', BACKUPS=str(place / "backups"), KEEP="3", **variables)
    return done.code, done.output


def names(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "backups").iterdir() if path.name != ".lock")


def test_backup_once_names_a_backup_when_it_is_whole_and_removes_the_old(place: Path) -> None:
    write(place / "backups", {"20200101T000000Z/dump": "", "20200101T000000Z.drill.json": "{}", "1.unfinished/x": ""})
    code, said = run(place, "once.sh")
    assert code == 0, said
    (made,) = names(place)
    assert re.fullmatch(r"\d{8}T\d{6}Z", made)
    assert said.splitlines() == ["dumping", f"{made} is made", "removed 20200101T000000Z: 3 are kept"]


def test_backup_once_leaves_nothing_of_a_failure(place: Path) -> None:
    assert run(place, "once.sh", CODE="3")[0] == 3
    assert names(place) == []


def test_backup_now_notes_a_failure_and_forgets_it_after_a_success(place: Path) -> None:
    assert run(place, "now.sh", CODE="3") == (3, "dumping\n")
    noted = (place / "backups" / "schedule.failed").read_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC\ndumping\n", noted)
    write(place / "backups", {"20200101T000000Z/dump": ""})
    assert run(place, "now.sh")[0] == 0
    assert "schedule.failed" not in names(place)


@pytest.mark.parametrize("name", ["schedule.failed", "schedule.failed.new"])
def test_backup_now_waits_for_no_pipe(place: Path, name: str) -> None:
    """Whoever else may write there could stop the schedule for ever."""
    os.mkfifo(place / "backups" / name)
    assert sh(f'timeout 10 sh -eu "{place}/now.sh"', BACKUPS=str(place / "backups"), KEEP="3", CODE="3").code == 3
    assert (place / "backups" / "schedule.failed").read_text().endswith(" UTC\ndumping\n")


def test_backup_loop_makes_one_when_it_is_due_and_ends_at_once_when_it_is_told_to(place: Path) -> None:
    write(place, {"loop.sh": shell.get("next_run", "backup_loop"), "now.sh": f'echo made >>"{place}/log"'})
    due = (int(time.time()) + 2) % 86400
    with (
        (place / "said").open("w") as said,
        subprocess.Popen(
            ["sh", "-eu", str(place / "loop.sh")], env=dict(os.environ) | {"SECOND": str(due)}, stdout=said
        ) as loop,
    ):
        deadline = time.monotonic() + 60
        while not (place / "log").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        loop.send_signal(signal.SIGTERM)
        assert loop.wait(timeout=15) == 0  # it doesn't sleep to the end of its nap, 30 s
    assert (place / "log").read_text() == "made\n"
    assert (place / "said").read_text().count("begins") == 1


def test_backup_install_hands_the_secrets_to_the_folders_owner_alone(tmp_path: Path) -> None:
    needs_root("giving files away")
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    volume, folder = tmp_path / "volume", tmp_path / "volume" / "scripts"
    write(volume, {"scripts/now.sh": ""})
    write(tmp_path, {"pgstack-password": "p", "pgstack-root.crt": "c", "pgstack-backup-key": "k", "backups/x": ""})
    (tmp_path / "backups").chmod(0o777)
    script = shell.get("backup_install").replace("/tmp/", f"{tmp_path}/")
    variables = {"OWNER": "65534:65534", "VOLUME": str(volume), "FOLDER": str(folder)}
    assert sh(script, BACKUPS=str(tmp_path / "backups"), **variables).code == 0
    for name, text in (("passfile", "p"), ("root.crt", "c"), ("backup-key", "k")):
        facts = (volume / name).stat()
        assert (facts.st_mode & 0o777, facts.st_uid, (volume / name).read_text()) == (0o400, 65534, text)
    os.mkfifo(tmp_path / "backups" / ".writable")  # which an open for writing waits for
    os.chown(tmp_path / "backups" / ".writable", 65534, 65534)
    assert sh(script, BACKUPS=str(tmp_path / "backups"), **variables).code == 0
    assert sorted(path.name for path in (tmp_path / "backups").iterdir()) == [".writable", "x"]
    (tmp_path / "backups").chmod(0o700)
    done = sh(script, BACKUPS=str(tmp_path / "backups"), **variables)
    assert done.code == 1
    assert "pgstack: user 65534 can't write into the folder" in done.output

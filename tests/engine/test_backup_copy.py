"""Copies on another host, an ssh server of the test's own: sent, kept there, fetched when those here are lost."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docker.test_ssh import ssh_host
from tests.engine.checkout import Checkout
from tests.engine.test_backup import count, fill
from tests.sshd import Host

__all__ = ["ssh_host"]
pytestmark = pytest.mark.engine


@pytest.mark.promise("Copies of backups are kept on another host, encrypted, and fetched from there")
def test_copies_are_sent_kept_and_fetched(deployed: Checkout, ssh_host: Host, tmp_path: Path) -> None:
    over_there = tmp_path / "far" / "a place"
    place = over_there / "local"
    deployed = replace(deployed, extra={"PATH": f"{ssh_host.path}{os.pathsep}{os.environ['PATH']}"})
    fill(deployed, 500)
    deployed.configure(backupCopy="ssh://host")
    assert "as ssh://USER@HOST/PATH" in deployed.fails("backup", "list")
    link = tmp_path / "far-without-a-space"
    over_there.mkdir(parents=True)
    link.symlink_to(over_there)
    deployed.configure(backupCopy=f"{ssh_host.url}{link}", backupKeep=2)
    said = deployed.ok("backup", "create")
    assert "copied to ssh://" in said
    (first,) = place.iterdir()
    assert [each.name for each in first.iterdir()] == ["backup.tar.age"]
    assert "age -d -i FILE backup.tar.age" in said
    assert b"toc.dat" not in (first / "backup.tar.age").read_bytes()
    assert "no drill yet" in deployed.ok("backup", "fetch", "local")
    deployed.ok("backup", "drill")
    assert f"{first.name}  drill good" in deployed.ok("backup", "fetch", "local")
    for _ in range(3):
        deployed.ok("backup", "create")
    there = sorted(each.name for each in place.iterdir() if each.is_dir())
    assert len(there) == 3  # two, and the last whose drill was good
    assert there[0] == first.name
    assert not list(place.glob("*.unfinished"))
    shutil.rmtree(deployed.root / ".data" / "backups")
    deployed.do("DELETE FROM app.kept")
    assert "there are: " in deployed.fails("backup", "fetch", "local", "20200101T000000Z")
    deployed.ok("backup", "fetch", "local", there[-1])
    deployed.ok("backup", "restore", "local", "--confirm", "local")
    assert count(deployed) == 500
    damaged = place / there[1] / "backup.tar.age"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert "or it is damaged" in deployed.fails("backup", "fetch", "local", there[1])
    assert not (deployed.root / ".data" / "backups" / "local" / there[1]).exists()


def test_a_folder_with_a_later_name_is_not_copied_in_place_of_the_new_backup(
    deployed: Checkout, ssh_host: Host, tmp_path: Path
) -> None:
    """Whoever may write to the backup folder would keep every copy from being made, and the operator told otherwise."""
    deployed = replace(deployed, extra={"PATH": f"{ssh_host.path}{os.pathsep}{os.environ['PATH']}"})
    deployed.configure(backupCopy=f"{ssh_host.url}{tmp_path}/far", backupKeep=1)
    here = deployed.root / ".data" / "backups" / "local"
    for name in ("20990101T000000Z", "20990102T000000Z"):
        (here / name).mkdir(parents=True)
        (here / name / "manifest.json").write_text("{}")
    said = deployed.ok("backup", "create")
    (made,) = (path for path in here.iterdir() if path.name.startswith("202") and "20990" not in path.name)
    assert f"{made}: " in said
    assert [path.name for path in (tmp_path / "far" / "local").iterdir()] == [made.name]


def test_a_host_that_is_away_is_told_and_the_backup_is_here(deployed: Checkout) -> None:
    deployed.configure(backupCopy="ssh://nobody@127.0.0.1:9/place")
    said = deployed.fails("backup", "create")
    assert "the copy at ssh://nobody@127.0.0.1:9/place failed" in said
    assert "refused" in said
    assert len(list((deployed.root / ".data" / "backups" / "local").glob("*Z"))) == 1

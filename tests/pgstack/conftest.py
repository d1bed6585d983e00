"""A machine without Pulumi, and small scripts that stand for `pulumi` and `go`: what they do isn't ours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pgvector_stacks.automation import toolchain as t

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

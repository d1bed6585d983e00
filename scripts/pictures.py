"""Draws the terminals that README and docs show, from a real run: `python scripts/pictures.py`, a few minutes.

It works in a clone of the last commit, with a home of its own: a newcomer's first `make up`, then a preview with a
pending script, then `doctor`. What each prints on a terminal becomes docs/pictures/NAME.svg. Nothing else of this
checkout is touched.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import shutil
import struct
import subprocess
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pgvector_stacks.automation.toolchain import get_cache_dir

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
WIDTH = 110
FONTS = re.compile(r"\s*@font-face \{[^}]*\}")  # rich's come from a server of others; the reader's monospace does


def run_on_a_terminal(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What it prints, colours and all. Raises RuntimeError where a process couldn't be started."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    printed = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        printed += part
    os.close(ours)
    if process.wait() not in (0, 1):
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{printed.decode(errors='replace')}")
    return printed.decode().replace("\r\n", "\n")


def with_tilde(printed: str, home: str) -> str:
    """The home as a shell writes it; in a table the cell stays as wide as it was."""
    return re.sub(
        rf"{re.escape(home)}([^│\n]*)(│?)", lambda m: f"~{m[1]}{' ' * (len(home) - 1) * bool(m[2])}{m[2]}", printed
    )


def draw(name: str, command: str, printed: str) -> None:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "green"), (command, "bold")))
    console.print(Text.from_ansi(printed.rstrip()))
    PICTURES.mkdir(exist_ok=True)
    drawn = FONTS.sub("", console.export_svg(title=command, unique_id=name))
    (PICTURES / f"{name}.svg").write_text(drawn + "\n", encoding="utf-8")


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        folder = home / "pgvector-stacks"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        cache = get_cache_dir(os.environ)
        if cache.is_dir():  # a Pulumi that was built or fetched before
            shutil.copytree(cache, get_cache_dir({"HOME": str(home)}), symlinks=True)
        environment = {
            "HOME": str(home), "PATH": f".venv/bin:{os.environ['PATH']}", "TERM": "xterm-256color", "LANG": "C.UTF-8",
        }  # fmt: skip

        def picture(name: str, command: str) -> None:
            printed = run_on_a_terminal(command, folder, environment)
            draw(name, command, with_tilde(printed, str(home)))

        try:
            picture("up", "make up")
            run_on_a_terminal('pgstack new "add rating"', folder, environment)
            with (folder / "sql" / "0004_add_rating.sql").open("a", encoding="utf-8") as script:
                script.write("CREATE TABLE rating (document_id bigint NOT NULL, stars int NOT NULL);\n")
            picture("preview", "pgstack preview local")
            picture("doctor", "pgstack doctor local")
        finally:
            run_on_a_terminal("make down", folder, environment)


if __name__ == "__main__":
    main()

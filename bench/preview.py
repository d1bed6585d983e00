"""A preview that changes nothing, with many scripts applied, against the same program with an empty resource.

Two copies of this checkout in a temporary directory: one as it is, one whose SQL resource does nothing. Each has its
own state, server and scripts; both are brought up once, previewed in turns, and taken down whatever happens.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench import generate
from bench.contenders import ROOT, last_json, timed
from bench.figures import Figure, Goal, NotMeasured, Samples, figure, interleave, spread
from pgstack.toolchain import ToolchainError, find_or_get
from postgres import embedded
from postgres.errors import PgstackError
from stacks.environment import DEFAULT_SCRIPTS, from_config

STACK = "local"
FOLDER = "gen"
SCRIPTS_KEY = "pgvector:scripts"
GOAL = Goal(1.25)
# of the user's own: another backend, passphrase or stack than the copy's
NOT_INHERITED = ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_STACK",
                 "PULUMI_HOME", "PGSTACK_PID")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkout:
    """A copy of this one. `environment` makes Python and Pulumi use it and nothing of ours or the user's."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        return kept | {"PYTHONPATH": str(self.root), "PULUMI_HOME": str(self.root.with_name(f"{self.root.name}-home"))}

    def pgstack(self, *words: str) -> None:
        """Raises NotMeasured with what it said."""
        timed([sys.executable, "-m", "pgstack", *words], self.environment, self.root)

    def preview(self) -> float:
        """Seconds in a new process, after its imports. Raises NotMeasured where it isn't a no-op."""
        run = timed([sys.executable, "-m", "bench.worker", "preview"], self.environment, self.root)
        found = last_json(run.stdout)
        if found["changes"]:
            raise NotMeasured(f"the preview would change something: {found['changes']}")
        return float(found["seconds"])

    def stop(self) -> None:
        """As `pgstack down`; where that fails, the server itself."""
        try:
            with suppress(NotMeasured):
                self.pgstack("down", STACK)
        finally:
            major = from_config(STACK, {}).major
            directory = embedded.Directory(self.root / ".data" / STACK / str(major), major)
            if embedded.pid(directory) is not None:
                embedded.stop(directory)


def sources(root: Path) -> list[str]:
    """What git keeps or would keep. Raises NotMeasured."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise NotMeasured("this is no git checkout, so what to copy isn't known") from None
    return sorted({name for name in listed.split("\0") if name and (root / name).is_file()})


def with_scripts(stack_file: str, pattern: str) -> str:
    """The stack file's text with the default scripts and then `pattern` as its scripts."""
    content = yaml.safe_load(stack_file) or {}
    content["config"] = (content.get("config") or {}) | {SCRIPTS_KEY: [*DEFAULT_SCRIPTS, pattern]}
    return yaml.safe_dump(content, sort_keys=False)


def copy(target: Path, scripts: int) -> Checkout:
    """This checkout's sources, with `scripts` generated scripts that its stack lists."""
    for name in sources(ROOT):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    generate.write(target / "sql" / FOLDER, scripts)
    stack_file = target / "stacks" / f"Pulumi.{STACK}.yaml"
    stack_file.write_text(with_scripts(stack_file.read_text(), f"{FOLDER}/*.sql"))
    return Checkout(target)


def emptied(checkout: Checkout) -> Checkout:
    """The same with an empty dynamic resource in the SQL resource's place."""
    components = checkout.root / "components"
    shutil.copyfile(Path(__file__).with_name("empty_sql_schema.py"), components / "sql_schema.py")
    return checkout


@contextmanager
def up(checkout: Checkout) -> Iterator[Checkout]:
    try:
        checkout.pgstack("up", STACK)
        yield checkout
    finally:
        checkout.stop()


def measure(scripts: int, repeat: int, report: Callable[[str, float | str], None]) -> Figure:
    """Never raises NotMeasured: the figure says it."""
    name = f"no-op preview, {scripts:,} scripts"
    try:
        find_or_get(lambda said: report("pulumi", said))
        with (
            tempfile.TemporaryDirectory(prefix="pgstack-bench-", ignore_cleanup_errors=True) as directory,
            up(copy(Path(directory) / "ours", scripts)) as ours,
            up(emptied(copy(Path(directory) / "empty", scripts))) as empty,
        ):
            for checkout in (ours, empty):  # the first one compiles the modules
                checkout.preview()
            found = interleave({"ours": ours.preview, "empty resource": empty.preview}, repeat, report)
    except (NotMeasured, ToolchainError, PgstackError, OSError) as error:
        return figure(name, "empty resource", Samples(reason=str(error)), Samples(), GOAL)
    ours_s, empty_s = (spread(found[side].values) for side in ("ours", "empty resource"))
    note = f"ours {ours_s} s; empty resource {empty_s} s; processes in turns, without their imports"
    return figure(name, "empty resource", found["ours"], found["empty resource"], GOAL, note=note)

"""A preview that changes nothing, with many scripts applied, against the same program with an empty resource.

Two copies of this checkout in a temporary directory: one as it is, one whose SQL resource does nothing. Each has its
own state, server and scripts; both are brought up once, previewed in turns, and taken down whatever happens.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench import checkout, generate
from bench.checkout import Checkout
from bench.figures import Figure, Goal, NotMeasured, Samples, figure, interleave, spread
from pgvector_stacks.automation.toolchain import ToolchainError, find_or_get
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, from_config
from pgvector_stacks.embedded import embedded_server

STACK = "local"
FOLDER = "gen"
GOAL = Goal(1.25)


def stop(copied: Checkout) -> None:
    """As `pgstack down`; where that fails, the server itself."""
    try:
        with suppress(NotMeasured):
            copied.pgstack("down", STACK)
    finally:
        major = from_config(STACK, {}).major
        directory = embedded_server.Directory(copied.root / ".data" / STACK / str(major), major)
        if embedded_server.find_postmaster(directory) is not None:
            embedded_server.stop(directory)


def copy(target: Path, scripts: int) -> Checkout:
    """This checkout's sources, with `scripts` generated scripts that its stack lists."""
    found = checkout.copy(target, STACK)
    generate.write(target / "sql" / FOLDER, scripts)
    found.configure({"scripts": [*DEFAULT_SCRIPTS, f"{FOLDER}/*.sql"]})
    return found


def emptied(copied: Checkout) -> Checkout:
    """The same with an empty dynamic resource in the SQL resource's place."""
    components = copied.root / "components"
    shutil.copyfile(Path(__file__).with_name("empty_sql_schema.py"), components / "sql_schema.py")
    return copied


@contextmanager
def up(copied: Checkout) -> Iterator[Checkout]:
    try:
        copied.pgstack("up", STACK)
        yield copied
    finally:
        stop(copied)


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
            for each in (ours, empty):  # the first one compiles the modules
                each.preview()
            found = interleave({"ours": ours.preview, "empty resource": empty.preview}, repeat, report)
    except (NotMeasured, ToolchainError, PgstackError, OSError) as error:
        return figure(name, "empty resource", Samples(reason=str(error)), Samples(), GOAL)
    ours_s, empty_s = (spread(found[side].values) for side in ("ours", "empty resource"))
    note = f"ours {ours_s} s; empty resource {empty_s} s; processes in turns, without their imports"
    return figure(name, "empty resource", found["ours"], found["empty resource"], GOAL, note=note)

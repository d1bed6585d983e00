"""Implements `Engine` for the embedded engine: everything is on this machine, below .data/STACK."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.config.environment import ROOT, Environment
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.engines.embedded import findings
from pgvector_stacks.engines.interface import Engine, Need, Programs, Psql, ReadState, Removal, Say
from pgvector_stacks.engines.log_lines import split_lines
from pgvector_stacks.toolbox import embedded_toolbox
from pgvector_stacks.upgrade.engines import embedded_guardian, embedded_upgrade
from pgvector_stacks.upgrade.facts import Disk, TargetVersion

FOLLOW_S = 0.2  # how often a followed log is read


class Embedded(Engine):
    """A server on this machine."""

    def check(self, environment: Environment, *, offline: bool) -> None:
        if offline:
            raise PgstackError(f"{environment.stack} runs on this machine: an offline preview is for stacks on Docker")

    def via(self, environment: Environment) -> str:
        return ""

    def examine(self, environment: Environment) -> Iterator[Finding]:
        return findings.examine(environment)

    def plan_removal(self, environment: Environment, read_state: ReadState, *, delete_data: bool) -> Removal:
        return Removal(lambda: _finish_removal(environment.stack, delete_data=delete_data), deletes_data=delete_data)

    @contextmanager
    def open_programs(self, environment: Environment, need: Need) -> Iterator[Programs]:
        if need.data:
            embedded_guardian.wait_for_guardian(_data_folder(environment.stack))
        with embedded_toolbox.open_toolbox(_data_folder(environment.stack)) as toolbox:
            yield Programs(toolbox)

    def target(self, environment: Environment, major: int, image: str, say: Say) -> tuple[TargetVersion, Disk]:
        return embedded_upgrade.read_target_of_wheel(major), embedded_upgrade.measure_disk(
            _data_folder(environment.stack)
        )

    def psql(self, environment: Environment, *, interactive: bool) -> Psql:
        return Psql(program=embedded_server.find_psql())

    def read_log(self, environment: Environment, *, follow: bool) -> Iterator[str]:
        directory = embedded_server.Directory(
            _data_folder(environment.stack) / str(environment.major), environment.major
        )
        return split_lines(_read_pieces(directory.log, environment.stack, follow=follow))


def _read_pieces(log: Path, stack: str, *, follow: bool) -> Iterator[bytes]:
    """Yield the file's contents; with `follow`, also what is appended. Raises PgstackError if there is no such file."""
    try:
        with log.open("rb") as file:
            while True:
                while piece := file.read(65536):
                    yield piece
                if not follow:
                    return
                time.sleep(FOLLOW_S)
    except FileNotFoundError:
        raise PgstackError(f"{stack} has no log: its server never ran here\n  start it:  pgstack up {stack}") from None


def _data_folder(stack: str) -> Path:
    return ROOT / ".data" / stack


def _finish_removal(stack: str, *, delete_data: bool) -> str:
    data = _data_folder(stack)
    if delete_data:
        _delete(data)
        return f"{stack} is down, its data deleted"
    if data.is_dir():
        return f"{stack} is down; its data stays in {data.relative_to(ROOT)}/ for the next up"
    return f"{stack} is down"


def _delete(data: Path) -> None:
    """Delete the data. Raises PgstackError if any of it can't be deleted."""
    try:
        if data.is_dir():
            shutil.rmtree(data)
    except OSError as error:
        raise PgstackError(
            f"the data in {data} could not be deleted: {error.strerror}: {error.filename}\n"
            f"  delete it by hand:  sudo rm -rf {shlex.quote(str(data))}"
        ) from None


ENGINE = Embedded()

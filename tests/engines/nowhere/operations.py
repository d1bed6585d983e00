"""What the commands get to hear of an engine that does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NoReturn

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.engines.interface import Engine, Need, Programs, Psql, ReadState, Removal, Say
from pgvector_stacks.upgrade.facts import Disk, TargetVersion


class Nowhere(Engine):
    """All of it is somebody else's."""

    def check(self, environment: Environment, *, offline: bool) -> None:
        return

    def via(self, environment: Environment) -> str:
        return ""

    def examine(self, environment: Environment) -> Iterator[Finding]:
        yield Finding("server", f"somebody runs it, at port {environment.port}")

    def plan_removal(self, environment: Environment, read_state: ReadState, *, delete_data: bool) -> Removal:
        return Removal(lambda: f"{environment.stack} is down; its server and the data stay as they are")

    def open_programs(self, environment: Environment, need: Need) -> AbstractContextManager[Programs]:
        _refuse()

    def target(self, environment: Environment, major: int, image: str, say: Say) -> tuple[TargetVersion, Disk]:
        _refuse()

    def psql(self, environment: Environment, *, interactive: bool) -> Psql:
        return Psql()

    def read_log(self, environment: Environment, *, follow: bool) -> Iterator[str]:
        raise PgstackError("the nowhere engine has no log: ask who runs the server")


def _refuse() -> NoReturn:
    raise PgstackError("the nowhere engine has no programs")


ENGINE = Nowhere()

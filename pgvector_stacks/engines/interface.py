"""What the commands ask of an engine, beside what `config/engines.py` says of its keys. Two answer: docker, embedded.

What an engine can't do is said by `EngineConfig.lacks`, so that no command has to try.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.exported_state import State
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.config.engines import REGISTRY, Ability, config_of
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.toolbox.interface import Toolbox
from pgvector_stacks.upgrade.facts import Disk, TargetVersion

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Need:
    """What programs of PostgreSQL are to reach: the data directory, the running server, or neither.

    `image`: of these programs, where the engine has images; "": of the stack's server. `then`: a shell script that runs
    where this process was killed.
    """

    data: bool = False
    server: bool = False
    image: str = ""
    then: str = ""


@dataclass(frozen=True, slots=True)
class Programs:
    """`address`: (host, port) of the server as the programs reach it; None: as everybody does. `newest`: their highest
    major, None where there are all majors that this program knows.
    """

    toolbox: Toolbox
    address: tuple[str, int] | None = None
    newest: int | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """How a stack goes down. `exclude_protected`: Pulumi leaves protected resources. `finish`: what comes after the
    resources are gone; it returns what is said. It may raise PgstackError.
    """

    finish: Callable[[], str]
    exclude_protected: bool = False


@dataclass(frozen=True, slots=True)
class Psql:
    """`program`: a psql that suits this server better than this machine's; "": none. `inside`: the command of one
    beside the server, for a machine without psql; (): none.
    """

    program: str = ""
    inside: tuple[str, ...] = ()


class Engine(ABC):
    """Where a stack's server runs. Every method may raise PgstackError."""

    @abstractmethod
    def check(self, environment: Environment, *, offline: bool) -> None:
        """Raise what keeps every `up` and preview from working, in words, before Pulumi starts."""

    @abstractmethod
    def via(self, environment: Environment) -> str:
        """The ssh URL through which the server is reached; "" where it is reached directly."""

    @abstractmethod
    def examine(self, environment: Environment) -> Iterator[Finding]:
        """For `doctor`: what the server stands on, and the server. A failed look is a finding, too."""

    @abstractmethod
    def plan_removal(self, environment: Environment, state: State, *, delete_data: bool) -> Removal:
        """What `down` does to the data."""

    @abstractmethod
    def open_programs(self, environment: Environment, need: Need) -> AbstractContextManager[Programs]:
        """PostgreSQL's programs, where they reach what `need` says."""

    @abstractmethod
    def target(self, environment: Environment, major: int, image: str, say: Say) -> tuple[TargetVersion, Disk]:
        """What an upgrade to this major, or image ("": not named), would run with, and the disk of the data."""

    @abstractmethod
    def psql(self, environment: Environment, *, interactive: bool) -> Psql:
        """Which psql to run, besides the one on this machine."""


def engine_of(environment: Environment) -> Engine:
    """The one that the stack file names."""
    found: Engine = import_module(f"{REGISTRY[environment.engine]}.operations").ENGINE
    return found


def refuse_lacking(environment: Environment, ability: Ability) -> None:
    """Raises PgstackError where the stack's engine can't do it."""
    if why := config_of(environment.engine).lacks.get(ability):
        raise PgstackError(why.replace("STACK", environment.stack))

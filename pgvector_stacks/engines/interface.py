"""The interface between the commands and an engine (docker, embedded). `config/engines.py` describes an engine's keys.

`EngineConfig.lacks` lists what an engine can't do, so that a command can refuse before it tries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.exported_state import ExportedState
from pgvector_stacks.common.finding import Finding
from pgvector_stacks.config.engines import REGISTRY, Ability, get_config
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.toolbox.interface import Toolbox
from pgvector_stacks.upgrade.facts import Disk, TargetVersion

Say = Callable[[str], object]
ReadState = Callable[[], ExportedState]


@dataclass(frozen=True, slots=True)
class Need:
    """What PostgreSQL's programs must reach: the data directory, the running server, both, or neither.

    `image`: the image with the programs, if the engine has images; "": the image of the stack's server. `then`: a shell
    script that runs after this process was killed.
    """

    data: bool = False
    server: bool = False
    image: str = ""
    then: str = ""


@dataclass(frozen=True, slots=True)
class Programs:
    """PostgreSQL's programs for a command, with the toolbox that runs them.

    `address`: the server's (host, port) for these programs; None: the same as for everyone. `newest`: the highest major
    of the programs; None: they have all majors that pgstack supports.
    """

    toolbox: Toolbox
    address: tuple[str, int] | None = None
    newest: int | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """How `down` removes a stack. `deletes_data`: the data goes too. `exclude_protected`: Pulumi keeps protected
    resources.

    `finish`: runs after Pulumi has removed the resources, and returns the message for the user. It may raise
    PgstackError.
    """

    finish: Callable[[], str]
    deletes_data: bool = False
    exclude_protected: bool = False


@dataclass(frozen=True, slots=True)
class Psql:
    """Which psql a stack's engine offers.

    `program`: a psql that fits the server better than this machine's; "": none. `inside`: the command that runs a psql
    beside the server, for machines without psql; (): none.
    """

    program: str = ""
    inside: tuple[str, ...] = ()


class Engine(ABC):
    """Where a stack's server runs. Every method may raise PgstackError."""

    @abstractmethod
    def check(self, environment: Environment, *, offline: bool) -> None:
        """Before Pulumi starts: raise PgstackError if no `up` or preview could work."""

    @abstractmethod
    def via(self, environment: Environment) -> str:
        """Return the ssh URL through which the server is reached; "" if it is reached directly."""

    @abstractmethod
    def examine(self, environment: Environment) -> Iterator[Finding]:
        """For `doctor`: check what the server depends on, and the server. A check that can't run is a finding, too."""

    @abstractmethod
    def plan_removal(self, environment: Environment, read_state: ReadState, *, delete_data: bool) -> Removal:
        """Decide what `down` does to the data. `read_state` starts a process of Pulumi."""

    @abstractmethod
    def open_programs(self, environment: Environment, need: Need) -> AbstractContextManager[Programs]:
        """Open PostgreSQL's programs in a place from which they reach what `need` requires."""

    @abstractmethod
    def target(self, environment: Environment, major: int, image: str, say: Say) -> tuple[TargetVersion, Disk]:
        """Return the programs that an upgrade to `major` or `image` ("": not given) would run, and the data's disk."""

    @abstractmethod
    def psql(self, environment: Environment, *, interactive: bool) -> Psql:
        """Return which psql the engine offers, besides the one on this machine."""

    @abstractmethod
    def read_log(self, environment: Environment, *, follow: bool) -> Iterator[str]:
        """Yield the lines of the server's log. `follow`: then wait for more, as long as there is a log."""


def get_engine(environment: Environment) -> Engine:
    """Return the engine that the stack file names."""
    found: Engine = import_module(f"{REGISTRY[environment.engine]}.operations").ENGINE
    return found


def refuse_lacking(environment: Environment, ability: Ability) -> None:
    """Raise PgstackError if the stack's engine lacks the ability."""
    if why := get_config(environment.engine).lacks.get(ability):
        raise PgstackError(why.replace("STACK", environment.stack))

"""What every dynamic resource here shares: its text in the state, errors without tracebacks, unknowns in preview.

A provider's name is a storage format: the state holds it (`registry.py`). It takes no arguments and keeps no state.
"""

from __future__ import annotations

import base64
import functools
import pickle
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, ParamSpec, TypeVar

import psycopg
import pulumi
from pulumi.dynamic import CheckFailure, CheckResult, DiffResult, Resource, ResourceProvider

from pgvector_stacks.automation.provider_process import Failed, install_process_hooks
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.connections.connection import as_pgstack_error

from .props import TEXT
from .registry import provider_named

P = ParamSpec("P")
R = TypeVar("R")
PICKLE_PROTOCOL = 4  # what the states of today have; Python 3.14's default is 5


class Provider(ResourceProvider):
    """What the engine calls for the resources of one kind."""

    name: ClassVar[str]  # its key in `registry.PROVIDERS`
    outputs: ClassVar[tuple[str, ...]] = ()  # what it adds to the inputs

    def __reduce__(self) -> tuple[Callable[[str], ResourceProvider], tuple[str]]:
        return provider_named, (self.name,)

    def configure(self, req: Any) -> None:
        install_process_hooks()

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """The engine compares the inputs and prints the changed keys.

        But another text for the same provider, as in states from before it had a name, is no change.
        """
        return DiffResult() if self.changes(_olds, _news) else DiffResult(changes=False)

    def changes(self, olds: dict[str, Any], news: dict[str, Any]) -> bool:
        """Whether the inputs `news` differ from those in `olds`, a resource as it was deployed."""
        ours = {*self.outputs, TEXT}
        return any(olds.get(key) != news.get(key) for key in (olds.keys() | news.keys()) - ours)


class DynamicResource(Resource):
    """A dynamic resource whose `__provider`, an input, is the same text under every Python.

    The SDK pickles a provider with the interpreter's default protocol, so another Python would update every resource
    of an unchanged stack. A provider is its name and nothing else, which is why it can be pickled here; the text is the
    SDK's own under Python 3.11.
    """

    def __init__(
        self,
        provider: Provider,
        name: str,
        props: dict[str, Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        text = pulumi.Output.secret(serialized(provider))  # a secret, as the SDK has it
        kind = f"pulumi-python:{self._resource_type_name}"
        pulumi.CustomResource.__init__(self, kind, name, props | {TEXT: text}, opts)


def serialized(provider: Provider) -> str:
    """What the state holds of a provider."""
    return base64.b64encode(pickle.dumps(provider, protocol=PICKLE_PROTOCOL)).decode()


def plainly(method: Callable[P, R]) -> Callable[P, R]:
    """A provider method whose known failures reach the user as their message, without cause or context."""

    @functools.wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except PgstackError as error:
            failure = Failed(str(error))
        except psycopg.Error as error:
            failure = Failed(str(as_pgstack_error(error)))
        raise failure from None

    return wrapped


def refused(inputs: dict[str, Any], error: PgstackError) -> CheckResult:
    """A failed check. The property is always "": the engine prints the property's value, secrets included."""
    return CheckResult(inputs, [CheckFailure("", str(error))])


def inputs_of(props: dict[str, Any], outputs: Iterable[str]) -> dict[str, Any]:
    """What `read` returns as inputs: the properties without the `outputs`, and without the engine's own pickle."""
    return {key: value for key, value in props.items() if key not in outputs and key != TEXT}


def as_deployed(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    """The inputs of an offline preview: the Docker host of the last `up`, since none is asked now."""
    return news | {key: olds[key] for key in ("docker", "dockerChosenBy") if key in olds and key in news}

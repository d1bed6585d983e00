"""The base of every dynamic resource: its provider's text in the state, errors without tracebacks, offline previews.

A provider's name is a storage format: the state holds it (`registry.py`). A provider takes no arguments and keeps no
state.
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
from pgvector_stacks.connections.connection import wrap_server_error

from .props import TEXT
from .registry import provider_named

P = ParamSpec("P")
R = TypeVar("R")
PICKLE_PROTOCOL = 4  # as in existing states; Python 3.14's default is 5


class Provider(ResourceProvider):
    """The base of the providers, which Pulumi calls to check, create, update, read and delete resources of one kind."""

    name: ClassVar[str]  # its key in `registry.PROVIDERS`
    outputs: ClassVar[tuple[str, ...]] = ()  # the keys that it adds to the inputs

    def __reduce__(self) -> tuple[Callable[[str], ResourceProvider], tuple[str]]:
        return provider_named, (self.name,)

    def configure(self, req: Any) -> None:
        install_process_hooks()

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Leave the comparison to Pulumi, which prints the changed keys, unless only the provider's text differs.

        States written before providers had names hold another text for the same provider. That is not a change.
        """
        return DiffResult() if self.changes(_olds, _news) else DiffResult(changes=False)

    def changes(self, olds: dict[str, Any], news: dict[str, Any]) -> bool:
        """Return whether the inputs `news` differ from those in `olds`, the properties of the deployed resource."""
        ours = {*self.outputs, TEXT}
        return any(olds.get(key) != news.get(key) for key in (olds.keys() | news.keys()) - ours)


class DynamicResource(Resource):
    """A dynamic resource whose input `__provider` is the same text under every version of Python.

    The SDK pickles a provider with the interpreter's default protocol, so another Python would update every resource
    of an unchanged stack. This class pickles the provider itself, with a fixed protocol, which works because a provider
    is nothing but its name. The text is the one that the SDK writes under Python 3.11.
    """

    def __init__(
        self,
        provider: Provider,
        name: str,
        props: dict[str, Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        text = pulumi.Output.secret(serialize(provider))  # a secret, as in the SDK
        kind = f"pulumi-python:{self._resource_type_name}"
        pulumi.CustomResource.__init__(self, kind, name, props | {TEXT: text}, opts)


def serialize(provider: Provider) -> str:
    """Return the text by which the state holds a provider."""
    return base64.b64encode(pickle.dumps(provider, protocol=PICKLE_PROTOCOL)).decode()


def hide_tracebacks(method: Callable[P, R]) -> Callable[P, R]:
    """Wrap a provider method so that the user sees only the message of a known failure, without cause or context."""

    @functools.wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except PgstackError as error:
            failure = Failed(str(error))
        except psycopg.Error as error:
            failure = Failed(str(wrap_server_error(error)))
        raise failure from None

    return wrapped


def build_refusal(inputs: dict[str, Any], error: PgstackError) -> CheckResult:
    """Return a failed check. It names no property, because Pulumi prints a named property's value, secrets included."""
    return CheckResult(inputs, [CheckFailure("", str(error))])


def select_inputs(props: dict[str, Any], outputs: Iterable[str]) -> dict[str, Any]:
    """Return the inputs that `read` gives back: the properties without the `outputs` and the provider's text."""
    return {key: value for key, value in props.items() if key not in outputs and key != TEXT}


def keep_docker_host(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of an offline preview: `news` with the Docker host of the last `up`; no host is contacted."""
    return news | {key: olds[key] for key in ("docker", "dockerChosenBy") if key in olds and key in news}

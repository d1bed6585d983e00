"""What the state holds after a create, an update or a refresh. No I/O."""

from __future__ import annotations

from typing import Any

from tests.docker_plugin.changes import complete, in_order, same
from tests.docker_plugin.fields import UNKNOWN, Field, Fields, Values
from tests.docker_plugin.inputs import DEFAULTS
from tests.docker_plugin.schema import Type

COLLECTIONS = ("list", "set", "map")


def without_unknown(value: Any) -> Any:
    """What a failed create leaves in the state: nothing where the engine would have said what."""
    if isinstance(value, dict):
        return {name: without_unknown(one) for name, one in value.items()}
    if isinstance(value, list):
        return [without_unknown(one) for one in value]
    return None if value == UNKNOWN else value


def applied(fields: Fields, wanted: Values, seen: Values) -> Values:
    """After a create or an update: what is seen, where it says more than what was planned."""
    state: Values = without_unknown(wanted)
    for name, value in seen.items():
        one = fields[name]
        ordered = in_order(one, value) if isinstance(value, list) else value
        kept = one.kind in COLLECTIONS and wanted[name] != UNKNOWN and same(without_unknown(wanted[name]), ordered)
        if not kept:
            state[name] = ordered
    return state


def refreshed(fields: Fields, prior: Values, seen: Values) -> Values:
    """After a read: what is seen, and for the rest what it was."""
    state = {}
    for name, one in fields.items():
        value = seen[name] if name in seen else prior.get(name)
        if isinstance(value, list) and one.item is not None:
            value = in_order(one, [_filled(one, element) for element in value])
        state[name] = value
    return state


def _filled(one: Field, element: Any) -> Any:
    """An element's numbers and flags: nothing has become their zero by now."""
    zero = {"integer": 0, "flag": False}
    return {
        name: zero.get(field.kind) if element.get(name) is None else element[name]
        for name, field in (one.item or {}).items()
    }


def inputs_after(kind: Type, inputs: Values, state: Values) -> Values:
    """The inputs that would have led to this state: what is seen to differ replaces what was given."""
    found = dict(inputs)
    for name, given in inputs.items():
        if name == DEFAULTS or name not in kind.fields:
            continue
        one = kind.fields[name]
        if name in state and not same(complete(one, given), state[name]):
            found[name] = state[name]
    return found

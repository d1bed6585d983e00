"""What the state holds after a create, an update or a refresh. No I/O."""

from __future__ import annotations

from typing import Any

from tests.docker_plugin.changes import complete, in_order, same
from tests.docker_plugin.fields import UNKNOWN, Field, Fields, Values
from tests.docker_plugin.inputs import DEFAULTS
from tests.docker_plugin.schema import Type

ZERO = {"text": "", "integer": 0, "flag": False}
COLLECTIONS = ("list", "set", "map")


def without_unknown(value: Any) -> Any:
    """Nothing where the engine would have said what."""
    if isinstance(value, dict):
        return {name: without_unknown(one) for name, one in value.items()}
    if isinstance(value, list):
        return [without_unknown(one) for one in value]
    return None if value == UNKNOWN else value


def settled(fields: Fields, wanted: Values, prior: Values | None = None) -> Values:
    """What a failed create leaves in the state, and what an update does that reads nothing back."""
    state: Values = without_unknown(wanted)
    for name, one in fields.items():
        if state[name] is not None:
            continue
        if one.kind == "set" and one.computed:
            state[name] = []
        elif prior is not None and prior.get(name) is not None:
            state[name] = ZERO.get(one.kind)
    return state


def applied(fields: Fields, wanted: Values, seen: Values) -> Values:
    """After a create or an update: what is seen, where it says more than what was planned."""
    state = settled(fields, wanted)
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
    found = _as_seen(kind.fields, inputs, state)
    if DEFAULTS in inputs:
        found[DEFAULTS] = [name for name in inputs[DEFAULTS] if same(found.get(name), inputs.get(name))]
    return found


def _as_seen(fields: Fields, given: Values, seen: Values) -> Values:
    return {
        name: _value_as_seen(fields[name], value, seen[name]) if name in fields and name in seen else value
        for name, value in given.items()
    }


def _value_as_seen(one: Field, given: Any, seen: Any) -> Any:
    if one.kind not in ("list", "set") or given == UNKNOWN or seen is None:
        return given if same(given, seen) else seen
    if one.single:
        return _as_seen(one.item or {}, given, seen)
    if one.item is None:
        return list(seen)
    if one.kind == "list" and len(given) == len(seen):
        return [_as_seen(one.item, *pair) for pair in zip(given, seen, strict=True)]
    return [_inner_order(one.item, element) for element in given] if same(complete(one, given), seen) else seen


def _inner_order(fields: Fields, element: Values) -> Values:
    """Text within a set's elements comes in the state's order; the elements themselves stay where they were."""
    return {
        name: complete(fields[name], value) if name in fields and fields[name].item is None else value
        for name, value in element.items()
    }

"""Diff, and what a resource will be: planned from what it was and what is wanted. No I/O.

The rules are those of the real plugin's own schema language: a field that isn't given is emptied, unless the plugin
computes it (then it stays what it was); nothing and a kind's zero are the same; the order within a set says nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.docker_plugin.fields import UNKNOWN, Field, Fields, Values, is_empty
from tests.docker_plugin.inputs import DEFAULTS
from tests.docker_plugin.schema import Type

Change = Literal["ADD", "DELETE", "UPDATE"]


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to change. detailed: path to kind, `_REPLACE` at its end where the resource is replaced for it."""

    detailed: dict[str, str] = field(default_factory=dict)
    stables: list[str] = field(default_factory=list)
    delete_before_replace: bool = False

    @property
    def fields(self) -> list[str]:
        return sorted({_top(path) for path in self.detailed})

    @property
    def replaces(self) -> list[str]:
        return sorted({_top(path) for path, kind in self.detailed.items() if kind.endswith("_REPLACE")})


def planned(fields: Fields, inputs: Values, prior: Values | None, *, as_given: bool = False) -> Values:
    """The state that `inputs` lead to. prior: None where the resource is new; what isn't known yet is UNKNOWN.

    as_given: a set's elements stay in the order they are given in.
    """
    state = {}
    for name, one in fields.items():
        given = inputs.get(name)
        old = prior.get(name) if prior is not None else UNKNOWN
        if prior is None and one.computed and one.kind == "set" and given == []:
            given = None
        if given is not None and not one.output:
            state[name] = complete(one, given, as_given=as_given)
        elif one.computed or one.output:
            state[name] = old
        elif one.default is not None:
            state[name] = one.default
        else:
            state[name] = one.empty
        if prior is not None and same(old, state[name]):
            state[name] = old
    return state


def complete(one: Field, given: Any, *, as_given: bool = False) -> Any:
    """A given value with every field of its elements, in the order the state has."""
    if given == UNKNOWN or one.kind not in ("list", "set"):
        return given
    if one.item is None:
        return sorted(given) if one.kind == "set" and not as_given else list(given)
    if one.single:
        return _element(one.item, given)
    elements = [item if item == UNKNOWN else _element(one.item, item) for item in given]
    return elements if as_given else in_order(one, elements)


def in_order(one: Field, elements: list[Any]) -> list[Any]:
    """A set's elements as the state lists them."""
    if one.kind != "set":
        return elements
    return sorted(elements, key=_sort_key if one.item is not None else None)


def _element(fields: Fields, given: Mapping[str, Any]) -> Values:
    element: Values = {}
    for name, one in fields.items():
        value = given.get(name)
        if value is not None:
            element[name] = complete(one, value)
        elif one.default is not None:
            element[name] = one.default
        elif one.computed:
            element[name] = UNKNOWN
        elif one.kind == "text":
            element[name] = ""
        else:
            element[name] = [] if one.kind in ("list", "set") and not one.single else None
    return element


def _sort_key(element: Any) -> str:
    if not isinstance(element, Mapping):
        return "~" if element is None else json.dumps(element)
    return "".join(_sort_key(element[name]) for name in sorted(element, key=_snake))


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter.group().lower(), name)


def difference(kind: Type, prior: Values, inputs: Values, ignored: list[str]) -> Difference:
    """What separates the state from the inputs."""
    wanted = planned(kind.fields, inputs, prior, as_given=True)
    detailed: dict[str, str] = {}
    for name, one in kind.fields.items():
        if name in ignored or one.output:
            continue
        given = inputs.get(name)
        # a set that is computed and not known yet passes for what it was
        if one.computed and (given is None or (given == UNKNOWN and one.kind == "set" and prior.get(name))):
            continue
        suffix = "_REPLACE" if one.replaces else ""
        for path, change in _compare(one, name, prior.get(name), wanted[name]):
            detailed[path] = change + suffix
    replaced = any(change.endswith("_REPLACE") for change in detailed.values())
    if replaced:
        detailed |= _recomputed(kind.fields, prior, inputs)
    changed = {_top(path) for path in detailed}
    # two of one name can't be there at once
    same_name = kind.named and "name" not in inputs.get(DEFAULTS, ()) and "name" not in changed
    return Difference(
        detailed=dict(sorted(detailed.items())),
        stables=sorted(name for name, one in kind.fields.items() if one.replaces and name not in changed),
        delete_before_replace=replaced and (kind.delete_before_replace or same_name),
    )


def _recomputed(fields: Fields, prior: Values, inputs: Values) -> Iterator[tuple[str, str]]:
    """A list that a replacement computes again is shown where the state, of a failed create, has none."""
    for name, one in fields.items():
        unset = inputs.get(name) is None and prior.get(name) is None
        listed = one.kind in ("list", "set", "map") and not one.single
        if unset and listed and (one.computed or one.output):
            yield name, "ADD_REPLACE" if one.replaces else "ADD"


def _compare(one: Field, path: str, old: Any, new: Any) -> Iterator[tuple[str, Change]]:
    if old == new or (is_empty(old) and is_empty(new)) or (one.sticky and is_empty(new)):
        return
    if one.unordered and old and new and len(old) == len(new) and not any(_set(path, old, new, {})):
        return
    collection = one.kind in ("list", "set", "map")
    if new == UNKNOWN or not collection:
        yield path, "ADD" if old is None or (collection and not old) else "DELETE" if new is None else "UPDATE"
    elif one.kind == "map" and old is None:
        yield path, "ADD"
    elif one.kind == "map":
        new = new or {}
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                change: Change = "ADD" if key not in old else "DELETE" if key not in new else "UPDATE"
                yield _member(path, key), change
    elif is_empty(old) or is_empty(new):
        yield path, "ADD" if is_empty(old) else "DELETE"
    elif one.single:
        yield from _fields(one.item or {}, path, old, new)
    elif one.item is None and UNKNOWN in new:
        yield path, "UPDATE"
    elif one.kind == "list":
        for index in range(max(len(old), len(new))):
            place = f"{path}[{index}]"
            if index >= len(old) or index >= len(new):
                yield place, "ADD" if index >= len(old) else "DELETE"
            elif one.item is not None and UNKNOWN not in (old[index], new[index]):
                yield from _fields(one.item, place, old[index], new[index])
            elif old[index] != new[index]:
                yield place, "UPDATE"
    else:
        yield from _set(path, old, new, one.item or {})


def _fields(fields: Fields, path: str, old: Values, new: Values) -> Iterator[tuple[str, Change]]:
    for name, one in fields.items():
        if not (one.computed and new.get(name) == UNKNOWN):
            yield from _compare(one, f"{path}.{name}", old.get(name), new.get(name))


def _set(path: str, old: list[Any], new: list[Any], item: Fields) -> Iterator[tuple[str, Change]]:
    """By position: a gone element's in the state, a new one's in what is given."""
    gone = [index for index, element in enumerate(old) if not any(_alike(element, other) for other in new)]
    come = [index for index, element in enumerate(new) if not any(_alike(element, other) for other in old)]
    if any(_has_blanks(new[index]) for index in come):
        yield path, "UPDATE"
        return
    for index in sorted({*gone, *come}):
        if index in gone and index in come and item:
            yield from _fields(item, f"{path}[{index}]", old[index], new[index])
        else:
            change: Change = "UPDATE" if index in gone and index in come else "DELETE" if index in gone else "ADD"
            yield f"{path}[{index}]", change


def _has_blanks(element: Any) -> bool:
    """Text or lists that weren't given: the real plugin doesn't find such an element in the inputs again."""
    return isinstance(element, Mapping) and any(value in ("", []) or _has_blanks(value) for value in element.values())


def _alike(old: Any, new: Any) -> bool:
    """`same`, where the order of text within the elements says nothing."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return all(_alike(old.get(name), new.get(name)) for name in {*old, *new})
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(any(_alike(one, other) for other in new) for one in old)
    return same(old, new)


def same(old: Any, new: Any) -> bool:
    """True where the plugin sees no change: nothing is a kind's zero, a set's order says nothing."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return all(same(old.get(name), new.get(name)) for name in {*old, *new})
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    return bool(old == new) or (is_empty(old) and is_empty(new))


def _member(path: str, key: str) -> str:
    return f"{path}.{key}" if re.fullmatch(r"[A-Za-z_$][\w$]*", key) else f"{path}[{json.dumps(key)}]"


def _top(path: str) -> str:
    return re.split(r"[.\[]", path, maxsplit=1)[0]

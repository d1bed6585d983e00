"""Check: what the program gave, with the defaults, or what is wrong with it. No I/O.

Unlike the real plugin this one covers only some fields; one it doesn't cover is refused, never ignored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.docker_plugin.fields import UNKNOWN, Field, Fields, Values, is_empty
from tests.docker_plugin.schema import NOT_COVERED, Type

DEFAULTS = "__defaults"


class Refused(Exception):
    """The call fails as a whole, with this text."""


@dataclass(frozen=True, slots=True)
class Naming:
    """How Pulumi wants a resource named that has no name. seed: the engine's, so that a retry finds the same."""

    resource: str
    seed: bytes
    proposed: str = ""
    mode: Literal["default", "proposed", "enforced", "disabled"] = "default"

    def name(self) -> str:
        if self.mode == "disabled":
            raise Refused("automatic naming is disabled but no explicit name was provided")
        return self.proposed or f"{self.resource}-{hashlib.sha256(self.seed).hexdigest()[:7]}"


@dataclass(frozen=True, slots=True)
class Checked:
    """The inputs the engine keeps, and the reasons why they can't be used."""

    inputs: Values
    failures: list[str] = field(default_factory=list)


def check(kind: Type, olds: Values, news: Values, naming: Naming) -> Checked:
    """Raises Refused."""
    failures: list[str] = []
    found = _object(kind.fields, news, naming.resource, naming.resource, failures)
    if kind.named and found.get("name") is None:
        old = olds.get("name") if "name" in olds.get(DEFAULTS, ()) else None
        found["name"] = old or naming.name()
        found[DEFAULTS] = sorted([*found[DEFAULTS], "name"])
        failures = [text for text in failures if not text.endswith(f"'{naming.resource}.name'.")]
    return Checked(found, failures)


def _object(fields: Fields, given: Mapping[str, Any], path: str, shown: str, failures: list[str]) -> Values:
    """path: where the value is. shown: how the real plugin names that place; a set hides what is in it."""
    found: Values = {}
    for name, value in given.items():
        if name.startswith("__") or value is None:
            continue
        place, seen = f"{path}.{name}", shown if shown != path else f"{path}.{name}"
        if name not in fields or fields[name].output:
            failures.append(f"Invalid or unknown key. Examine values at '{seen}'.")
            found[name] = value
        elif name in NOT_COVERED:
            failures.append(f"The stand-in plugin does not cover this field. Examine values at '{seen}'.")
        else:
            found[name] = _value(fields[name], value, place, seen, failures)
    defaults = [name for name, one in fields.items() if name not in found and not is_empty(one.default)]
    for name in defaults:
        found[name] = fields[name].default
    for name in fields:
        if fields[name].required and name not in found:
            argument = _snake_path(f"{path}.{name}")
            seen = shown if shown != path else f"{path}.{name}"
            failures.append(
                f'Missing required argument. The argument "{argument}" is required, '
                f"but no definition was found.. Examine values at '{seen}'."
            )
    found[DEFAULTS] = sorted(defaults)
    return found


def _value(one: Field, value: Any, path: str, shown: str, failures: list[str]) -> Any:
    if value == UNKNOWN:
        return value
    if one.kind in ("list", "set"):
        return _elements(one, value, path, shown, failures)
    if one.kind == "map":
        if not isinstance(value, Mapping):
            raise Refused(f"{path.split('.', 1)[1]}: expected a map, got {value!r}")
        return {key: _text(item) for key, item in value.items() if item is not None}
    value = {"text": _text, "integer": _integer, "flag": _flag}[one.kind](value, path)
    wrong = one.valid(value) if one.valid is not None else None
    if wrong is not None:
        failures.append(f"{wrong}. {wrong}. Examine values at '{shown}'.")
    return value


def _elements(one: Field, value: Any, path: str, shown: str, failures: list[str]) -> Any:
    if one.single:
        hidden = path if one.kind == "set" and shown == path else shown
        return _object(one.item or {}, value, path, hidden, failures)
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise Refused(f"{path.split('.', 1)[1]}: expected a list, got {value!r}")
    if one.item is None:
        return [_text(item) for item in value]
    found = []
    for index, item in enumerate(value):
        place = f"{path}[{index}]"
        seen = place if one.kind == "list" and shown == path else shown
        found.append(item if item == UNKNOWN else _object(one.item, item, place, seen, failures))
    return found


def _text(value: Any, _: str = "") -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _integer(value: Any, path: str = "") -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        name = path.split(".", 1)[1]
        raise Refused(f'{name}: strconv.ParseInt: parsing "{value}": invalid syntax') from None


def _flag(value: Any, path: str = "") -> bool:
    known = {"true": True, "false": False, "1": True, "0": False}
    if isinstance(value, bool):
        return value
    try:
        return known[str(value)]
    except KeyError:
        name = path.split(".", 1)[1]
        raise Refused(f'{name}: strconv.ParseBool: parsing "{value}": invalid syntax') from None


def _snake_path(path: str) -> str:
    """server.ports[0].internal → ports.0.internal, as the real plugin's own schema names it."""
    inner = path.split(".", 1)[1].replace("[", ".").replace("]", "")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in inner)

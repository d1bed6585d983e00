"""What a resource's field is: its kind, its default, and what a change of it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

# What stands for a value that only the real `up` decides: what the engine itself sends and expects.
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

Kind = Literal["text", "integer", "flag", "list", "set", "map"]
Values = dict[str, Any]
DURATION = re.compile(r"[+-]?(0|(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+")


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `item`: the fields of a list's or set's elements; where there are none they are text.

    computed: the plugin fills it in where nothing is given (and then keeps what it was).
    output:   only the plugin fills it in.
    single:   at most one element, shown without the list around it.
    sticky:   emptying it is no change.
    unordered: a list whose order says nothing, though it isn't a set.
    valid:    says what is wrong with a value, else None.
    """

    kind: Kind = "text"
    item: Mapping[str, Field] | None = None
    replaces: bool = False
    computed: bool = False
    output: bool = False
    required: bool = False
    single: bool = False
    sticky: bool = False
    unordered: bool = False
    default: Any = None
    valid: Callable[[Any], str | None] | None = None

    @property
    def empty(self) -> Any:
        """What the state holds where nothing is given."""
        if self.single or self.item is None or self.computed or self.output:
            return None
        return []


Fields = Mapping[str, Field]


def pattern(expression: str) -> Callable[[Any], str | None]:
    """Text has to match all of it."""

    def valid(value: Any) -> str | None:
        return None if re.search(expression, value) else f"'{value}' doesn't match the pattern '{expression}'"

    return valid


def at_least(least: int) -> Callable[[Any], str | None]:
    def valid(value: Any) -> str | None:
        return None if value >= least else f"'{value:g}' cannot be lower than {least}"

    return valid


def duration(value: Any) -> str | None:
    """As Go writes one: 1m30s."""
    if not DURATION.fullmatch(value):
        return f"'{value}' is not a valid duration"
    return f"duration '{value}' must not be negative" if value.startswith("-") else None


def is_empty(value: Any) -> bool:
    """True for nothing and for a kind's zero: the plugin can't tell them apart."""
    return value is None or value == "" or value == [] or value == {} or value is False or value == 0

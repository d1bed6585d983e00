"""A resource's properties as a frozen model: read once from what Pulumi passes, and returned unchanged.

Only this module deals with the form in which Pulumi passes properties: numbers are floats, keys with None are missing,
a value that a preview doesn't know is an object, and the SDK's own key is among ours. A field whose value isn't known
has its default. Keys and values in the state are a storage format: `to_props` returns what `from_props` took and what
was added since, but none of our defaults. A model names the properties that its provider uses; other properties pass
through it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self

from pulumi.output import Unknown
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic.alias_generators import to_camel

from pgvector_stacks.common.errors import PgstackError

TEXT = "__provider"  # the input in which the SDK keeps a resource's provider


def is_unknown(value: Any) -> bool:
    """Return whether the value, or a value inside it, becomes known only in the real `up`."""
    if isinstance(value, Unknown):
        return True
    if isinstance(value, dict):
        return any(is_unknown(item) for item in value.values())
    return isinstance(value, list) and any(is_unknown(item) for item in value)


class Props(BaseModel):
    """The base of all models. The field `memory_mb` is the property `memoryMb`. Fields that older states lack have a
    default.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)
    _taken: dict[str, Any] | None = PrivateAttr(default=None)

    @classmethod
    def from_props(cls, props: Mapping[str, Any]) -> Self:
        """Read the properties. Raises PgstackError, without values, if a property that every state has is missing."""
        taken = {key: value for key, value in props.items() if key != TEXT and value is not None}
        try:
            found = cls.model_validate({key: value for key, value in taken.items() if not is_unknown(value)})
        except ValidationError as error:
            wrong = ", ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise PgstackError(
                f"a resource of this stack can't be read as {cls.__name__}: {wrong}\n"
                "  use the version of pgvector-stacks that wrote the state"
            ) from None
        found._taken = taken
        return found

    def knows(self, *fields: str) -> bool:
        """True where none of these properties is decided only by the real `up`."""
        return not is_unknown([(self._taken or {}).get(to_camel(name)) for name in fields])

    def to_props(self, **added: Any) -> dict[str, Any]:
        """Return what `from_props` took, or the fields that the model was created with, and the fields in `added`."""
        assert added.keys() <= type(self).model_fields.keys()
        taken = self.model_dump(by_alias=True, exclude_unset=True) if self._taken is None else self._taken
        return taken | {to_camel(key): value for key, value in added.items() if value is not None}

    def inputs(self, outputs: Collection[str]) -> dict[str, Any]:
        """Return the inputs that `read` gives back: all properties but the `outputs`."""
        return {key: value for key, value in self.to_props().items() if key not in outputs}

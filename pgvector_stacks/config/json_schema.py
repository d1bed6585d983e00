"""Generates the JSON Schema of a stack file from the model. Editors use it to complete and check the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgvector_stacks.config.environment import NAMESPACE, SECRETS, Environment


def build_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a stack file. No key is required: every key has a default."""
    model = Environment.model_json_schema(by_alias=True)
    properties: dict[str, Any] = {}
    for key, definition in model["properties"].items():
        if key == "stack":
            continue
        value = {"type": "object", "required": ["secure"], "properties": {"secure": {"type": "string"}}}
        kept = _inlined({name: part for name, part in definition.items() if name != "title"}, model.get("$defs", {}))
        properties[f"{NAMESPACE}:{key}"] = (
            value | {"description": definition["description"]} if key in SECRETS else kept
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A stack of pgvector-stacks",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "config": {
                "type": "object",
                "properties": properties,
                "patternProperties": {f"^(?!{NAMESPACE}:)[^:]+:": {}},
                "additionalProperties": False,
            },
            "encryptionsalt": {"type": "string"},
            "secretsprovider": {"type": "string"},
            "encryptedkey": {"type": "string"},
            "environment": {},
        },
    }


def _inlined(schema: Any, named: Mapping[str, Any]) -> Any:
    """Replace each reference to a model by the model's schema."""
    if isinstance(schema, list):
        return [_inlined(each, named) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(named[schema["$ref"].rsplit("/", 1)[-1]], named)
    return {key: _inlined(value, named) for key, value in schema.items()}

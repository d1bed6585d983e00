"""Reads a stack's state from `pulumi stack export`: finds resources by kind and name, and unwraps secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SIGNATURE, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"  # Pulumi's own marks
DYNAMIC = "pulumi-python:dynamic/pgvector:"


@dataclass(frozen=True, slots=True)
class ExportedState:
    """The state of a stack. `exported`: the deployment of an export; {} for a stack that was never deployed."""

    exported: Mapping[str, Any]

    def resource(self, kind: str, name: str = "") -> dict[str, Any] | None:
        """Return a resource's inputs and outputs, with plain secrets; None if the state does not have the resource.

        `kind`: the name of one of our dynamic resources, or any whole type.
        """
        found = self._find(kind, name)
        return (
            None
            if found is None
            else {**unwrap_secrets(found.get("inputs") or {}), **unwrap_secrets(found.get("outputs") or {})}
        )

    def inputs(self, kind: str, name: str = "") -> dict[str, Any] | None:
        """Return only a resource's inputs: what was declared, without what the provider added."""
        found = self._find(kind, name)
        return None if found is None else dict(unwrap_secrets(found.get("inputs") or {}))

    def is_removed_by_destroy(self, kind: str) -> bool:
        """True if the state has the resource, and Pulumi neither retains nor protects what it describes."""
        found = self._find(kind, "")
        return found is not None and not found.get("retainOnDelete") and not found.get("protect")

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs of the stack. Secrets keep Pulumi's marks."""
        found = next((each for each in self._resources() if each["type"] == "pulumi:pulumi:Stack"), {})
        return found.get("outputs") or {}

    def _find(self, kind: str, name: str) -> Mapping[str, Any] | None:
        wanted = kind if ":" in kind else DYNAMIC + kind
        for each in self._resources():
            if each["type"] == wanted and (not name or each["urn"].endswith(f"::{name}")):
                return each
        return None

    def _resources(self) -> list[Mapping[str, Any]]:
        """Return the resources, without those that a replacement left for deletion."""
        return [each for each in self.exported.get("resources") or () if not each.get("delete")]


def unwrap_secrets(value: Any) -> Any:
    """Return the value without Pulumi's marks around secrets, at any depth."""
    if isinstance(value, Mapping):
        if is_secret(value):
            return unwrap_secrets(json.loads(value["plaintext"])) if "plaintext" in value else None
        return {key: unwrap_secrets(item) for key, item in value.items()}
    return [unwrap_secrets(item) for item in value] if isinstance(value, list) else value


def is_secret(value: Any) -> bool:
    """True if the value is Pulumi's wrapper around a secret."""
    return isinstance(value, Mapping) and value.get(SIGNATURE) == SECRET

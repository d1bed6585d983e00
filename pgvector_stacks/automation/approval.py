"""Binds an `up` to an approved preview. An approval says what a preview would do, in a form to compare and to publish.

`pulumi preview --save-plan` writes each resource's steps and changed values, including encrypted secrets. An approval
contains no values: only steps, names of changed keys, and a hash of the rest. So everyone who can read the repository
may also read the approval. The `up` repeats the preview. If the result differs from the approval, nothing is changed.
Otherwise Pulumi must follow the plan of this second preview, and stops at the first step that isn't in it.

Invariant: two previews of the same commit against the same state and database have equal approvals.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.exported_state import SECRET, SIGNATURE


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What will happen to one resource: Pulumi's names of the steps, the keys that differ, and a hash of everything."""

    steps: tuple[str, ...]
    changed: tuple[str, ...]
    sha256: str

    def __str__(self) -> str:
        return " and ".join(self.steps) + (f" ({', '.join(self.changed)})" if self.changed else "")


ORDER = frozenset({"dependencies", "propertyDependencies"})  # sets, whose order differs from plan to plan
NOTHING = PlannedChange((), (), "")


@dataclass(frozen=True, slots=True)
class Approval:
    """A preview of a stack at a commit. `resources`: by `TYPE NAME`, see `_name`; `commit`: "" outside of git."""

    stack: str
    commit: str
    resources: Mapping[str, PlannedChange]


def build_approval(plan: Mapping[str, Any], stack: str, commit: str) -> Approval:
    """Return the approval for a plan of `--save-plan`. Ignores secrets, whose encrypted form differs each time."""
    found = {}
    for urn, resource in (plan.get("resourcePlans") or {}).items():
        goal = _without_secrets({key: item for key, item in (resource.get("goal") or {}).items() if key not in ORDER})
        steps = tuple(resource.get("steps") or ())
        difference = goal.get("inputDiff") or {}
        changed = {key for kind in ("adds", "deletes", "updates") for key in difference.get(kind) or ()}
        text = json.dumps([steps, goal], sort_keys=True)
        found[_name(urn)] = PlannedChange(steps, tuple(sorted(changed)), hashlib.sha256(text.encode()).hexdigest())
    return Approval(stack, commit, found)


def describe_differences(approved: Approval, now: Approval) -> list[str]:
    """Return one line for each deviation from the approval; none if the previews are equal."""
    found = [
        f"{what}: approved for {was or 'no commit'}, this is {is_ or 'no commit'}"
        for what, was, is_ in (("stack", approved.stack, now.stack), ("commit", approved.commit, now.commit))
        if was != is_
    ]
    for name in sorted({*approved.resources, *now.resources}):
        was, present = approved.resources.get(name, NOTHING), now.resources.get(name, NOTHING)
        if was != present:
            values = "" if str(was) != str(present) else ", with other values"
            found.append(f"{name}: approved was {was if was.steps else 'nothing'}, now it is "
                         f"{present if present.steps else 'nothing'}{values}")  # fmt: skip
    return found


def write(file: Path, approval: Approval) -> None:
    """Write the approval to a file. Raises PgstackError."""
    try:
        file.write_text(json.dumps(asdict(approval), indent=2, sort_keys=True) + "\n")
    except OSError as error:
        raise PgstackError(f"{file} can't be written: {error.strerror}") from None


def read(file: Path) -> Approval:
    """Read an approval. Raises PgstackError if `pgstack preview --save-plan` did not write the file."""
    try:
        found = json.loads(file.read_text())
        steps = {
            str(name): PlannedChange(
                tuple(map(str, each["steps"])), tuple(map(str, each["changed"])), str(each["sha256"])
            )
            for name, each in found["resources"].items()
        }
        return Approval(str(found["stack"]), str(found["commit"]), steps)
    except OSError as error:
        raise PgstackError(f"{file} can't be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise PgstackError(
            f"{file} is no approved plan\n  make one:  pgstack preview STACK --save-plan {file}"
        ) from None


def refuse_other(approved: Approval, now: Approval) -> None:
    """Raise PgstackError if something differs from the approval."""
    if found := describe_differences(approved, now):
        lines = "".join(f"\n    {line}" for line in found)
        raise PgstackError(
            f"what `up` would do to {now.stack} isn't what was approved, so nothing was changed:{lines}\n"
            f"  have the present one approved:  pgstack preview {now.stack} --save-plan FILE"
        )


def _name(urn: str) -> str:
    """Return a resource's type and name, such as `SqlSchema schema`. Together they are unique in our stacks."""
    _, _, kinds, name = urn.split("::", 3)
    return f"{kinds.split('$')[-1].replace('/', ':').split(':')[-1]} {name.split('::')[0]}"


def _without_secrets(value: Any) -> Any:
    """Return the value with each secret replaced by the same text."""
    if isinstance(value, Mapping):
        if value.get(SIGNATURE) == SECRET:
            return "[secret]"
        return {key: _without_secrets(item) for key, item in value.items()}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value

"""An operation that failed never ends as a success: events, the printed count and the result, each is enough."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from pulumi.automation.events import EngineEvent

from pgvector_stacks.automation.engine_output import Verdict
from pgvector_stacks.automation.workspace import DeploymentFailed
from pgvector_stacks.cli.deploy import _run

# Written after the SDK's event types from an `up` of the local stack; ids and times cut.
METADATA = {"op": "update", "urn": "urn:pulumi:local::pgvector::x::schema", "type": "x", "provider": ""}
GOOD = [
    {"sequence": 0, "timestamp": 1, "preludeEvent": {"config": {}}},
    {"sequence": 1, "timestamp": 1, "resourcePreEvent": {"metadata": METADATA}},
    {"sequence": 2, "timestamp": 1, "diagnosticEvent": {"message": "to run: x", "color": "raw", "severity": "info"}},
    {"sequence": 3, "timestamp": 1, "diagnosticEvent": {"message": "drift", "color": "raw", "severity": "warning"}},
    {"sequence": 4, "timestamp": 1, "resOutputsEvent": {"metadata": METADATA}},
    {"sequence": 5, "timestamp": 1, "summaryEvent": {"maybeCorrupt": False, "durationSeconds": 2,
     "resourceChanges": {"same": 6, "update": 1}, "PolicyPacks": {}}},
    {"sequence": 6, "timestamp": 1, "cancelEvent": {}},
]  # fmt: skip
FAILED_STEP = {"sequence": 9, "timestamp": 1, "resOpFailedEvent": {"metadata": METADATA, "status": 0, "steps": 1}}
ERROR = {"sequence": 9, "timestamp": 1, "diagnosticEvent": {"message": "no", "color": "raw", "severity": "error"}}
ERRORED = "    1 errored"


@dataclass
class Summary:
    result: str = "succeeded"


@dataclass
class Result:
    summary: Summary = field(default_factory=Summary)


def run(events: list[dict[str, Any]], lines: list[str], result: str = "succeeded") -> Result:
    """What `up` does with such an operation."""

    def operation(*, on_event: Any, on_output: Any, on_error: Any, color: str) -> Result:
        for event in events:
            on_event(EngineEvent.from_json(json.loads(json.dumps(event))))
        for line in lines:
            on_output(line)
        return Result(Summary(result))

    found: Result = _run(operation)
    return found


def test_a_stream_without_a_failure_is_a_success() -> None:
    assert run(GOOD, ["Resources:", "    ~ 1 updated", "    6 unchanged", "0 errored", "row 1 errored"]).summary.result


@pytest.mark.promise("An `up` with a failed step never ends with 0")
@pytest.mark.parametrize("place", range(len(GOOD)))
@pytest.mark.parametrize("event", [FAILED_STEP, ERROR])
def test_a_failed_step_or_an_error_anywhere_is_a_failure(event: dict[str, Any], place: int) -> None:
    with pytest.raises(DeploymentFailed):
        run([*GOOD[:place], event, *GOOD[place:]], [])


@pytest.mark.parametrize("line", [ERRORED, "    12 errored", "\x1b[1m    \x1b[31m1 errored\x1b[0m"])
def test_a_printed_count_of_errors_is_a_failure_though_no_event_came(line: str) -> None:
    with pytest.raises(DeploymentFailed):
        run(GOOD, ["Resources:", line])


@pytest.mark.parametrize("result", ["failed", "in-progress", "not-started"])
def test_another_result_than_success_is_a_failure(result: str) -> None:
    with pytest.raises(DeploymentFailed):
        run(GOOD, [], result)


def test_what_is_said_in_passing_is_no_failure() -> None:
    verdict = Verdict()
    passing = ERROR["diagnosticEvent"] | {"ephemeral": True}  # type: ignore[operator]
    verdict.event(EngineEvent.from_json({"sequence": 1, "timestamp": 1, "diagnosticEvent": passing}))
    assert not verdict.failed

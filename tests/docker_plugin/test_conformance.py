"""The stand-in answers as the real plugin did: `recordings/`, call by call.

What is decided without Docker (Check, Diff, previews) is compared exactly. What is done is done again on the Docker
Engine that answers here, in the order it was recorded, with the tests' image in the place of PostgreSQL's; the answers
are compared once names, ids, ports and addresses are made equal.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.docker_plugin.calls import Failed, RunningPlugin
from tests.docker_plugin.conftest import PREFIX
from tests.docker_plugin.fields import Values
from tests.docker_plugin.server import whole

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.jsonl"))
# of the real plugin's own and nobody else's
INTERNAL = ("__meta", "__pulumi_raw_state_delta")
DECISIONS = ("GetPluginInfo", "CheckConfig", "DiffConfig", "Check", "Diff")
DONE = ("Create", "Read", "Update", "Delete")
UNORDERED = ("replaces", "diffs", "stables")
RECORDED_IMAGE = "pgvector/pgvector:pg17"
RECORDED_ID = "sha256:90df22e35f441415be11db8006962f4643f953f279d7aa0f36952c634c8479c3"


def calls(recording: Path) -> list[Values]:
    return [json.loads(line) for line in recording.read_text().splitlines()]


def is_decision(call: Values) -> bool:
    return call["method"] in DECISIONS or bool(call["request"].get("preview"))


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: comparable(one) for name, one in value.items() if name not in INTERNAL}
    return [comparable(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_check_diff_and_previews_are_the_real_plugins(plugin: RunningPlugin, recording: Path) -> None:
    for call in calls(recording):
        if is_decision(call):
            wanted, found = comparable(call["response"] or {}), comparable(plugin.call(call["method"], call["request"]))
            for name in set(UNORDERED) & set(found):
                found[name] = sorted(set(found[name]))
            assert found == whole(wanted), f"{call['method']} {call['request'].get('name', '')}"


# what is done


@dataclass
class Story:
    """The recordings done again. answers: recording → (call, found, wanted)."""

    plugin: RunningPlugin
    engine: docker.APIClient
    ports: dict[str, str]
    image: str
    image_id: str
    ids: dict[str, str] = field(default_factory=dict)
    answers: dict[str, list[tuple[str, Any, Any]]] = field(default_factory=dict)

    def here(self, call: Values) -> Values:
        """A recorded call with this machine's names."""
        text = json.dumps(call).replace(RECORDED_IMAGE, self.image).replace(RECORDED_ID, self.image_id)
        text = text.replace("pgvector-dev", f"{PREFIX}-dev").replace("::pgvector::", "::there::")
        for recorded, own in (self.ids | self.ports).items():
            text = text.replace(recorded, own)
        found: Values = json.loads(text)
        return found

    def there(self, answer: Any) -> Any:
        """An answer with the recorded names, where the machine's own say nothing."""
        text = json.dumps(answer).replace(self.image_id, RECORDED_ID).replace(self.image, RECORDED_IMAGE)
        text = text.replace(f"{PREFIX}-dev", "pgvector-dev").replace("::there::", "::pgvector::")
        for recorded, found in (self.ids | self.ports).items():
            text = text.replace(found, recorded).replace(f'"{found[:12]}"', f'"{recorded[:12]}"')
        return neutral(json.loads(text))

    def replay(self, recording: Path) -> None:
        answers = self.answers.setdefault(recording.stem, [])
        for recorded in calls(recording):
            if recorded["method"] not in DONE or is_decision(recorded):
                continue
            name = recorded["request"]["name"]
            wanted: Any = recorded["response"] or {}
            call = self.here(recorded)
            try:
                found: Any = self.plugin.call(call["method"], call["request"])
                identity = found.get("id", "")
            except Failed as failed:
                found, identity = f"rpc error: code = Unknown desc = {failed}", failed.kept.get("id", "")
                wanted = recorded["errors"][0] if recorded["errors"] else wanted
                if identity:
                    self.ids[next_id(recording, name)] = identity
            if recorded["method"] == "Create" and "id" in (recorded["response"] or {}) and len(identity) == 64:
                self.ids[recorded["response"]["id"]] = identity
            answers.append((f"{recorded['method']} {name}", self.there(found), neutral(wanted)))

    @property
    def container(self) -> str:
        return f"{PREFIX}-dev"


def next_id(recording: Path, name: str) -> str:
    """The id the real plugin gave to what it made and then failed to start: the recording after this one names it."""
    later = RECORDINGS[RECORDINGS.index(recording) + 1 :]
    for call in (call for other in later for call in calls(other)):
        if call["request"].get("name") == name and "id" in call["request"]:
            return str(call["request"]["id"])
    raise AssertionError(f"no recording after {recording.stem} names {name}")


def neutral(value: Any) -> Any:
    """Without what is the machine's own: addresses, the engine's folder, its own words for the same failure."""
    value = whole(comparable(value))
    text = json.dumps(value, sort_keys=True)
    text = re.sub(r'"(subnet|gateway|ipAddress|macAddress)": "[^"]+"', r'"\1": "…"', text)
    text = re.sub(r'"ipPrefixLength": [1-9]\d*', '"ipPrefixLength": 16', text)
    text = re.sub(r'"mountpoint": "[^"]*/volumes/', '"mountpoint": "/var/lib/docker/volumes/', text)
    text = re.sub(r"(Error response from daemon: ).*?(: provider=|\\n)", r"\1…\2", text)
    return json.loads(text)


@pytest.fixture(scope="module")
def story(plugin: RunningPlugin, engine: docker.APIClient, image: str) -> Iterator[Story]:
    plugin.call("Configure", {"args": {"version": "5.2.0"}})
    with socket.socket() as free, socket.socket() as taken:
        for one in (free, taken):
            one.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"55432": str(free.getsockname()[1]), "55433": str(taken.getsockname()[1])}
        free.close()
        story = Story(plugin, engine, ports, image, engine.inspect_image(image)["Id"])
        for recording in RECORDINGS:
            if recording.stem.startswith("09"):
                engine.remove_container(story.container, force=True)
            elif recording.stem.startswith("11"):
                engine.stop(story.container)
            story.replay(recording)
        yield story


@pytest.mark.parametrize("recording", [path.stem for path in RECORDINGS])
def test_what_is_done_is_what_the_real_plugin_did(story: Story, recording: str) -> None:
    for call, found, wanted in story.answers[recording]:
        assert found == wanted, call


def test_nothing_is_left_but_the_volume_that_was_retained(story: Story) -> None:
    named = {"name": f"{PREFIX}-dev"}
    time.sleep(0.1)
    assert not story.engine.containers(all=True, filters=named)
    assert not story.engine.networks(filters=named)
    assert [one["Name"] for one in story.engine.volumes(filters=named)["Volumes"]] == [f"{PREFIX}-dev-data"]


def test_a_failure_is_logged_in_the_real_plugins_words(story: Story) -> None:
    assert (
        "  sdk-v2/provider2.go:571: sdk.helper_schema: container failed to be in healthy state: provider=docker@5.2.0"
        in story.plugin.engine.logged
    )

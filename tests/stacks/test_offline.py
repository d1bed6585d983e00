"""Offline: who is asked then, and which words switch it on."""

from __future__ import annotations

import pytest

from pgvector_stacks.config import offline
from pgvector_stacks.config.environment import ConfigError, from_config


@pytest.mark.parametrize(
    ("value", "wanted"), [("1", True), ("true", True), ("True", True), ("", False), ("0", False), ("false", False)]
)
def test_the_variable_says_yes_or_no(value: str, wanted: bool) -> None:
    assert offline.is_offline_requested({offline.VARIABLE: value}) is wanted
    assert offline.is_offline_requested({}) is False


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="PGSTACK_OFFLINE = 'no': allowed are 1 and 0"):
        offline.is_offline_requested({offline.VARIABLE: "no"})


def test_a_host_behind_ssh_stays_as_it_is_and_no_other_is_asked() -> None:
    far = {"dockerHost": "ssh://deploy@db.example"}
    assert offline.get_endpoint_offline(from_config("dev", far), {}).url == far["dockerHost"]
    assert (
        offline.get_endpoint_offline(from_config("dev", {}), {"DOCKER_HOST": "ssh://me@there"}).url == "ssh://me@there"
    )
    for keys in ({"dockerHost": "tcp://10.0.0.1:2376"}, {"dockerContext": "of-another-machine"}, {}):
        assert offline.get_endpoint_offline(from_config("dev", keys), {}) is offline.NOT_ASKED

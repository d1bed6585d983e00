"""The key of the state's secrets is that of the state, whatever a stack file names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.automation.state_key import find_difference

URL = "awskms://alias/ours?region=eu-west-1"
HOLDS = [{"urn": "u"}]
CLOUD = {"type": "cloud", "state": {"url": URL, "encryptedkey": "AQ=="}}
PASSPHRASE = {"type": "passphrase", "state": {"salt": "v1:x"}}
SERVICE = {"type": "service", "state": {"url": "https://api.pulumi.com", "owner": "us"}}


@pytest.mark.parametrize(
    ("key", "state"),
    [
        ({}, PASSPHRASE),
        ({"secretsprovider": "passphrase"}, PASSPHRASE),
        ({"secretsprovider": "default"}, SERVICE),
        ({}, SERVICE),
        ({}, None),
        ({"secretsprovider": URL, "encryptedkey": "AQ=="}, CLOUD),
    ],
)
def test_the_states_own_key_is_no_difference(key: dict[str, str], state: dict[str, Any] | None) -> None:
    assert find_difference(key, {"resources": HOLDS, "secrets_providers": state}) is None


@pytest.mark.parametrize(
    ("key", "state", "told"),
    [
        ({"secretsprovider": URL}, PASSPHRASE, (URL, "passphrase")),
        ({"secretsprovider": URL, "encryptedkey": "AQ=="}, SERVICE, (URL, "service")),
        ({"secretsprovider": URL}, None, (URL, "no key")),
        ({"secretsprovider": f"{URL}&endpoint=http://me", "encryptedkey": "AQ=="}, CLOUD,
         (f"{URL}&endpoint=http://me", URL)),
        ({"secretsprovider": URL, "encryptedkey": "Ag=="}, CLOUD, (f"{URL} with another key", URL)),
        ({"secretsprovider": URL}, CLOUD, (f"{URL} with another key", URL)),
        ({"secretsprovider": "passphrase"}, CLOUD, ("no key service", URL)),
        ({}, CLOUD, ("no key service", URL)),
    ],
)  # fmt: skip
def test_another_key_is_a_difference(key: dict[str, str], state: dict[str, Any] | None, told: tuple[str, str]) -> None:
    assert find_difference(key, {"resources": HOLDS, "secrets_providers": state}) == told
    assert find_difference(key, {"resources": [], "secrets_providers": state}) is None  # it holds no secret


WORDS = st.sampled_from(["", "a", "b", "default", "passphrase"])


@given(WORDS, WORDS, WORDS, WORDS)
def test_a_key_service_is_taken_only_if_it_is_the_states(url: str, key: str, state_url: str, state_key: str) -> None:
    """Whatever the file says, it encrypts a state of a key service with the same service and the same key, or not."""
    state = {"type": "cloud", "state": {"url": f"kms://{state_url}", "encryptedkey": state_key}}
    file = {"secretsprovider": f"kms://{url}", "encryptedkey": key}
    same = find_difference(file, {"resources": HOLDS, "secrets_providers": state}) is None
    assert same == ((url, key) == (state_url, state_key))

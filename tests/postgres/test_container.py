"""What a server in a container is: what a reviewer reads of a change, and what changes with it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.docker.container_spec import OLD_MOUNT, ContainerSpec
from pgvector_stacks.docker.exit_diagnosis import ContainerState
from pgvector_stacks.docker.readiness import keeps_exiting

SPEC = ContainerSpec("pgvector-dev", 17, {"work_mem": "4MB", "jit": "off"}, memory_mb=1024, cpus=1, shm_mb=256)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
SPECS = st.builds(
    ContainerSpec, name=st.just("pgvector-dev"), major=st.sampled_from([15, 16, 17, 18]),
    settings=st.dictionaries(NAMES, st.text(st.characters(codec="ascii", exclude_characters="\0\n"), max_size=8)),
    memory_mb=st.integers(256, 1 << 20), cpus=st.integers(1, 2048).map(lambda quarter: quarter / 4),
    shm_mb=st.integers(64, 4096), certificate=st.sampled_from(["", "one", "two"]), key=st.sampled_from(["", "k", "l"]),
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"memory_mb": 2048, "shm_mb": 300}, ["memory 1024 → 2048 MiB", "/dev/shm 256 → 300 MiB"]),
        ({"cpus": 0.5}, ["cpus 1 → 0.5"]),
        ({"settings": {"work_mem": "5MB", "jit": "off"}}, ["work_mem 4MB → 5MB"]),
        ({"settings": {"work_mem": "4MB"}}, ["jit off → default"]),
        ({"settings": {"work_mem": "4MB", "jit": "off", "wal_level": "logical"}}, ["wal_level default → logical"]),
        ({"certificate": "PEM", "key": "secret"}, ["TLS certificate"]),
    ],
)
def test_a_change_is_told_in_words_and_never_a_key(change: dict[str, object], words: list[str]) -> None:
    found = SPEC.describe_changes(replace(SPEC, **change))  # type: ignore[arg-type]
    assert found == words
    assert "secret" not in str(found)


@given(SPECS, SPECS)
def test_what_restarts_the_server_is_told_and_nothing_else(one: ContainerSpec, other: ContainerSpec) -> None:
    """The fingerprint decides whether a server is tried and validated again; the words must not be silent about it."""
    other = replace(other, major=one.major)  # another major is refused before
    same_files = one.files == other.files
    if one.fingerprint != other.fingerprint:
        assert one.describe_changes(other)
    if not one.describe_changes(other):
        assert one.fingerprint == other.fingerprint
        assert same_files


@given(SPECS, SPECS)
def test_the_words_of_the_way_back_are_those_of_the_way_there(one: ContainerSpec, other: ContainerSpec) -> None:
    assert len(one.describe_changes(other)) == len(other.describe_changes(one))
    assert one.describe_changes(one) == []


@given(SPECS)
def test_no_key_is_in_what_docker_inspect_shows(spec: ContainerSpec) -> None:
    spec = replace(spec, certificate="PEM", key="the-secret-key")
    shown = f"{spec.command} {spec.environment} {spec.tmpfs} {spec.limits()} {spec!r}"
    assert "the-secret-key" not in shown
    assert spec.files_folder in " ".join(spec.command)


@given(SPECS)
def test_images_up_to_17_get_no_stray_volume(spec: ContainerSpec) -> None:
    assert (OLD_MOUNT in spec.tmpfs) == (spec.major < 18)


@pytest.mark.parametrize(
    ("first", "now", "status", "gives_up"),
    [
        (0, 0, "running", False),
        (0, 1, "restarting", False),  # one crash, and Docker's restart policy mends it
        (0, 1, "running", False),
        (0, 2, "running", True),  # the second exit while we look
        (0, 2, "restarting", True),
        (5, 5, "running", False),  # its past
        (5, 5, "restarting", True),  # between two of many starts
        (5, 6, "running", False),
        (5, 7, "running", True),
    ],
)
def test_one_crash_is_waited_out_and_a_loop_is_not(first: int, now: int, status: str, gives_up: bool) -> None:
    seen = ContainerState("pgvector-dev", "running", 0, False, "", "", "", restarts=first)
    assert keeps_exiting(seen, replace(seen, restarts=now, status=status)) == gives_up


@given(SPECS, SPECS, st.randoms(use_true_random=False))
def test_the_order_in_which_the_state_has_the_settings_is_no_difference(
    one: ContainerSpec, other: ContainerSpec, random: Random
) -> None:
    """Else a rotated password would run the server's trial."""
    items = list(one.settings.items())
    random.shuffle(items)
    assert not one.differs_from(replace(one, settings=dict(items)))
    other = replace(other, major=one.major)
    assert one.differs_from(other) == bool(one.describe_changes(other))

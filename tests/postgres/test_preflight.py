"""The checks before anything changes: each against facts that are right, and with the one thing wrong it is about."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.docker.docker_host import CLAIM_LABEL, NAME_LABEL, Network
from pgvector_stacks.docker.preflight import CHECKS, LEAST_FREE_MB, HostFacts, HostNeeds, run_checks

OURS = {NAME_LABEL: "pgvector-dev", CLAIM_LABEL: "c1"}
THEIRS = {NAME_LABEL: "pgvector-dev", CLAIM_LABEL: "c2"}
WANTED = HostNeeds(
    name="pgvector-dev", image="pgvector/pgvector:pg17", memory_mb=1024, cpus=1.5, port=5433, bind_address="127.0.0.1",
    wal_mb=512, claim="c1",
)  # fmt: skip
GOOD = HostFacts(
    api=(1, 41), architecture="amd64", memory_mb=1024, cpus=2, can_limit_memory=True, root="/var/lib/docker",
    free_mb=LEAST_FREE_MB + 512, root_missing=False, has_volume=False, has_image=True, image_architectures=("amd64",),
    image_problem="", port_holder="", has_address=True, other_users=(), container=OURS,
    network=Network("n", OURS, ("pgvector-dev", "app")),
)  # fmt: skip


def bad(wanted: HostNeeds = WANTED, **facts: object) -> list[tuple[str, bool]]:
    """(message, serious) of each finding that isn't good."""
    found = run_checks(wanted, replace(GOOD, **facts))  # type: ignore[arg-type]
    return [(str(finding), finding.serious) for finding in found if not finding.is_ok]


def test_a_host_that_has_just_enough_is_good_in_every_respect() -> None:
    assert bad() == []
    assert len(run_checks(WANTED, GOOD)) == len(CHECKS)
    # where nothing is known and nothing is there yet
    assert bad(free_mb=None, container=None, network=None, has_image=False) == []


@pytest.mark.promise("A preview reports what a Docker host lacks, with the remedy")
@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"api": (1, 40)}, "Docker: API 1.40\n  install Docker 20.10 or newer (API 1.41)"),
        ({"image_problem": "no such host"},
         "image: pgvector/pgvector:pg17 is not on the Docker host and can't be pulled: no such host\n"
         "  check the name (pgvector:image) and the registry, or load it:  docker pull pgvector/pgvector:pg17"),
        ({"image_architectures": ("arm64", "s390x")},
         "image: pgvector/pgvector:pg17 exists for arm64, s390x, the host is amd64\n"
         "  choose an image for this architecture (pgvector:image)"),
        ({"memory_mb": 1023}, "memory: 1023 MiB on the host, pgvector:memoryMb is 1024\n  lower pgvector:memoryMb"),
        ({"can_limit_memory": False},
         "memory: the host can't limit memory (no memory cgroup); 1024 MiB on the host, pgvector:memoryMb is 1024\n"
         "  boot the host with cgroup_enable=memory swapaccount=1"),
        ({"cpus": 1}, "cpus: 1 on the host, pgvector:cpus is 1.5\n  lower pgvector:cpus"),
        ({"free_mb": 1535},
         "disk: 1535 MB free in /var/lib/docker, needed 1536\n"
         "  free some:  df -h;  docker system df;  docker image prune"),
        ({"root_missing": True, "root": "/srv/db"},
         "disk: pgvector:dataPath is /srv/db, and there is no such directory on the Docker host\n"
         "  create it, only for the image's postgres:  sudo install -d -o 999 -g 999 -m 700 /srv/db"),
        ({"port_holder": "process 42 (nginx)"},
         "port: 127.0.0.1:5433 is taken by process 42 (nginx)\n  stop it, or choose another port (pgvector:port)"),
        ({"has_address": False},
         "port: pgvector:bindAddress is 127.0.0.1, which is not an address of the Docker host\n"
         "  choose one of its addresses:  ip address;  127.0.0.1 is only this machine, 0.0.0.0 every network"),
        ({"other_users": ("db", "old_db_1")},
         "volume: pgvector-dev is used by another container: db, old_db_1 (two servers on one volume lose data)\n"
         "  remove it if you no longer need it (its volumes stay):  docker rm -f db old_db_1;  "
         "or choose another name (pgvector:containerName)"),
        ({"container": {}},
         "container: there is a container pgvector-dev that this stack did not create\n"
         "  remove it (its volumes stay):  docker rm -f pgvector-dev;  "
         "or choose another name (pgvector:containerName)"),
        ({"container": THEIRS},
         "container: there is a container pgvector-dev that this stack did not create (another checkout did, or this "
         "one before its state was lost)\n  remove it (its volumes stay):  docker rm -f pgvector-dev;  "
         "or choose another name (pgvector:containerName)"),
        ({"network": Network("n", {}, ())},
         "network: there is a network pgvector-dev that this stack did not create\n"
         "  remove it:  docker network rm pgvector-dev;  or choose another name (pgvector:containerName)"),
        ({"network": Network("n", THEIRS, ("app",))},
         "network: there is a network pgvector-dev that this stack did not create, used by app\n"
         "  remove it:  docker network rm pgvector-dev;  or choose another name (pgvector:containerName)"),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_is_told_alone_and_stops_the_preview(facts: dict[str, object], said: str) -> None:
    assert bad(WANTED, **facts) == [(said, True)]


def test_a_full_disk_does_not_forbid_the_up_of_a_volume_that_is_there() -> None:
    assert bad(free_mb=LEAST_FREE_MB, has_volume=True) == []  # its WAL is on the disk already
    ((said, serious),) = bad(free_mb=0, has_volume=True)
    assert said.startswith("disk: 0 MB free in /var/lib/docker, needed 1024\n")
    assert not serious


def test_an_image_that_gets_no_updates_is_a_warning() -> None:
    ((said, serious),) = bad(replace(WANTED, image="ankane/pgvector:latest"))
    assert said.startswith("image's age: ankane/pgvector has had no updates since October 2023")
    assert not serious


def test_a_container_of_the_same_name_on_our_volume_is_told_once() -> None:
    ((said, _),) = bad(container=THEIRS, other_users=("pgvector-dev",))
    assert said.startswith("volume: ")


@pytest.mark.parametrize("claim", [None, "c2", ""])
def test_without_the_claim_on_it_no_container_is_ours(claim: str | None) -> None:
    assert bad(replace(WANTED, claim=claim), container=OURS)


@pytest.mark.parametrize(
    ("labels", "users", "claim", "goes"),
    [
        (OURS, (), "c1", True), (OURS, ("app",), "c1", True),  # the state's own
        (THEIRS, (), "c1", True),  # of a state that is lost: nobody misses it
        (THEIRS, ("app",), "c1", False), ({}, (), "c1", False), ({}, ("app",), "c1", False),
        (OURS, (), None, True), (OURS, ("app",), None, False), ({NAME_LABEL: "other"}, (), "c1", False),
        ({NAME_LABEL: "pgvector-dev", CLAIM_LABEL: ""}, ("app",), "", False),
    ],
)  # fmt: skip
def test_a_network_goes_only_where_it_was_made_here_and_nobody_else_misses_it(
    labels: dict[str, str], users: tuple[str, ...], claim: str | None, goes: bool
) -> None:
    assert Network("n", labels, users).is_removable("pgvector-dev", claim) == goes


@given(
    st.builds(
        HostFacts, api=st.tuples(st.just(1), st.integers(30, 60)), architecture=st.sampled_from(["amd64", "arm64"]),
        memory_mb=st.integers(0, 1 << 20), cpus=st.integers(1, 512), can_limit_memory=st.booleans(), root=st.text(),
        free_mb=st.none() | st.integers(0, 1 << 20), root_missing=st.booleans(), has_volume=st.booleans(),
        has_image=st.booleans(), image_architectures=st.just(()), image_problem=st.text(), port_holder=st.text(),
        has_address=st.booleans(), other_users=st.lists(st.text()).map(tuple),
        container=st.none() | st.sampled_from([OURS, THEIRS, {}]), network=st.none(),
    )
)  # fmt: skip
def test_whatever_the_host_says_each_check_finds_one_thing_and_a_bad_one_has_a_remedy(facts: HostFacts) -> None:
    found = run_checks(WANTED, facts)
    assert len(found) == len(CHECKS)
    assert all(finding.what and finding.found for finding in found)
    assert all(str(finding).count("\n") >= (not finding.is_ok) for finding in found)

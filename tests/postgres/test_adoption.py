"""What is decided about a volume from what was seen in it: pure, so every kind of volume is a row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgvector_stacks.common.finding import Finding
from pgvector_stacks.docker.adoption import (
    LegacyDirectory,
    LegacyVolume,
    MountingContainer,
    describe_adoption,
    explain_failure,
    explain_refusal,
    find_use_problem,
    parse_legacy_volume,
)
from pgvector_stacks.docker.container_spec import ContainerSpec
from pgvector_stacks.docker.docker_host import ContainerResult
from pgvector_stacks.docker.preflight import HostNeeds, _check_adopted_volume
from tests.postgres.test_adoption_facts import FACTS

IN_ORDER = LegacyVolume(image_uid=999, volume_uid=999, places=(LegacyDirectory(".", 15),))
SPEC = ContainerSpec(name="stack", major=15, settings={}, memory_mb=512, cpus=1, shm_mb=64)


def refused(**changes: object) -> str:
    return explain_refusal(replace(IN_ORDER, **changes), "old", "IMAGE", 15)  # type: ignore[arg-type]


def place(**fields: object) -> tuple[LegacyDirectory, ...]:
    return (replace(IN_ORDER.places[0], **fields),)  # type: ignore[arg-type]


def test_a_volume_in_order_may_be_adopted_and_says_what_will_happen() -> None:
    assert explain_refusal(IN_ORDER, "old", "IMAGE", 15) == ""
    assert describe_adoption(IN_ORDER, "old", 15) == (
        "adopts volume old: moves PostgreSQL 15's data, now in its root, into 15/docker"
    )
    recovered = replace(IN_ORDER, places=place(where="pgdata", state="in production"))
    assert explain_refusal(recovered, "old", "IMAGE", 15) == ""
    assert describe_adoption(recovered, "old", 15).endswith(
        "now in pgdata/, into 15/docker; it wasn't shut down: PostgreSQL 15 recovers it first"
    )


def test_what_was_adopted_before_is_done_and_what_was_interrupted_is_undone_first() -> None:
    done = LegacyVolume(image_uid=999, volume_uid=999, served_majors=(15,))
    assert (explain_refusal(done, "old", "IMAGE", 15), describe_adoption(done, "old", 15)) == ("", "")
    half = replace(IN_ORDER, journal="15", obstacles=("15/docker",), places=place(state=""))
    assert explain_refusal(half, "old", "IMAGE", 15) == ""
    assert "an interrupted move is undone first; moves PostgreSQL 15's data" in describe_adoption(half, "old", 15)
    last = LegacyVolume(image_uid=999, volume_uid=999, journal="15", served_majors=(15,))
    assert "an interrupted move is undone first" in describe_adoption(last, "old", 15)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"places": ()}, "volume old holds no data of PostgreSQL, neither in its root nor in data/ or pgdata/"),
        ({"served_majors": (15,)}, "more than one data directory: in its root, in 15/docker"),
        (
            {"places": (LegacyDirectory(".", 15), LegacyDirectory("data", 16))},
            "more than one data directory: in its root, in data/",
        ),
        ({"places": place(major=14)}, "pgvector:image: pgvector/pgvector:0.8.6-pg14-bookworm"),
        ({"places": place(foreign_file="1000 ./base")}, "./base belongs to user 1000, the postgres of IMAGE is 999"),
        ({"volume_uid": 0}, ". belongs to user 0, the postgres of IMAGE is 999"),
        ({"places": place(foreign_file="70 .")}, "Alpine's C library sorts text in another order"),
        ({"places": place(links=("pg_wal -> /wal",))}, "pg_wal -> /wal: WAL or a tablespace outside"),
        ({"places": place(signals=("standby.signal",))}, "promote it (SELECT pg_promote())"),
        ({"obstacles": ("15/docker",)}, "15/docker is in the way and is not a data directory"),
        ({"places": place(state="shut down in recovery")}, "pg_control says 'shut down in recovery'"),
        ({"places": place(state="")}, "pg_control says 'nothing' where 'shut down' is expected"),
        ({"places": place(paths=("postgresql.conf:7:ident_file = '/var/lib/postgresql/data/x'",))},
         "-i '7s/^/#/' /volume/postgresql.conf"),
        ({"places": place(where="pgdata", paths=("postgresql.conf:7:x = '/var/lib/postgresql/data/x'",))},
         "-i '7s/^/#/' /volume/pgdata/postgresql.conf"),
    ],
)  # fmt: skip
def test_a_volume_that_may_not_be_adopted_says_why_and_what_to_do(changes: dict[str, object], expected: str) -> None:
    said = refused(**changes)
    assert expected in said
    assert "old" in said
    assert "\n  " in said  # the remedy


@pytest.mark.parametrize("state", ["shut down", "in production", "shutting down", "in crash recovery"])
def test_the_same_major_recovers_what_was_killed(state: str) -> None:
    assert refused(places=place(state=state)) == ""


def test_the_containers_that_use_it_are_named_with_the_command_that_keeps_the_volume() -> None:
    assert find_use_problem("old", ()) == ("", "")
    wrong, remedy = find_use_problem(
        "old",
        [
            MountingContainer("shop-db-1", True, "shop"),
            MountingContainer("shop-job-1", False, "shop"),
            MountingContainer("psql", True, ""),
        ],
    )
    assert wrong.startswith("old is still used by shop-db-1 (running), shop-job-1 (stopped), psql (running)")
    assert remedy.startswith(
        "remove what uses it:  docker compose --project-name shop down --timeout 120;  "
        "docker stop --time 120 psql && docker rm psql"
    )
    assert "without -v" in remedy
    assert "without -v" not in find_use_problem("old", [MountingContainer("psql", True, "")])[1]


def test_the_preview_says_it_of_a_volume_that_is_not_there_or_in_use() -> None:
    wanted = HostNeeds("stack", "IMAGE", 512, 1, 5433, "127.0.0.1", 100, None, adopt="old")

    def finding(**facts: object) -> Finding:
        return _check_adopted_volume(wanted, type("Facts", (), {"adopted_exists": True, "adopted_users": ()} | facts)())

    assert finding().is_ok
    assert "there is no volume old to adopt" in str(finding(adopted_exists=False))
    assert "docker compose --project-name shop down" in str(
        finding(adopted_users=(MountingContainer("db", True, "shop"),))
    )


@pytest.mark.parametrize(("output", "expected"), FACTS)
def test_what_the_script_prints_is_understood(output: str, expected: LegacyVolume) -> None:
    assert parse_legacy_volume(output) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("pgstack: no database shop among postgres app", "has no database shop; it has: postgres app\n  name the one"),
        ("pgstack: no database postgres among app", "has no database postgres, which the administrator connects to"),
        ("FATAL:  x\npgstack: the server doesn't start on the data as it lies", "the old container starts on it"),
        ("mv: No space left on device\npgstack: the move failed; all is back at its old place", "the disk is full"),
    ],
)
def test_a_failure_of_the_move_says_where_the_data_is(said: str, expected: str) -> None:
    assert expected in explain_failure(ContainerResult(1, said), SPEC, "old", "shop")

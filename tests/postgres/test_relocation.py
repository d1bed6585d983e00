"""Where data lies: another place is refused as long as the former one holds data, with steps that name both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.docker.relocation import DataPlace, explain_refusal, find_misplacement

OWN = DataPlace("unix:///s", "pgvector-dev")
IMAGE = "pgvector/pgvector:pg17"
PLACES = st.builds(
    DataPlace, st.just("unix:///s"), st.sampled_from(["pgvector-dev", "pgvector-test"]),
    st.sampled_from(["", "/srv/a", "/srv/a/", "/srv/b c"]), st.just(False),
)  # fmt: skip


@pytest.mark.parametrize(
    ("was", "wanted", "words"),
    [
        (OWN, DataPlace("unix:///s", "db"),
         ["is in the volume pgvector-dev, as pgvector:containerName", "pgvector:containerName: pgvector-dev\n",
          "pgvector:adoptVolume: pgvector-dev ",
          "-v pgvector-dev:/from:ro -v db:/to pgvector/pgvector:pg17 -a /from/. /to\n"]),
        (OWN, DataPlace("unix:///s", "pgvector-dev", "/srv/a"),
         ["in the directory /srv/a the server would start empty", "take pgvector:dataPath out",
          "-v pgvector-dev:/from:ro -v /srv/a:/to", "-a /from/. /to && docker volume rm pgvector-dev\n"]),
        (DataPlace("unix:///s", "pgvector-dev", "/srv/a"), OWN,
         ["is in the directory /srv/a; in the volume pgvector-dev", "pgvector:dataPath: /srv/a\n",
          "    docker volume rm pgvector-dev   (the files in /srv/a stay)\n    docker run",
          "-v /srv/a:/from:ro -v pgvector-dev:/to"]),
        (DataPlace("unix:///s", "pgvector-dev", "/srv/a"), DataPlace("unix:///s", "pgvector-dev", "/srv/b c"),
         ["docker volume rm pgvector-dev ", "-v /srv/a:/from:ro -v '/srv/b c':/to"]),
        (OWN, DataPlace("unix:///s", "shop_data", adopted=True), ["adopting shop_data would leave it behind"]),
        (DataPlace("unix:///s", "shop_data", adopted=True), OWN, ["pgvector:adoptVolume: shop_data"]),
        (DataPlace("unix:///s", "shop_data", adopted=True), DataPlace("unix:///s", "other", adopted=True),
         ["pgvector:adoptVolume: shop_data"]),
    ],
)  # fmt: skip
def test_each_move_is_refused_with_the_way_to_stay_and_the_way_to_go(
    was: DataPlace, wanted: DataPlace, words: list[str]
) -> None:
    said = explain_refusal(was, wanted, IMAGE, other_engine=False)
    for each in words:
        assert each in said


def test_the_same_volume_under_another_container_name_is_no_move() -> None:
    assert explain_refusal(OWN, DataPlace("unix:///s", "pgvector-dev", adopted=True), IMAGE, other_engine=False) == ""


def test_another_engine_is_refused_with_a_backup_as_the_way() -> None:
    said = explain_refusal(OWN, DataPlace("ssh://db", "pgvector-dev"), IMAGE, other_engine=True)
    assert "is in the volume pgvector-dev on the Docker engine unix:///s; on ssh://db the server would" in said
    assert "pgvector:dockerHost: unix:///s\n" in said
    assert said.endswith("then on the other one:  pgstack up STACK;  pgstack backup restore STACK")


@given(PLACES, PLACES)
def test_a_place_is_refused_exactly_where_it_has_other_files(was: DataPlace, wanted: DataPlace) -> None:
    """Files are the same in the same directory of the host, whatever the volume is called, and in the same volume."""
    files = [(each.path.rstrip("/") or each.volume) for each in (was, wanted)]
    said = explain_refusal(was, wanted, IMAGE, other_engine=False)
    assert (said == "") == (files[0] == files[1])
    if said:
        assert "docker run --rm" in said
        assert said.endswith("pgstack up STACK")


@pytest.mark.parametrize(
    ("bound", "path", "wrong"),
    [(None, "", False), (None, "/a", False), ("", "", False), ("/a", "/a/", False), ("", "/a", True), ("/a", "", True),
     ("/a", "/b", True)],
)  # fmt: skip
def test_a_volume_that_is_bound_elsewhere_is_not_the_one_asked_for(bound: str | None, path: str, wrong: bool) -> None:
    said, remedy = find_misplacement("pgvector-dev", bound, path, IMAGE)
    assert bool(said) == bool(remedy) == wrong

"""The Docker figures: their pure parts, what they say without an engine, and one small real run of each kind."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import docker
import numpy as np
import psycopg
import pytest

from bench import docker_bench, docker_stack, hnsw, vectors
from bench.__main__ import main
from bench.docker_bench import Engine
from bench.figures import Goal, NotMeasured, Samples, differences, figure, unmeasured
from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.config.environment import from_config
from tests.lacking import lacking

ROWS = 400


def quiet(_name: str, _value: float | str) -> None:
    """No progress."""


def test_the_floor_is_taken_off_turn_by_turn_and_a_missing_one_is_no_floor_of_nothing() -> None:
    assert differences(Samples((9.0, 7.0)), Samples((4.0, 3.0))) == Samples((5.0, 4.0))
    assert differences(Samples((9.0,)), Samples(reason="no plugin")) == Samples(reason="no plugin")


def test_what_the_machine_lacks_is_no_failure_of_ours() -> None:
    found = unmeasured("up of dev", "docker run", Goal(1.5), "no Docker Engine answers")
    assert (found.verdict, found.ours, found.note) == ("not measured", None, "no Docker Engine answers")


def test_without_an_engine_each_figure_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def none() -> Iterator[Engine]:
        raise NotMeasured("no Docker Engine answers: nobody is there")
        yield

    for module in (docker_stack, hnsw):
        monkeypatch.setattr(module, "engine", none)
    monkeypatch.setattr("bench.__main__.RESULTS", Path(os.devnull))
    assert main(["--only", "docker-up", "--only", "docker-preview", "--only", "hnsw"]) == 0
    said = capsys.readouterr().out
    assert said.count("nobody is there") == said.count("not measured") == 4


@pytest.mark.parametrize(("ours", "verdict"), [(0.95, "ok"), (0.935, "ok"), (0.90, "missed")])
def test_a_quick_build_whose_index_finds_less_has_missed_its_goal(ours: float, verdict: str) -> None:
    build = figure("build", hnsw.PEER, Samples((1.0,)), Samples((4.0,)), hnsw.BUILD_GOAL, note="seconds")
    found = hnsw.judged(build, ours, 0.95)
    assert found.verdict == verdict
    assert f"ours {ours:.3f}, {hnsw.PEER} 0.950" in found.note


def test_recall_is_the_mean_share_of_the_exact_neighbours() -> None:
    assert hnsw.recall([[1, 2, 3, 4], [5, 6, 9, 9]], [[4, 3, 2, 1], [5, 6, 7, 8]]) == 0.75


def test_the_vectors_are_the_same_every_time_of_unit_length_and_clustered() -> None:
    found, again = vectors.draw(ROWS, 48, 20), vectors.draw(ROWS, 48, 20)
    assert np.array_equal(found.rows, again.rows)
    assert np.array_equal(found.queries, again.queries)
    assert np.allclose(np.linalg.norm(found.rows, axis=1), 1, atol=1e-5)
    distances = 1 - found.queries @ found.rows.T
    assert np.median(distances.min(axis=1)) < np.median(distances) / 2


def test_the_plain_program_has_devs_limits_and_the_images_own_layout() -> None:
    where = Engine(Mock(spec=docker.DockerClient), "pgvector/pgvector:0.8.6-pg17-trixie", stand_in=True)
    found, dev = docker_stack.shape(where, "n", 1), from_config("dev", {})
    assert (found.memory_mb, found.cpus, found.shm_mb) == (dev.memory_mb, "1.0", dev.tuned.shm_mb)
    assert found.data == f"{VOLUME}/data"
    assert f"shared_buffers={dev.tuned.settings['shared_buffers']}" in found.command


@pytest.fixture
def where() -> Iterator[Engine]:
    """The engine of this machine; the bench leaves nothing on it."""
    try:
        with docker_bench.engine() as found:
            yield found
            assert left(found.client) == []
    except NotMeasured as error:
        lacking(str(error))


def left(client: docker.DockerClient) -> list[str]:
    """What this process's bench made and didn't remove."""
    mine = {"name": f"{docker_bench.PREFIX}-{os.getpid()}-"}
    containers = client.containers.list(all=True, filters=mine, ignore_removed=True)
    found = [*containers, *client.volumes.list(filters=mine), *client.networks.list(filters=mine)]
    return [str(each.name) for each in found]


@pytest.mark.docker
def test_a_small_index_is_built_and_asked_on_both_containers(where: Engine) -> None:
    drawn = vectors.draw(ROWS, hnsw.DIMENSIONS, 10)
    build, search = hnsw.compare(where, drawn, 1, quiet)
    for found in (build, search):
        assert found.verdict in ("ok", "missed"), found.note
    assert "(224 MB, enough)" in build.note
    assert "(64 MB, enough)" in build.note
    recalls = re.findall(r"(?:ours|settings) (\d\.\d{3})\b", build.note)
    assert len(recalls) == 2
    assert min(map(float, recalls)) > 0.9  # levels are drawn at random: not always 1


@pytest.mark.docker
def test_a_failure_leaves_nothing_on_the_engine(where: Engine) -> None:
    def fail() -> None:
        with hnsw.stock(where) as side:
            assert len(left(where.client)) == 3
            side.load(b"no rows")

    with pytest.raises(psycopg.DataError):
        fail()
    assert left(where.client) == []


@pytest.mark.docker
@pytest.mark.engine
@pytest.mark.slow
def test_dev_and_the_plain_program_come_up_and_their_previews_change_nothing(where: Engine) -> None:
    with docker_stack.setup() as made:
        assert docker_stack.by_hand(made) > 0
        found = docker_stack.preview(made, 1, quiet)
    assert found.verdict in ("ok", "missed"), found.note
    assert left(where.client) == []

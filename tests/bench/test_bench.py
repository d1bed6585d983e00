"""The bench's own arithmetic and what it writes; nothing is timed here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bench import generate
from bench.checkout import with_keys
from bench.contenders import cause
from bench.figures import Goal, NotMeasured, Samples, figure, interleave, line
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS
from pgvector_stacks.migrations.scripts import script_files


@pytest.mark.parametrize(
    ("goal", "ratio", "met"),
    [
        (Goal(1.2), 1.2, True),
        (Goal(1.2), 1.21, False),
        (Goal(1.0, strict=True), 1.0, False),
        (Goal(1.0, strict=True), 0.99, True),
        (Goal(None), 99.0, True),
    ],
)
def test_a_goal_says_whether_a_ratio_is_good(goal: Goal, ratio: float, met: bool) -> None:
    assert goal.met(ratio) is met


@pytest.mark.parametrize(
    ("ours", "peer", "goal", "verdict", "ratio"),
    [
        (Samples((3.0, 1.0, 2.0)), Samples((4.0, 4.0, 1.0)), Goal(1.2), "ok", 0.5),
        (Samples((8.0,)), Samples((4.0,)), Goal(1.2), "missed", 2.0),
        (Samples((8.0,)), Samples(reason="no go"), Goal(1.0), "not measured", None),
        (Samples((8.0,)), Samples(reason="out of locks"), Goal(None), "ok", None),
        (Samples(reason="exit 1"), Samples((4.0,)), Goal(1.2), "failed", None),
        (Samples(reason="exit 1"), Samples((4.0,)), Goal(None), "failed", None),
    ],
)
def test_the_medians_are_compared_and_a_missing_side_is_no_crash(
    ours: Samples, peer: Samples, goal: Goal, verdict: str, ratio: float | None
) -> None:
    found = figure("some scripts", "psql", ours, peer, goal)
    assert (found.verdict, found.ratio) == (verdict, ratio)
    for reason in (ours.reason, peer.reason):
        assert reason in line(found)
    assert verdict in line(found)


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        ("", "one\ntwo\n\nthree\nfour\nfive", "two / three / four / five"),
        ("psql: fine", "psql:a.sql:3: ERROR: no", "psql:a.sql:3: ERROR: no / psql: fine"),
        ("Updating\n  error: the port is taken\n    stop it\nResources:", "pulumi 3", 
         "error: the port is taken / stop it / Resources:"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_a_failure_is_told_by_its_first_error(stdout: str, stderr: str, said: str) -> None:
    assert cause(stdout, stderr) == said


def test_each_round_begins_with_another_contender_and_a_missing_one_is_asked_once() -> None:
    order: list[str] = []

    def contender(name: str) -> Callable[[], float]:
        def run() -> float:
            order.append(name)
            if name == "goose":
                raise NotMeasured("no go")
            return 1.0

        return run

    found = interleave({name: contender(name) for name in ("ours", "psql", "goose")}, 3, lambda *_: None)
    assert order == ["ours", "psql", "goose", "psql", "ours", "ours", "psql"]
    assert found == {
        "ours": Samples((1.0, 1.0, 1.0)),
        "psql": Samples((1.0, 1.0, 1.0)),
        "goose": Samples((), "no go"),
    }


def test_the_same_scripts_are_generated_every_time_and_ours_accepts_them(tmp_path: Path) -> None:
    first, again = (generate.write_all(tmp_path / name, 25) for name in ("first", "again"))
    loaded = script_files.load(first.plain, ["*.sql"])
    assert loaded == script_files.load(again.plain, ["*.sql"])
    assert [script.name for script in loaded] == [generate.file_name(number) for number in range(1, 26)]
    assert len({script.normalised for script in loaded}) == 25
    assert all(len(script.statements) >= 6 for script in loaded)
    assert first.together.read_text() == "".join(script.text for script in loaded)
    for file in first.goose.iterdir():
        assert file.read_text() == generate.GOOSE_UP + (first.plain / file.name).read_text()


def test_the_copys_stack_lists_the_generated_scripts_after_the_default_ones() -> None:
    kept = "encryptionsalt: v1:a\nconfig:\n  pgvector:engine: embedded\n"
    made = yaml.safe_load(with_keys(kept, {"scripts": [*DEFAULT_SCRIPTS, "gen/*.sql"]}))
    assert made["encryptionsalt"] == "v1:a"
    assert made["config"] == {"pgvector:engine": "embedded", "pgvector:scripts": [*DEFAULT_SCRIPTS, "gen/*.sql"]}

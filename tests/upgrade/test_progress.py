"""How far a long step is: what is said, how often, and that it ends with the step and fails nothing."""

from __future__ import annotations

import re
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.toolbox import embedded_toolbox
from pgvector_stacks.upgrade import progress
from pgvector_stacks.upgrade.progress import PACE, Pace, format_duration, progress_line

OFTEN = Pace(first_s=0.02, every_s=0.05)
LINE = re.compile(r"[a-z ]+: ((nothing|\d+|\d+\.\d)( [MG]B)? of (\d+|\d+\.\d) [MG]B(, about \d+(\.\d)? (s|min|h) left)?"
                  r"|(nothing|(\d+|\d+\.\d) [MG]B) so far)")  # fmt: skip
amounts = st.integers(0, 10**15)


@pytest.mark.parametrize(
    ("done", "total", "elapsed_s", "said"),
    [
        (1_200_000_000, 4_100_000_000, 17, "1.2 of 4.1 GB, about 41 s left"),
        (800_000_000, 4_100_000_000, 60, "800 MB of 4.1 GB, about 4 min left"),
        (5_000_000, 8_000_000_000_000, 5, "5 MB of 8000.0 GB, about 2222 h left"),
        (0, 4_100_000_000, 5, "nothing of 4.1 GB"),
        (4_200_000_000, 4_100_000_000, 60, "4.2 GB so far"),  # it was an estimate
        (812_000_000, None, 60, "812 MB so far"),
        (0, None, 5, "nothing so far"),
        (0, 0, 5, "nothing so far"),
    ],
)
def test_bytes_of_about_how_many_and_the_time_left_at_the_present_rate(
    done: int, total: int | None, elapsed_s: float, said: str
) -> None:
    assert progress_line("make the standby", done, total, elapsed_s) == f"make the standby: {said}"


@given(amounts, st.none() | amounts, st.floats(0, 10**6))
def test_a_line_can_be_read_whatever_is_measured(done: int, total: int | None, elapsed_s: float) -> None:
    said = progress_line("transfer", done, total, elapsed_s)
    assert LINE.fullmatch(said), said
    assert (" left" in said) == (total is not None and 0 < done < total)


@given(st.integers(1000, 10**12), st.integers(1, 10**5), st.floats(1, 10**5))
def test_at_a_steady_rate_the_time_left_is_what_will_be_needed(rate: int, left: int, elapsed_s: float) -> None:
    done = round(rate * elapsed_s)
    said = progress_line("x", done, done + rate * left, elapsed_s)
    told = re.search(r"about ([\d.]+) (s|min|h) left", said)
    assert told is not None
    assert float(told[1]) * {"s": 1, "min": 60, "h": 3600}[told[2]] == pytest.approx(left, rel=0.25, abs=0.6)


@given(st.floats(0, 10**7))
def test_a_longer_time_never_reads_as_a_shorter_one(seconds: float) -> None:
    unit = {"s": 1, "min": 60, "h": 3600}

    def read(said: str) -> float:
        number, name = said.split(" ")
        return float(number) * unit[name]

    assert read(format_duration(seconds)) <= read(format_duration(seconds * 1.1 + 30))


@given(st.builds(Pace, st.floats(0.1, 60), st.floats(1, 60)), st.floats(0, 10**6))
def test_lines_are_seldom_enough_for_a_log(pace: Pace, length_s: float) -> None:
    at: list[float] = []
    while (due := pace.next_s(at[-1] if at else None)) <= length_s:
        at.append(due)
    assert all(at_s >= pace.first_s for at_s in at)
    assert all(later - earlier >= pace.every_s - 1e-6 for earlier, later in pairwise(at))
    assert len(at) <= 160
    assert bool(at) == (length_s >= pace.first_s)


def test_a_short_step_says_nothing_and_hours_say_little() -> None:
    assert PACE.next_s(None) == 5
    at = [PACE.next_s(None)]
    while at[-1] < 12 * 3600:
        at.append(PACE.next_s(at[-1]))
    assert at[:3] == [5, 15, 25]
    assert len(at) < 80


def telling() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("progress of ")]


def grow(folder: Path, until: list[str], lines: int) -> None:
    """Until so many lines were told."""
    folder.mkdir()
    number, deadline = 0, time.monotonic() + 60
    while len(until) < lines and time.monotonic() < deadline:
        (folder / str(number)).write_bytes(b"x" * 50_000)
        number += 1
        time.sleep(0.01)


def test_a_growing_directory_is_told_of_until_the_step_ends(tmp_path: Path) -> None:
    said: list[str] = []
    grows = tmp_path / "it's growing"
    with embedded_toolbox.open_toolbox(tmp_path) as toolbox:
        with progress.reporting_progress(
            "copy", progress.measure_directory(toolbox, str(grows), 10**9), said.append, OFTEN
        ):
            assert telling() == ["progress of copy"]
            grow(grows, said, 5)
        assert telling() == []
    assert len(said) >= 5
    assert all(LINE.fullmatch(line) for line in said), said
    assert re.fullmatch(r"copy: \d+ MB of 1\.0 GB, about .* left", said[-1])


def test_what_gets_less_again_is_not_told_of() -> None:
    """It is copied, and cleared away now."""
    said: list[str] = []
    amounts = [0, 10**6, 5 * 10**6, 2 * 10**6, 10**6]

    def look() -> tuple[int, int]:
        return amounts.pop(0), 10**7

    with progress.reporting_progress("copy", look, said.append, OFTEN):
        while amounts:
            time.sleep(0.01)
    assert [line.split(",")[0] for line in said] == ["copy: nothing of 10 MB", "copy: 1 of 10 MB", "copy: 5 of 10 MB"]


@pytest.mark.parametrize("broken", ["look", "report"])
def test_nothing_that_tells_fails_the_step_and_a_step_that_fails_ends_it(broken: str) -> None:
    asked: list[str] = []

    def fail(what: str) -> None:
        asked.append(what)
        if what == broken:
            raise BrokenPipeError

    def look() -> tuple[int, int]:
        fail("look")
        return 1, 2

    def step() -> None:
        while asked.count(broken) < 3:
            time.sleep(0.01)
        raise ServerError("the disk is full")

    told = progress.reporting_progress("copy", look, lambda _: fail("report"), OFTEN)
    with pytest.raises(ServerError, match="the disk is full"), told:
        step()
    assert telling() == []

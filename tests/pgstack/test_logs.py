"""A log is cut into the same lines, in whatever pieces it arrives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.engines.log_lines import split_lines

LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)


@given(st.lists(LINE), st.booleans(), st.lists(st.integers(0, 400)))
def test_lines_are_the_same_in_whatever_pieces_they_arrive(lines: list[str], ended: bool, cuts: list[int]) -> None:
    log = "\n".join(lines).encode() + b"\n" * (ended and bool(lines))
    marks = [0, *sorted(cuts), len(log) + 400]
    pieces = [log[start:end] for start, end in pairwise(marks)]
    assert list(split_lines(pieces)) == lines


def test_a_line_is_shown_as_soon_as_it_is_whole() -> None:
    taken = []

    def arriving() -> Iterator[bytes]:
        for piece in (b"one\ntw", b"o\n"):
            taken.append(piece)
            yield piece

    assert next(split_lines(arriving())) == "one"
    assert taken == [b"one\ntw"]

"""The table of promises is that of the tests' markers, and each promise is one sentence of its own."""

from __future__ import annotations

import pytest

from tests.promises import TABLE, found, marked, table


def test_the_table_is_that_of_the_tests() -> None:
    assert TABLE.read_text() == table(found()), "docs/promises.md is out of date: make promises"


def test_each_promise_is_one_sentence_and_guarded_once() -> None:
    sentences = [each.sentence for each in found()]
    assert len(sentences) > 60
    assert len(set(sentences)) == len(sentences)
    for sentence in sentences:
        assert sentence == sentence.strip().rstrip("."), sentence
        assert "\n" not in sentence, sentence
        assert len(sentence.split()) > 3, sentence


def test_a_marker_without_a_sentence_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tests/test_a\.py::test_b: a promise is one sentence"):
        list(marked("@pytest.mark.promise(SENTENCE)\ndef test_b(): ...", "tests/test_a.py"))

"""What the demo promises: real embeddings, a corpus loaded whole, known queries that find what they should."""

from __future__ import annotations

import math
import shutil
import socket
import sys
import textwrap
from pathlib import Path

import pytest

from examples.search import demo, embedding, passages, store
from examples.search.__main__ import main
from examples.search.embedding import Floats, SentenceEncoder
from examples.search.passages import Passage
from pgvector_stacks.connections import roles
from tests.conftest import FreshDatabase

# Real text, little enough for every test run: these modules of the standard library and the packages' beginnings.
MODULES = (
    "argparse", "bz2", "calendar", "csv", "getopt", "gzip", "heapq", "lzma", "optparse", "random", "sched", "shutil",
    "smtplib", "socketserver", "statistics", "subprocess", "tempfile", "zipfile", "zipapp",
)  # fmt: skip

# query → modules, one of which must have the best hit
KNOWN = {
    "compress data with gzip": {"gzip"},
    "parse command line options": {"argparse", "optparse", "getopt"},
    "send an email message": {"smtplib"},
    "how many days are in a month": {"calendar"},
    "run another program and capture what it prints": {"subprocess"},
    "read a table of comma separated values": {"csv"},
    "make a temporary directory that is removed afterwards": {"tempfile"},
    "arithmetic mean of a list of numbers": {"statistics"},
    "delete a directory and everything in it": {"shutil"},
    "pick a random element": {"random"},
}

# the first values of the vector of "The quick brown fox jumps over the lazy dog."
FOX = [0.0439336, 0.0589344, 0.0481784, 0.0775481, 0.0267444, -0.0376296, -0.0026051, -0.0599431]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder(embedding.model_directory())


@pytest.fixture(scope="module")
def corpus() -> demo.Corpus:
    """A few hundred real passages; every tenth method is held out."""
    root = passages.standard_library()
    found = [
        passage
        for module in MODULES
        for source in (root / f"{module}.py", root / module / "__init__.py")
        if source.is_file()
        for passage in passages.of_module(module, source.read_bytes())
    ]
    loaded, held_out = passages.hold_out(found, 20)
    return demo.Corpus(loaded, held_out, passages.corpus_hash(loaded, embedding.MODEL))


@pytest.fixture(scope="module")
def vectors(encoder: SentenceEncoder, corpus: demo.Corpus) -> Floats:
    return encoder.encode([passage.embedded_text for passage in corpus.passages])


# The model


def test_a_known_sentence_has_the_vector_that_sentence_transformers_gives_it(encoder: SentenceEncoder) -> None:
    """Values computed once with sentence-transformers 6.2.0 and torch 2.15.0."""
    vector = encoder.encode(["The quick brown fox jumps over the lazy dog."])[0]
    assert vector.shape == (384,)
    assert vector[:8].tolist() == pytest.approx(FOX, abs=2e-6)


def test_every_embedding_has_length_one(vectors: Floats) -> None:
    lengths = [math.sqrt(math.fsum(float(value) ** 2 for value in vector)) for vector in vectors[:50]]
    assert lengths == pytest.approx([1.0] * 50, abs=1e-5)


def test_an_embedding_depends_neither_on_the_order_nor_on_the_company(encoder: SentenceEncoder) -> None:
    texts = ["short", "", "a somewhat longer text, in the middle", "naïve café 日本語", "tests"]
    together = encoder.encode(texts)
    for text, vector in zip(texts, together, strict=True):
        assert vector.tolist() == pytest.approx(encoder.encode([text])[0].tolist(), abs=2e-6)
    assert encoder.encode([]).shape == (0, 384)


def test_what_is_longer_than_the_model_reads_is_cut(encoder: SentenceEncoder) -> None:
    long, cut, shorter = encoder.encode(["word " * 600, "word " * 254, "word " * 100])
    assert float(long @ cut) == pytest.approx(1.0, abs=1e-5)
    assert float(long @ shorter) < 0.999


def test_erf_is_exact_to_a_millionth() -> None:
    import numpy as np  # here: examples.search has to be imported first, it sets the threads

    points = np.linspace(-6, 6, 5001, dtype=np.float32)
    assert embedding.erf(points).tolist() == pytest.approx([math.erf(float(x)) for x in points], abs=1e-6)


def test_similar_sentences_are_nearer_than_dissimilar_ones(encoder: SentenceEncoder) -> None:
    eats, food, sky = encoder.encode(["A man eats something.", "A man is eating food.", "The sky is blue."])
    assert float(eats @ food) > 0.8
    assert abs(float(eats @ sky)) < 0.2


# The passages


def test_the_same_sources_give_the_same_passages(tmp_path: Path) -> None:
    for module in ("gzip", "calendar", "csv"):
        shutil.copy(passages.standard_library() / f"{module}.py", tmp_path)
    first = passages.collect(tmp_path)
    assert first == passages.collect(tmp_path)
    assert passages.corpus_hash(first) == passages.corpus_hash(passages.collect(tmp_path))
    assert passages.corpus_hash(first) != passages.corpus_hash(first[:-1])
    assert passages.corpus_hash(first, "a model") != passages.corpus_hash(first, "another")
    assert first[0].title == "calendar"


def test_the_standard_library_has_a_few_thousand_passages() -> None:
    found = passages.collect(passages.standard_library())
    assert 2000 <= len(found) <= 4500
    assert all(passages.SHORTEST <= len(passage.content) <= passages.LONGEST for passage in found)
    assert len({passage.content for passage in found}) == len(found)
    loaded, held_out = passages.hold_out(found, 50)
    assert len(held_out) == 50
    assert not set(loaded) & set(held_out)
    assert {"gzip", "argparse", "smtplib"} <= {passage.title for passage in loaded}


def test_only_what_is_public_and_says_something_becomes_a_passage(tmp_path: Path) -> None:
    source = '''
        """What the module is for, said in more than forty characters."""
        def short(): "Too short."
        def _private(): "A private function, documented at a length that would do."
        class Reader:
            """Reads things from somewhere, one at a time and in order.

            {long}
            """
            def read(self):
                """Read one thing and return it, or None when there is none left."""
                def inner(): "Nobody can call this one, however well it is documented."
        try:
            def fallback(): "Defined in a try block, as it is for modules that may be missing."
        except ImportError:
            pass
        '''
    text = textwrap.dedent(source).format(long="And so on. " * 60)
    found = list(passages.of_module("things", text.encode()))
    assert [p.title for p in found] == ["things", "things.Reader", "things.Reader.read", "things.fallback"]
    assert found[1].content == "Reads things from somewhere, one at a time and in order."
    assert list(passages.of_module("broken", b"def (:")) == []
    assert list(passages.of_module("binary", b"\xff\xfe\0")) == []


# The database


def test_known_queries_find_what_they_should_through_the_index(
    fresh_database: FreshDatabase, encoder: SentenceEncoder, corpus: demo.Corpus, vectors: Floats
) -> None:
    with store.connect(fresh_database.app_url) as connection:
        store.load(connection, corpus.hash, corpus.passages, vectors)
        search = store.Search(connection)
        assert store.INDEX in search.plan(vectors[0], 10)
        found = {text: search.nearest(encoder.encode([text])[0], 3) for text in KNOWN}
    wrong = {
        text: [hit.passage.title for hit in found[text]]
        for text, modules in KNOWN.items()
        if found[text][0].passage.title.split(".")[0] not in modules
    }
    assert wrong == {}
    assert all(hits[0].score >= hits[1].score >= hits[2].score > 0.2 for hits in found.values())


@pytest.mark.promise("The search demo's index finds nearly all that an exact scan finds")
def test_the_index_finds_nearly_all_that_an_exact_scan_finds(
    fresh_database: FreshDatabase, encoder: SentenceEncoder, corpus: demo.Corpus, vectors: Floats
) -> None:
    held_out = encoder.encode([passage.embedded_text for passage in corpus.held_out])
    with store.connect(fresh_database.app_url) as connection:
        store.load(connection, corpus.hash, corpus.passages, vectors)
        search = store.Search(connection)
        assert store.INDEX not in search.plan_exact(held_out[0], 10)
        assert demo.measure(search, held_out).recall >= 0.95
        best = int((vectors @ held_out[0]).argmax())
        (hit,) = search.nearest_exact(held_out[0], 1)
    assert hit.passage == corpus.passages[best]
    assert hit.score == pytest.approx(float(vectors[best] @ held_out[0]), abs=1e-5)


def test_other_tenants_rows_are_neither_touched_nor_found(
    fresh_database: FreshDatabase, corpus: demo.Corpus, vectors: Floats
) -> None:
    few, some = corpus.passages[:50], vectors[:50]
    with store.connect(fresh_database.app_url) as connection:
        store.load(connection, "of another", few, some)
        connection.execute("UPDATE app.tenant SET name = 'another'")
        store.load(connection, corpus.hash, few, some)
        hits = store.Search(connection).nearest(some[0], 50)
        (of_another,) = connection.execute("SELECT count(*) FROM app.tenant WHERE name = 'another'").fetchone() or (0,)
        (rows,) = connection.execute("SELECT count(*) FROM app.embedding").fetchone() or (0,)
    assert sorted(hit.passage.title for hit in hits) == sorted(passage.title for passage in few)
    assert (of_another, rows) == (1, 100)


def test_a_load_that_fails_leaves_the_corpus_that_was_there(
    fresh_database: FreshDatabase, corpus: demo.Corpus, vectors: Floats
) -> None:
    broken = vectors[:20].copy()
    broken[19, 7] = math.nan
    with store.connect(fresh_database.app_url) as connection:
        store.load(connection, "first", corpus.passages[:10], vectors[:10])
        with pytest.raises(Exception, match="NaN"):
            store.load(connection, "second", corpus.passages[:20], broken)
        assert store.is_loaded(connection, "first", 10)
        assert not store.is_loaded(connection, "second", 20)


# The command


def test_a_second_run_finds_the_passages_loaded(
    fresh_database: FreshDatabase,
    corpus: demo.Corpus,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PGVECTOR_APP_URL", fresh_database.app_url)
    monkeypatch.setattr(demo, "collect", lambda: corpus)
    assert main([]) == 0
    first = capsys.readouterr().out
    assert "computing 384-dimensional embeddings" in first
    assert "recall@10 " in first
    assert "hnsw.ef_search 100: " in first
    assert f"using {store.INDEX}" in first
    assert "gzip.compress" in first
    assert main(["local", "--query", "compress data with gzip", "--limit", "2"]) == 0
    second = capsys.readouterr().out
    assert "loaded before" in second
    assert "computing" not in second
    assert second.count("gzip") >= 2
    assert fresh_database.app_password not in first + second


def refused_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://app:geheim@127.0.0.1:{port}/app", ["doesn't answer", "make up STACK=local"]),
        ("postgresql://app:geheim%zz@127.0.0.1:{port}/app", ["PGVECTOR_APP_URL is not a connection URL"]),
    ],
)
def test_a_database_that_is_out_of_reach_is_said_with_the_fix(
    url: str, told: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGVECTOR_APP_URL", url.format(port=refused_port()))
    assert main(["local"]) == 1
    said = capsys.readouterr().err
    assert [words for words in told if words not in said] == []
    assert "geheim" not in said
    assert "Traceback" not in said


def test_a_database_without_its_scripts_is_said_with_the_fix(
    empty_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGVECTOR_APP_URL", empty_database.app_url)
    assert main(["local"]) == 1
    assert "its scripts were never applied\n  apply them:  make up STACK=local" in capsys.readouterr().err


def test_a_role_that_may_not_write_is_said_with_the_fix(
    fresh_database: FreshDatabase,
    corpus: demo.Corpus,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = demo.Corpus(corpus.passages[:3], corpus.held_out[:1], "few")
    monkeypatch.setenv("PGVECTOR_APP_URL", fresh_database.as_role(roles.READONLY).url)
    monkeypatch.setattr(demo, "collect", lambda: few)
    assert main(["local"]) == 1
    assert "use the output appUrl, role app" in capsys.readouterr().err


def test_a_missing_model_is_said_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGVECTOR_APP_URL", "postgresql://nowhere")
    monkeypatch.setattr(embedding, "PACKAGE", "no_such_model")
    assert main(["local"]) == 1
    assert "no-such-model" in (said := capsys.readouterr().err)
    assert "make demo" in said


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (None, "there is no "),
        ("echo 'error: local has no outputs yet' >&2; exit 1", "error: local has no outputs yet\n"),
        ("echo '{}'", "stack local has no output appUrl"),
        ("echo Traceback", "stack local has no output appUrl"),
    ],
)
def test_a_stack_that_is_not_up_is_said_with_the_fix(
    program: str | None,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("PGVECTOR_APP_URL", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    if program is not None:
        (tmp_path / "pgstack").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "pgstack").chmod(0o755)
    assert main(["local"]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "make up STACK=local" in said


@pytest.mark.parametrize("words", [["--limit", "0"], ["--limit", "many"], ["--limit", "101"]])
def test_a_limit_out_of_range_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "allowed are 1 to 100" in capsys.readouterr().err


def test_an_empty_query_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PGVECTOR_APP_URL", "postgresql://nowhere")
    assert main(["--query", "  "]) == 1
    assert "--query is empty" in capsys.readouterr().err


def test_a_passage_says_what_it_is_about() -> None:
    passage = Passage("gzip.compress", "Compress data in one shot.\nMore.")
    assert passage.embedded_text == "gzip.compress: Compress data in one shot.\nMore."
    assert passage.first_line == "Compress data in one shot."

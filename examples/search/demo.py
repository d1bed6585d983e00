"""The steps of the demo: load the corpus where it isn't there yet, answer queries, measure the index.

Everything that can go wrong on the way (no model, no server, no schema) ends in DemoFailed with the fix.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection, errors

from examples.search import passages, store
from examples.search.embedding import DIMENSIONS, MODEL, Floats, ModelMissing, SentenceEncoder, model_directory
from examples.search.passages import Passage

QUERIES = (
    "compress data with gzip",
    "parse command line options",
    "send an email message",
    "how many days are in a month",
    "run another program and capture what it prints",
)
HELD_OUT = 50
RECALL_AT = 10
FEWEST = 1000  # a Python without its sources (zipped, stripped) has none or next to none
FIRST_LINE_WIDTH = 80


class DemoFailed(Exception):
    """What went wrong and what to do, for people; no secret in it."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is loaded (`passages`, named by `hash`) and what is kept back to measure with (`held_out`)."""

    passages: list[Passage]
    held_out: list[Passage]
    hash: str


@dataclass(frozen=True, slots=True)
class Quality:
    """Recall of the index against the exact scan, 0 to 1: the mean and the worst query's; median milliseconds."""

    recall: float
    worst: float
    index_ms: float
    exact_ms: float


def run(url: str, stack: str, *, query: str | None, limit: int) -> None:
    """Print everything. Raises DemoFailed."""
    if query is not None and not query.strip():
        raise DemoFailed('--query is empty\n  say what to look for:  --query "compress data with gzip"')
    try:
        encoder = SentenceEncoder(model_directory())
    except ModelMissing as error:
        raise DemoFailed(f"{error}\n  install it and run the demo:  make demo") from None
    try:
        with store.connect(url) as connection:
            where = connection.info
            print(f"{stack}: {where.host}:{where.port}, database {where.dbname}, as {where.user}")
            corpus = collect()
            ensure_loaded(connection, encoder, corpus)
            search = store.Search(connection)
            for text in (query,) if query is not None else QUERIES:
                answer(search, encoder, text, limit)
            if query is None:
                measure_and_print(search, encoder, corpus.held_out)
    except (psycopg.Error, store.VectorMissing) as error:
        raise DemoFailed(explain(error, stack)) from None


def collect() -> Corpus:
    """The corpus of this Python. Raises DemoFailed where its sources aren't there."""
    root = passages.standard_library()
    found = passages.collect(root)
    if len(found) < FEWEST:
        raise DemoFailed(
            f"{root} has the sources of {len(found)} documented objects, too few to search\n"
            "  use a Python that comes with its sources:  make PYTHON=/path/to/python demo"
        )
    loaded, held_out = passages.hold_out(found, HELD_OUT)
    return Corpus(loaded, held_out, passages.corpus_hash(loaded, MODEL))


def ensure_loaded(connection: Connection[Any], encoder: SentenceEncoder, corpus: Corpus) -> None:
    """Compute and load what isn't there yet."""
    count = len(corpus.passages)
    what = f"{count} passages from the documentation of Python {platform.python_version()}"
    if store.is_loaded(connection, corpus.hash, count):
        print(f"{what}: loaded before")
        return
    print(f"{what}; computing {DIMENSIONS}-dimensional embeddings with {MODEL} (once, about a minute)")
    start = time.perf_counter()
    vectors = encoder.encode([passage.embedded_text for passage in corpus.passages], Progress(count))
    print(f"  embedded  {count / (time.perf_counter() - start):8.0f} passages/s")
    loaded = store.load(connection, corpus.hash, corpus.passages, vectors)
    print(f"  COPY      {loaded.rows * 2 / loaded.text_s:8.0f} rows/s of documents and chunks")
    print(f"  COPY      {loaded.rows / loaded.vectors_s:8.0f} rows/s of vectors, their HNSW index included")


class Progress:
    """Hears how many are done and shows it, on a terminal alone, on a line that moves."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.shown = sys.stderr.isatty()

    def __call__(self, done: int) -> None:
        if self.shown:
            end = "\r" if done < self.count else "\r\033[K"
            print(f"  {done} of {self.count}", end=end, file=sys.stderr, flush=True)


def answer(search: store.Search, encoder: SentenceEncoder, text: str, limit: int) -> None:
    """Print the hits of one query and how long the model and the database took."""
    start = time.perf_counter()
    vector = encoder.encode([text])[0]
    embedded = time.perf_counter()
    hits = search.nearest(vector, limit)
    found = time.perf_counter()
    print(f'\n"{text}"  (embedding {(embedded - start) * 1e3:.0f} ms, search {(found - embedded) * 1e3:.1f} ms)')
    width = max((len(hit.passage.title) for hit in hits), default=0)
    for hit in hits:
        line = hit.passage.first_line
        shown = line if len(line) <= FIRST_LINE_WIDTH else f"{line[: FIRST_LINE_WIDTH - 1]}…"
        print(f"  {hit.score:.3f}  {hit.passage.title:{width}}  {shown}")


def measure_and_print(search: store.Search, encoder: SentenceEncoder, held_out: list[Passage]) -> None:
    """Print whether the index answers, how much of the exact answer it finds, and how fast. Raises DemoFailed."""
    vectors = encoder.encode([passage.embedded_text for passage in held_out])
    plan = search.plan(vectors[0], RECALL_AT)
    if store.INDEX not in plan:
        raise DemoFailed(f"the HNSW index {store.INDEX} doesn't answer this query; the plan:\n{plan}")
    if store.INDEX in (exact := search.plan_exact(vectors[0], RECALL_AT)):
        raise DemoFailed(f"the exact scan would use the index too and prove nothing; the plan:\n{exact}")
    step = next(line.strip(" ->") for line in plan.splitlines() if store.INDEX in line)
    print(f"\nEXPLAIN: {step}")
    print(f"recall@{RECALL_AT} against an exact scan, over {len(held_out)} passages that are not loaded:")
    for candidates in (store.EF_SEARCH_DEFAULT, store.EF_SEARCH):
        search.look_at(candidates)
        quality = measure(search, vectors)
        print(
            f"  hnsw.ef_search {candidates:3}: {quality.recall:.3f}, worst query {quality.worst:.1f};"
            f" median {quality.index_ms:.1f} ms, exact {quality.exact_ms:.1f} ms"
        )


def measure(search: store.Search, vectors: Floats) -> Quality:
    """Ask for each of `vectors`, [n, 384], with the index and without."""
    shares, index_ms, exact_ms = [], [], []
    for vector in vectors:
        start = time.perf_counter()
        approximate = search.nearest(vector, RECALL_AT)
        between = time.perf_counter()
        exact = search.nearest_exact(vector, RECALL_AT)
        index_ms.append((between - start) * 1e3)
        exact_ms.append((time.perf_counter() - between) * 1e3)
        # by distance and not by id: of two passages equally far, either is right
        farthest = exact[-1].score - 1e-6
        shares.append(sum(hit.score >= farthest for hit in approximate) / len(exact))
    return Quality(statistics.mean(shares), min(shares), statistics.median(index_ms), statistics.median(exact_ms))


def explain(error: Exception, stack: str) -> str:
    """The cause in words and the fix. The server's own words where they help; never the URL."""
    up = f"make up STACK={stack}"
    match error:
        case store.VectorMissing():
            return f"the database has no type vector: its scripts were never applied\n  apply them:  {up}"
        case errors.UndefinedTable() | errors.InvalidSchemaName() | errors.UndefinedColumn():
            return (
                f"the schema is not the one the demo is written for ({first_line(error)})\n  apply the scripts:  {up}"
            )
        case errors.InsufficientPrivilege():
            return f"the role may not do this ({first_line(error)})\n  use the output appUrl, role app"
        case psycopg.OperationalError():
            return f"the database doesn't answer: {last_line(error)}\n  start it:  {up}"
        case psycopg.ProgrammingError() if error.sqlstate is None:
            return "PGVECTOR_APP_URL is not a connection URL\n  its form:  postgresql://app:PASSWORD@HOST:PORT/DATABASE"
    return f"the database refused: {first_line(error)}"


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2].strip()

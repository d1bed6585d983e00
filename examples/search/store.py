"""Loads passages and their vectors through COPY, and asks for the nearest ones. All SQL runs as role `app`.

A corpus is loaded whole or not at all, in one transaction, and belongs to a tenant of its own: the rows of others are
never touched and never found.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, LiteralString

import numpy as np
import psycopg
from psycopg import Connection
from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format
from psycopg.types import TypeInfo
from psycopg.types.json import Jsonb

from examples.search.embedding import DIMENSIONS, MODEL, Floats
from examples.search.passages import Passage

TENANT = "demo: documentation of the Python standard library"
INDEX = "embedding_hnsw"
CONNECT_TIMEOUT_S = 10
# How many candidates the index keeps while it searches. pgvector's default is 40, and there a question can miss all of
# its neighbours: passages of one module lie close together and far from others, and the search ends on another island.
EF_SEARCH_DEFAULT, EF_SEARCH = 40, 100
MOST_OF_A_PLAN_LINE = 120  # characters: some lines hold a whole vector


class VectorMissing(Exception):
    """The database has no type `vector`."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer. `score` is the cosine similarity: 1 says the same, 0 is unrelated."""

    chunk_id: int
    passage: Passage
    score: float


CERTIFICATE_VARIABLE = "PGVECTOR_CERTIFICATE_FILE"  # a path: the output `certificate`


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows of each of the three COPYs, and seconds: for documents and chunks, and for vectors with their index."""

    rows: int
    text_s: float
    vectors_s: float


@cache
def query(name: str) -> LiteralString:
    """The text of queries/<name>.sql, which is ours and therefore no injection."""
    return (Path(__file__).parent / "queries" / f"{name}.sql").read_text()


def demands(url: str) -> dict[str, Any]:
    """What the server must prove before it gets anything a password could be learnt from; the URL's own words hold.

    Not in the URL: a driver other than libpq takes what it doesn't know for a setting of the server, and fails.
    Raises psycopg.ProgrammingError for what is no URL.
    """
    given = conninfo_to_dict(url)
    found: dict[str, Any] = {"require_auth": "scram-sha-256"}
    if given.get("sslmode") in ("require", "verify-ca", "verify-full"):
        found["channel_binding"] = "require"  # that it knows the password, on this very channel
        if certificate := os.environ.get(CERTIFICATE_VARIABLE):
            found |= {"sslmode": "verify-full", "sslrootcert": certificate}
    return {key: value for key, value in found.items() if key == "sslmode" or key not in given}


def connect(url: str) -> Connection[Any]:
    """Connect and make numpy arrays known as vectors. Raises psycopg.Error or VectorMissing."""
    connection = psycopg.connect(
        url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="examples.search", **demands(url)
    )
    try:
        info = TypeInfo.fetch(connection, "vector")
        if info is None:
            raise VectorMissing
        register(connection, info)
    except BaseException:
        connection.close()
        raise
    return connection


def register(context: AdaptContext, info: TypeInfo) -> None:
    """Send float32 arrays in pgvector's binary form, big-endian: 16 bits dimensions, 16 bits zero, then the values."""

    class VectorDumper(Dumper):
        format = Format.BINARY
        oid = info.oid

        def dump(self, obj: Floats) -> bytes:
            return struct.pack(">HH", obj.shape[0], 0) + obj.astype(">f4").tobytes()

    info.register(context)
    context.adapters.register_dumper(np.ndarray, VectorDumper)


def is_loaded(connection: Connection[Any], corpus: str, count: int) -> bool:
    """Whether exactly this corpus (its hash and how many passages) is there, with its vectors."""
    values = {"tenant": TENANT, "model": MODEL, "corpus": corpus}
    row = connection.execute(query("loaded"), values).fetchone()
    return row is not None and row[0] == count


def load(connection: Connection[Any], corpus: str, passages: Sequence[Passage], vectors: Floats) -> Loaded:
    """Put the corpus in place of whatever the tenant had. `vectors`: [len(passages), 384], in the passages' order.

    One transaction: readers see the old corpus until the new one is complete. Raises psycopg.Error.
    """
    assert vectors.shape == (len(passages), DIMENSIONS)
    metadata = Jsonb({"corpus": corpus})
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO app.tenant (name) VALUES (%s) ON CONFLICT DO NOTHING", [TENANT])
        (tenant,) = cursor.execute(query("tenant_lock"), {"tenant": TENANT}).fetchone() or (None,)
        cursor.execute("DELETE FROM app.document WHERE tenant_id = %s", [tenant])

        start = time.perf_counter()
        with cursor.copy("COPY app.document (tenant_id, title, metadata) FROM STDIN") as copy:
            for passage in passages:
                copy.write_row((tenant, passage.title, metadata))
        cursor.execute("SELECT document_id FROM app.document WHERE tenant_id = %s ORDER BY document_id", [tenant])
        documents = [row[0] for row in cursor.fetchall()]
        with cursor.copy("COPY app.chunk (document_id, position, content) FROM STDIN") as copy:
            for document, passage in zip(documents, passages, strict=True):
                copy.write_row((document, 0, passage.content))
        chunks = [row[0] for row in cursor.execute(query("chunk_ids"), {"tenant": tenant}).fetchall()]
        text_s = time.perf_counter() - start

        start = time.perf_counter()
        with cursor.copy("COPY app.embedding (chunk_id, model, embedding) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int8", "text", "vector"])
            for chunk, vector in zip(chunks, vectors, strict=True):
                copy.write_row((chunk, MODEL, vector))
        return Loaded(len(passages), text_s, time.perf_counter() - start)


def tenant_id(connection: Connection[Any]) -> int:
    """The tenant whose passages are searched. It is there once a corpus is loaded."""
    (found,) = connection.execute("SELECT tenant_id FROM app.tenant WHERE name = %s", [TENANT]).fetchone() or (0,)
    return int(found)


class Search:
    """Asks for the passages nearest to a vector: through the HNSW index, or exactly, for comparison."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection
        self.tenant = tenant_id(connection)
        # The tenant is filtered behind the index: where other tenants' rows come first, read on until LIMIT is met.
        connection.execute("SET hnsw.iterative_scan = strict_order")
        self.look_at(EF_SEARCH)

    def look_at(self, candidates: int) -> None:
        """Set hnsw.ef_search, 1 to 1000: more is slower and finds more."""
        self.connection.execute("SELECT set_config('hnsw.ef_search', %s, false)", [str(candidates)])

    def nearest(self, vector: Floats, limit: int) -> list[Hit]:
        """At most `limit` hits, best first."""
        return self._hits("nearest", vector, limit)

    def nearest_exact(self, vector: Floats, limit: int) -> list[Hit]:
        """The same by comparing every row: what the index's answer is measured against."""
        with self._without_index():
            return self._hits("nearest_exact", vector, limit)

    def plan(self, vector: Floats, limit: int) -> str:
        """How the server answers `nearest`, as EXPLAIN says it, one line a step."""
        return self._plan("nearest", vector, limit)

    def plan_exact(self, vector: Floats, limit: int) -> str:
        """How the server answers `nearest_exact`."""
        with self._without_index():
            return self._plan("nearest_exact", vector, limit)

    def _hits(self, name: str, vector: Floats, limit: int) -> list[Hit]:
        rows = self.connection.execute(query(name), self._values(vector, limit), prepare=False).fetchall()
        return [Hit(chunk, Passage(title, content), 1 - distance) for chunk, title, content, distance in rows]

    def _plan(self, name: str, vector: Floats, limit: int) -> str:
        explained = self.connection.execute(
            "EXPLAIN (COSTS OFF) " + query(name), self._values(vector, limit), prepare=False
        )
        return "\n".join(row[0][:MOST_OF_A_PLAN_LINE] for row in explained.fetchall())

    @contextmanager
    def _without_index(self) -> Iterator[None]:
        """Never with a prepared statement: it would keep the plan it was prepared with."""
        with self.connection.transaction():
            self.connection.execute("SET LOCAL enable_indexscan = off")
            yield

    def _values(self, vector: Floats, limit: int) -> dict[str, object]:
        return {"vector": vector, "model": MODEL, "tenant": self.tenant, "limit": limit}

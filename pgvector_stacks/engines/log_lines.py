"""Cuts a log, which arrives in pieces of any length, into lines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def split_lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield each line as soon as it is whole, without its end, and at last what has none.

    >>> list(split_lines([b"on", b"e\\ntwo\\r\\n", b"", b"thr\\xff"]))
    ['one', 'two', 'thr\\\\xff']
    """
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from map(_decode, whole)
    if rest:
        yield _decode(rest)


def _decode(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="backslashreplace")

"""Runs a command in a running container: the one way to do so, because it loses nothing.

The SDK reads the socket below http.client's buffer: what came in one packet with the answer's headers stays there
(docker-py #425, #1732, #3332). Here frames are read through that buffer.

Invariant: what `run` returns is all that the command wrote, and its own exit code. An answer without its end (see
`end_mark.py`) is an error, whatever broke it: the connection, the engine, or the end of the container.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError
from docker.models.containers import Container

from pgvector_stacks.docker import end_mark
from pgvector_stacks.docker.docker_host import DockerFailed, docker_errors

HEADER = 8
STREAMS = {1: "out", 2: "err"}
# As much as fits where a socket says that it can be written: more might wait for a reader that waits for us.
PIECE = 4096
SWITCHED = 101
ENDING_S = 1.0  # the engine notices a container's end a little after its commands' streams
POLL_S = 0.1


class AnswerCut(DockerFailed):
    """A command in a container whose answer lacks its end. What it did is unknown."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it wrote: `out` and `err` by stream, `both` in the order in which it came."""

    code: int
    out: bytes
    err: bytes
    both: bytes

    @property
    def text(self) -> str:
        return self.both.decode(errors="replace")


class _Stream:
    """What came of one stream until now, and where its end mark begins."""

    def __init__(self, mark: str) -> None:
        self.text = bytearray()
        self.mark, self.longest = end_mark.pattern(mark), end_mark.most_bytes(mark)
        self.end: int | None = None
        self.code: int | None = None

    def take(self, piece: bytes) -> bytes:
        """The part of it that the command wrote, as far as that is known."""
        start = len(self.text)
        self.text += piece
        found = self.mark.search(self.text, max(0, start - self.longest)) if self.end is None else None
        if found is not None:
            self.end, self.code = found.start(), int(found[1])
        return piece

    @property
    def written(self) -> bytes:
        return bytes(self.text if self.end is None else self.text[: self.end])


def run(
    container: Container, command: Sequence[str], *, user: str = "", environment: Mapping[str, str] | None = None,
    workdir: str | None = None, stdin: bytes | None = None,
) -> Ran:  # fmt: skip
    """Run it and wait for its end. Raises DockerFailed, AnswerCut.

    It needs `sh` and `env` in the image. What it leaves in the background may keep the streams open: nobody waits.
    """
    api = container.client.api
    mark = end_mark.new_mark()
    words = end_mark.marked(command, mark, input_size=None if stdin is None else len(stdin))
    with docker_errors():
        created = api.exec_create(
            container.id,
            words,
            stdin=stdin is not None,
            user=user,
            environment=dict(environment or {}),
            workdir=workdir,
        )["Id"]
        response = api._post_json(
            api._url("/exec/{0}/start", created),
            headers={"Connection": "Upgrade", "Upgrade": "tcp"},
            data={"Tty": False, "Detach": False},
            stream=True,
        )
        api._raise_for_status(response)
    streams = {number: _Stream(mark) for number in STREAMS}
    order: list[tuple[int, int]] = []
    broke = ""
    try:
        for number, piece in _frames(response, stdin or b""):
            order.append((number, len(piece)))
            streams[number].take(piece)
            if all(stream.code is not None for stream in streams.values()):
                break
    except (OSError, ValueError, struct.error) as error:
        broke = " ".join(str(error).split())[:200] or type(error).__name__
    finally:
        close(response)
    out, err = streams[1], streams[2]
    if out.code is None or err.code is None:
        raise AnswerCut(_why_cut(container, created, command[0], broke, out.written + err.written))
    return Ran(out.code, out.written, err.written, _in_order(streams, order))


def _in_order(streams: Mapping[int, _Stream], order: Sequence[tuple[int, int]]) -> bytes:
    """Both streams as their frames came, without the marks and what came behind them."""
    written = {number: stream.written for number, stream in streams.items()}
    begun = dict.fromkeys(streams, 0)
    parts = []
    for number, size in order:
        parts.append(written[number][begun[number] : begun[number] + size])
        begun[number] += size
    return b"".join(parts)


def _frames(response: Any, given: bytes) -> Iterator[tuple[int, bytes]]:
    """(stream, piece) until the stream ends at a frame's end. Raises OSError, ValueError where it ends within one."""
    buffered = response.raw._fp.fp
    connection: socket.socket = buffered.raw._sock
    connection.settimeout(None)  # a command may be silent for long
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # an answer that isn't switched to raw bytes may be in chunks, which the response takes apart
    reader = buffered if response.status_code == SWITCHED else response.raw
    left = memoryview(given)
    while True:
        left = _feed(connection, buffered, left)
        header = reader.read(HEADER)
        if not header:
            return
        if len(header) < HEADER:
            raise ValueError("it ended within a header")
        number, size = struct.unpack(">BxxxL", header)
        if number not in STREAMS or header[1:4] != b"\0\0\0":
            raise ValueError("what came are no frames of a command's output")
        piece = reader.read(size)
        if len(piece) < size:
            raise ValueError(f"it ended after {len(piece)} of {size} bytes of a frame")
        yield number, piece


def _feed(connection: socket.socket, buffered: Any, left: memoryview) -> memoryview:
    """Hand over standard input until there is something to read; what is left of it then."""
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLOUT)
    while left and not _waits(connection, buffered):
        if any(event & select.POLLIN for _, event in poll.poll()):
            continue
        try:
            left = left[connection.send(left[:PIECE]) :]
        except (BrokenPipeError, ConnectionResetError):  # it read no further; its answer tells
            return left[len(left) :]
    return left


def _waits(connection: socket.socket, buffered: Any) -> bool:
    """True where a read returns at once."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if poll.poll(0) or (isinstance(connection, ssl.SSLSocket) and connection.pending()):
        return True
    connection.settimeout(0)
    try:
        return bool(buffered.peek(1))  # what the buffer holds; it asks the socket only where that is nothing
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    finally:
        connection.settimeout(None)


def _why_cut(container: Container, identity: str, program: str, broke: str, said: bytes) -> str:
    api = container.client.api
    where = f"{program} in the container {container.name}"
    text = said.decode(errors="replace").strip()
    try:
        with docker_errors():
            deadline = time.monotonic() + ENDING_S
            while (alive := api.inspect_container(container.id)["State"]["Running"]) and not broke:
                if time.monotonic() > deadline:
                    break
                time.sleep(POLL_S)
            state = api.exec_inspect(identity)
    except DockerFailed as error:
        return f"the answer of {where} was cut off: {error}\n  what it did is unknown; try again"
    if not alive:
        return f"{where} was ended with its container"
    if not state["Running"] and "exec failed" in text:  # the runtime's words: the image has no sh
        return f"{where} can't be run: {text[-300:]}"
    more = f" ({broke})" if broke else ""
    return f"the answer of {where} was cut off{more}\n  what it did is unknown; try again"


def close(response: Any) -> None:
    """A hijacked connection, which the SDK leaves open with its response, and must not use for anything else."""
    raw = response.raw
    connection = getattr(raw, "_connection", None)
    buffered = getattr(getattr(raw, "_fp", None), "fp", None)
    for each in (buffered, response, connection):
        if each is not None:
            with suppress(OSError, ValueError, APIError):
                each.close()

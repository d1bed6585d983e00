"""Runs a command in a running container without losing output. All such commands run through this module.

The Docker SDK reads the socket directly and skips http.client's buffer, so it loses output that arrives in one packet
with the response's headers (docker-py #425, #1732, #3332). This module reads the frames through that buffer.

Invariant: `run` returns everything that the command wrote, and the command's own exit code. A response without its end
mark (see `end_mark.py`) is an error, whether the connection, the Docker Engine or the container broke it.
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

HEADER_BYTES = 8
STREAMS = {1: "out", 2: "err"}
# A writable socket has room for this much. A larger write could block while the other side waits for us to read.
PIECE_BYTES = 4096
SWITCHING_PROTOCOLS = 101
CONTAINER_END_S = 1.0  # the Docker Engine reports a container's end shortly after its commands' streams end
POLL_S = 0.1


class OutputTruncated(DockerFailed):
    """The output of a command in a container lacks its end. What the command did is unknown."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The exit code and output of a command. `output`: stdout and stderr in the order in which they arrived."""

    code: int
    stdout: bytes
    stderr: bytes
    output: bytes

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")


class _Stream:
    """The part of one stream that has arrived, and where its end mark begins."""

    def __init__(self, mark: str) -> None:
        self.text = bytearray()
        self.mark, self.most_mark_bytes = end_mark.make_pattern(mark), end_mark.compute_max_length(mark)
        self.end: int | None = None
        self.code: int | None = None

    def append(self, piece: bytes) -> bytes:
        """Append `piece`, look for the end mark, and return `piece`."""
        start = len(self.text)
        self.text += piece
        found = self.mark.search(self.text, max(0, start - self.most_mark_bytes)) if self.end is None else None
        if found is not None:
            self.end, self.code = found.start(), int(found[1])
        return piece

    @property
    def written(self) -> bytes:
        return bytes(self.text if self.end is None else self.text[: self.end])


def run(
    container: Container, command: Sequence[str], *, user: str = "", environment: Mapping[str, str] | None = None,
    workdir: str | None = None, stdin: bytes | None = None,
) -> CommandResult:  # fmt: skip
    """Run the command and wait for its end. Raises DockerFailed, OutputTruncated.

    The image must have `sh` and `env`. Background processes of the command may keep the streams open; `run` returns
    without them.
    """
    api = container.client.api
    mark = end_mark.new_mark()
    words = end_mark.add_mark(command, mark, input_size=None if stdin is None else len(stdin))
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
        for number, piece in _read_frames(response, stdin or b""):
            order.append((number, len(piece)))
            streams[number].append(piece)
            if all(stream.code is not None for stream in streams.values()):
                break
    except (OSError, ValueError, struct.error) as error:
        broke = " ".join(str(error).split())[:200] or type(error).__name__
    finally:
        close_connection(response)
    out, err = streams[1], streams[2]
    if out.code is None or err.code is None:
        raise OutputTruncated(_explain_truncation(container, created, command[0], broke, out.written + err.written))
    return CommandResult(out.code, out.written, err.written, _merge_streams(streams, order))


def _merge_streams(streams: Mapping[int, _Stream], order: Sequence[tuple[int, int]]) -> bytes:
    """Return both streams in the order of their frames, without the end marks and anything after them."""
    written = {number: stream.written for number, stream in streams.items()}
    begun = dict.fromkeys(streams, 0)
    parts = []
    for number, size in order:
        parts.append(written[number][begun[number] : begun[number] + size])
        begun[number] += size
    return b"".join(parts)


def _read_frames(response: Any, given: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (stream, piece) until the connection ends. Raises OSError, ValueError if it ends within a frame."""
    buffered = response.raw._fp.fp
    connection: socket.socket = buffered.raw._sock
    connection.settimeout(None)  # a command may be silent for long
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # without the switch to raw bytes the response may be chunked, and `response.raw` decodes the chunks
    reader = buffered if response.status_code == SWITCHING_PROTOCOLS else response.raw
    left = memoryview(given)
    while True:
        left = _send_input(connection, buffered, left)
        header = reader.read(HEADER_BYTES)
        if not header:
            return
        if len(header) < HEADER_BYTES:
            raise ValueError("it ended within a header")
        number, size = struct.unpack(">BxxxL", header)
        if number not in STREAMS or header[1:4] != b"\0\0\0":
            raise ValueError("what came are no frames of a command's output")
        piece = reader.read(size)
        if len(piece) < size:
            raise ValueError(f"it ended after {len(piece)} of {size} bytes of a frame")
        yield number, piece


def _send_input(connection: socket.socket, buffered: Any, left: memoryview) -> memoryview:
    """Send standard input until there is output to read. Return the input that is left."""
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLOUT)
    while left and not _has_output(connection, buffered):
        if any(event & select.POLLIN for _, event in poll.poll()):
            continue
        try:
            left = left[connection.send(left[:PIECE_BYTES]) :]
        except (BrokenPipeError, ConnectionResetError):  # the command reads no more input; its output says why
            return left[len(left) :]
    return left


def _has_output(connection: socket.socket, buffered: Any) -> bool:
    """True if a read would return at once."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if poll.poll(0) or (isinstance(connection, ssl.SSLSocket) and connection.pending()):
        return True
    connection.settimeout(0)
    try:
        return bool(buffered.peek(1))  # the buffered bytes; only an empty buffer reads from the socket
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    finally:
        connection.settimeout(None)


def _explain_truncation(container: Container, identity: str, program: str, broke: str, said: bytes) -> str:
    api = container.client.api
    where = f"{program} in the container {container.name}"
    text = said.decode(errors="replace").strip()
    try:
        with docker_errors():
            deadline = time.monotonic() + CONTAINER_END_S
            while (alive := api.inspect_container(container.id)["State"]["Running"]) and not broke:
                if time.monotonic() > deadline:
                    break
                time.sleep(POLL_S)
            state = api.exec_inspect(identity)
    except DockerFailed as error:
        return f"the answer of {where} was cut off: {error}\n  what it did is unknown; try again"
    if not alive:
        return f"{where} was ended with its container"
    if not state["Running"] and "exec failed" in text:  # the container runtime's message: the image has no sh
        return f"{where} can't be run: {text[-300:]}"
    more = f" ({broke})" if broke else ""
    return f"the answer of {where} was cut off{more}\n  what it did is unknown; try again"


def close_connection(response: Any) -> None:
    """Close a hijacked connection. The SDK leaves it open and must not use it for another request."""
    raw = response.raw
    connection = getattr(raw, "_connection", None)
    buffered = getattr(getattr(raw, "_fp", None), "fp", None)
    for each in (buffered, response, connection):
        if each is not None:
            with suppress(OSError, ValueError, APIError):
                each.close()

"""A socket before the Docker Engine's, which treats the answers of commands in containers as a bad line does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ENGINE = "/var/run/docker.sock"
HEADERS_END = b"\r\n\r\n"


class EngineProxy:
    """`late_s`: an answer is handed on so much later, headers and what came meanwhile in one packet, as a slow link and
    an ssh tunnel do. `cut_after`: an answer ends after so many bytes of its body.
    """

    def __init__(self, path: Path, *, late_s: float = 0.0, cut_after: int | None = None) -> None:
        self.path, self.url = path, f"unix://{path}"
        self.late_s, self.cut_after = late_s, cut_after
        self.answers = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(ENGINE)
            line = _Line(self, near, far)
            threading.Thread(target=line.work, daemon=True).start()


class _Line:
    """One connection of a client."""

    def __init__(self, proxy: EngineProxy, near: socket.socket, far: socket.socket) -> None:
        self.proxy, self.near, self.far = proxy, near, far
        self.command = False  # the next answer is that of a command

    def work(self) -> None:
        with self.near, self.far:
            other = threading.Thread(target=_quietly, args=(self.asked,), daemon=True)
            other.start()
            _quietly(self.answered)
            for each in (self.near, self.far):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            other.join()

    def asked(self) -> None:
        while data := self.near.recv(65536):
            if data.startswith(b"POST ") and b"/exec/" in data and b"/start HTTP" in data:
                self.command = True
            self.far.sendall(data)
        with suppress(OSError):
            self.far.shutdown(socket.SHUT_WR)

    def answered(self) -> None:
        while data := self.far.recv(65536):
            if self.command:
                self.proxy.answers += 1
                return self._of_a_command(data)
            self.near.sendall(data)
        return None

    def _of_a_command(self, data: bytes) -> None:
        ended = False
        if self.proxy.late_s:
            deadline = time.monotonic() + self.proxy.late_s
            while not ended and (left := deadline - time.monotonic()) > 0:
                self.far.settimeout(left)
                with suppress(TimeoutError):
                    more = self.far.recv(65536)
                    ended = not more
                    data += more
            self.far.settimeout(None)
            time.sleep(max(0.0, deadline - time.monotonic()))
        if self.proxy.cut_after is not None:
            while HEADERS_END not in data:
                data += self.far.recv(65536)
            left = data.index(HEADERS_END) + len(HEADERS_END) + self.proxy.cut_after
            while data and left:
                self.near.sendall(data[:left])
                left -= min(left, len(data))
                data = self.far.recv(65536) if left else b""
            return
        self.near.sendall(data)
        while more := self.far.recv(65536):
            self.near.sendall(more)


def _quietly(work: Callable[[], object]) -> None:
    with suppress(OSError):
        work()


@contextmanager
def engine_proxy(folder: Path, *, late_s: float = 0.0, cut_after: int | None = None) -> Iterator[EngineProxy]:
    proxy = EngineProxy(folder / "engine.sock", late_s=late_s, cut_after=cut_after)
    try:
        yield proxy
    finally:
        proxy.close()

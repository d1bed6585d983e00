"""What a fault needs of the Docker host: an engine of the test's own, one whose connections can be cut, a small disk.

Everything is found again by its own folder and removed at the end, also after a failure. Nothing here touches the
machine's own engine: the private one has its own data, sockets and bridge, and leaves iptables alone (a second engine
would empty the first one's chains). It has no `--default-address-pool`: with one, Docker 20.10 removes `docker0`, which
is the first engine's, whenever it starts on data that is there.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import psutil
import requests
from docker.errors import DockerException

from pgvector_stacks.common.errors import PgstackError
from tests.lacking import lacking, loop_disk, needs_root

START_TIMEOUT_S = 60.0
GONE_TIMEOUT_S = 30.0


class PrivateEngine:
    """A `dockerd` of its own, which may be killed. Needs root, `dockerd` and `ip`."""

    def __init__(self) -> None:
        for program in ("dockerd", "ip"):
            if shutil.which(program) is None:
                lacking(f"no {program} on this machine")
        needs_root("a Docker Engine of the test's own")
        self.folder = Path(tempfile.mkdtemp(prefix="pgstack-test-dockerd-"))  # short: a socket's path is
        self.url = f"unix://{self.folder}/sock"
        self.bridge = f"pgst{os.getpid()}"[:15]
        self.number = os.getpid() % 250 + 1
        self.process: subprocess.Popen[bytes] | None = None
        self.others = _bridges()
        _run("ip", "link", "add", "name", self.bridge, "type", "bridge")
        _run("ip", "address", "add", f"10.213.{self.number}.1/24", "dev", self.bridge)
        _run("ip", "link", "set", self.bridge, "up")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["dockerd", "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec",
                 "--pidfile", f"{self.folder}/pid", "-H", self.url, "--bridge", self.bridge, "--iptables=false"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            # not by a client: the SDK leaves a socket open that it could not connect
            with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(f"{self.folder}/sock")
                break
            said = (self.folder / "log").read_text()[-2000:]
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        with self.client() as client:
            client.ping()
        if "docker0" in self.others:
            assert "docker0" in _bridges(), "a private engine removed the bridge of the machine's own"

    @contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        found = docker.DockerClient(base_url=self.url)
        try:
            yield found
        finally:
            found.close()

    def take(self, image: str) -> None:
        """Copy an image over from the machine's own engine."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            _run("docker", "-H", self.url, "load", "--quiet", stdin=saved.stdout)

    def processes(self) -> list[psutil.Process]:
        """All that this engine started: itself, its containerd, the shims and what runs in the containers."""
        found = {}
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.folder) in word for word in process.info["cmdline"] or []):
                with suppress(psutil.Error):
                    for each in (process, *process.children(recursive=True)):
                        found[each.pid] = each
        return list(found.values())

    def crash(self) -> None:
        """As a host whose power fails: every process at once, none of them asked."""
        found = self.processes()
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        if self.process is not None:
            self.process.wait()
        _, left = psutil.wait_procs(found, timeout=GONE_TIMEOUT_S)
        assert not [each for each in left if each.is_running() and each.status() != psutil.STATUS_ZOMBIE], left
        (self.folder / "pid").unlink(missing_ok=True)  # /run is empty after a boot

    def stop(self) -> None:
        """As a host that shuts down."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=GONE_TIMEOUT_S)

    def remove(self) -> None:
        bridges = [self.bridge]
        with suppress(DockerException, requests.RequestException, FileNotFoundError), self.client() as client:
            bridges += [f"br-{network.id[:12]}" for network in client.networks.list()]
        self.stop()
        self.crash()
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in sorted((each for each in mounted if each.startswith(str(self.folder))), reverse=True):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)
        for bridge in bridges:
            subprocess.run(["ip", "link", "delete", bridge], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def private_engine() -> Iterator[PrivateEngine]:
    engine = PrivateEngine()
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()


class Cable:
    """A socket that leads to the machine's engine until it is cut."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "docker.sock"
        self.url = f"unix://{self.path}"
        self._ends: list[socket.socket] = []
        self._listener: socket.socket | None = None

    def plug_in(self) -> None:
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Nothing listens any more, and every connection ends."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)
        while self._ends:
            with self._ends.pop() as end, suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect("/var/run/docker.sock")
            self._ends += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@contextmanager
def cable() -> Iterator[Cable]:
    folder = Path(tempfile.mkdtemp(prefix="pgstack-test-cable-"))
    found = Cable(folder)
    try:
        found.plug_in()
        yield found
    finally:
        found.cut()
        shutil.rmtree(folder, ignore_errors=True)


class SmallDisk:
    """An ext4 of its own in a sparse file; `data` is an empty folder on it."""

    def __init__(self, place: Path) -> None:
        self.place, self.data = place, place / "data"

    def fill(self) -> None:
        """To the last block."""
        with suppress(OSError), (self.place / "filling").open("wb") as filling:
            step = 64 << 20
            while step >= 4096:
                try:
                    os.posix_fallocate(filling.fileno(), filling.seek(0, os.SEEK_END), step)
                except OSError:
                    step //= 2
        with suppress(OSError), (self.place / "rest").open("wb", buffering=0) as rest:
            while True:
                rest.write(bytes(4096))

    def free(self) -> None:
        for name in ("filling", "rest"):
            (self.place / name).unlink(missing_ok=True)


@contextmanager
def small_disk(size_mb: int) -> Iterator[SmallDisk]:
    with loop_disk(size_mb, "mkfs.ext4", "-m", "0") as place:
        disk = SmallDisk(place)
        disk.data.mkdir()
        yield disk


def as_nobody(act: Callable[[], object]) -> str:
    """What PgstackError it raises for a user without rights: root may open everything."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork among threads: the child only does this
        child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            act()
        except PgstackError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def _bridges() -> set[str]:
    return {name for _, name in socket.if_nameindex() if name.startswith(("docker", "br-"))}


def _run(*command: str, stdin: object = subprocess.DEVNULL) -> str:
    done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=False)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)

"""An engine behind tcp with TLS is reached with the certificates of the environment or of a context, or says why not.

And the whole product works where the line to the engine is slow as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import docker
import pytest

from pgvector_stacks.docker import container_command
from pgvector_stacks.docker.docker_context import DockerFailed, find_tls_files
from pgvector_stacks.docker.docker_host import choose_endpoint, connect, open_throw_away
from tests.docker.conftest import NO_STRAY, PG17, PG18, DockerStack, Make
from tests.docker.engine_proxy import engine_proxy
from tests.docker.tls_proxy import Authority, TlsProxy, tls_proxy

pytestmark = [pytest.mark.docker]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def secured(
    tmp_path: Path, authority: Authority, docker_engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TlsProxy]:
    """The engine behind TLS; certificates for it in tmp_path/mine."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "of others.pem"))
    authority.issue(tmp_path / "mine")
    with tls_proxy(authority.issue(tmp_path / "engine")) as proxy:
        yield proxy


def write_context(
    config: Path, name: str, host: str, material: Path | None = None, *, unverified: bool = False
) -> None:
    """As `docker context create` does."""
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts" / "meta" / identity
    meta.mkdir(parents=True)
    content = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": unverified}}}
    (meta / "meta.json").write_text(json.dumps(content))
    if material is not None:
        shutil.copytree(material, config / "contexts" / "tls" / identity / "docker")


def test_commands_lose_nothing_over_tls_and_a_slow_line(
    tmp_path: Path, authority: Authority, image: Callable[[str], str], monkeypatch: pytest.MonkeyPatch,
    docker_engine: docker.DockerClient,
) -> None:  # fmt: skip
    name = image(PG17)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(authority.issue(tmp_path / "mine")))
    given = bytes(range(256)) * 2000
    with (
        engine_proxy(tmp_path, late_s=0.25) as slow,
        tls_proxy(authority.issue(tmp_path / "engine"), to=str(slow.path)) as proxy,
    ):
        client = connect(proxy.url)
        try:
            with open_throw_away(
                client, f"pgstack-test-{os.getpid()}-tls", name, ["sleep", "infinity"], has_end_mark=False,
                network_mode="none", tmpfs=NO_STRAY, init=True,
            ) as made:  # fmt: skip
                made.start()
                done = container_command.run(made, ["sh", "-c", "seq 1 20000; echo err >&2; exit 3"])
                assert done.stdout == "".join(f"{number}\n" for number in range(1, 20001)).encode()
                assert (done.stderr, done.code) == (b"err\n", 3)
                assert container_command.run(made, ["cat"], stdin=given).stdout == given
        finally:
            client.close()


def test_a_context_is_found_without_a_configuration_file(secured: TlsProxy, tmp_path: Path) -> None:
    config = tmp_path / "config"
    environ = {"DOCKER_CONFIG": str(config)}
    if shutil.which("docker"):
        given = {name: f"{tmp_path}/mine/{name}.pem" for name in ("ca", "cert", "key")}
        subprocess.run(
            ["docker", "context", "create", "far away", "--docker",
             "host=" + ",".join([secured.url, *(f"{name}={path}" for name, path in given.items())])],
            env=os.environ | environ, capture_output=True, check=False,
        )  # fmt: skip
    if not (config / "contexts").exists():
        write_context(config, "far away", secured.url, tmp_path / "mine")
    (config / "config.json").unlink(missing_ok=True)
    assert choose_endpoint(None, "far away", environ).url == secured.url
    assert choose_endpoint(None, None, environ | {"DOCKER_CONTEXT": "far away"}).url == secured.url
    assert choose_endpoint(None, None, environ).chosen_by == "the default"
    with pytest.raises(DockerFailed, match=r"there is no Docker context 'near' in .*config"):
        choose_endpoint(None, "near", environ)
    connect(secured.url).close()  # by the context's certificates
    (config / "config.json").write_text('{"currentContext": "far away"}')
    assert choose_endpoint(None, None, environ).chosen_by == "the current context far away"
    other = Authority("other").issue(tmp_path / "others")
    write_context(config, "another", secured.url, other)
    assert str(find_tls_files(secured.url, environ)).count("far away") == 1  # the current one
    (config / "config.json").unlink()
    with pytest.raises(DockerFailed, match=r"another, far away name tcp://\S+ with different certificates"):
        find_tls_files(secured.url, environ)
    (config / "config.json").write_text("{")
    with pytest.raises(DockerFailed, match=r"config\.json can't be read"):
        choose_endpoint(None, None, environ)


def _no_key(folder: Path) -> None:
    (folder / "key.pem").unlink()


def _no_ca(folder: Path) -> None:
    (folder / "ca.pem").unlink()


def _another_ca(folder: Path) -> None:
    shutil.copy(Authority("other").issue(folder.parent / "o") / "ca.pem", folder / "ca.pem")


def _another_key(folder: Path) -> None:
    shutil.copy(Authority("other").issue(folder.parent / "o") / "key.pem", folder / "key.pem")


def _anothers(folder: Path) -> None:
    for name in ("key.pem", "cert.pem"):
        shutil.copy(Authority("other").issue(folder.parent / "o") / name, folder / name)
    Authority("other").issue(folder.parent / "p")
    for name in ("key.pem", "cert.pem"):
        shutil.copy(folder.parent / "p" / name, folder / name)


def _no_certificate(folder: Path) -> None:
    (folder / "key.pem").unlink()
    (folder / "cert.pem").unlink()


def _nonsense(folder: Path) -> None:
    (folder / "cert.pem").write_text("nonsense")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_key, "has no key.pem (DOCKER_CERT_PATH)"), (_no_ca, "has no ca.pem (DOCKER_CERT_PATH)"),
        (_another_ca, "its certificate isn't signed by the CA in"), (_another_key, "is not the key of"),
        (_anothers, "it refuses our client certificate"), (_no_certificate, "it requires a client certificate"),
        (_nonsense, "is not a certificate or key in PEM"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_certificates_is_told(
    secured: TlsProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], words: str
) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "mine"))
    connect(secured.url).close()
    spoil(tmp_path / "mine")
    with pytest.raises(DockerFailed) as caught:
        connect(secured.url)
    assert words in str(caught.value)
    assert str(tmp_path / "mine") in str(caught.value)


def test_another_name_a_port_without_tls_and_tls_unasked_are_told(
    secured: TlsProxy, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DockerFailed, match=r"is refused: over TCP without TLS"):
        connect(secured.url)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "mine"))
    with (
        tls_proxy(authority.issue(tmp_path / "named", "docker.example")) as proxy,
        pytest.raises(DockerFailed, match=r"its certificate is for another name than 127\.0\.0\.1"),
    ):
        connect(proxy.url)
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain.listen()
        url = f"tcp://127.0.0.1:{plain.getsockname()[1]}"

        def answer() -> None:
            near, _ = plain.accept()
            with near:
                near.recv(1000)
                near.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(DockerFailed, match="it speaks no TLS on this port"):
            connect(url)
        thread.join()


@pytest.mark.engine
def test_a_stack_over_tls_and_a_slow_line_comes_up_and_is_backed_up(
    make: Make, authority: Authority, tmp_path: Path, image: Callable[[str], str]
) -> None:
    """Each command's answer comes 0.25 s late, in one packet: nothing of it may be lost."""
    with ExitStack() as stays:
        slow = stays.enter_context(engine_proxy(tmp_path, late_s=0.25))
        proxy = stays.enter_context(tls_proxy(authority.issue(tmp_path / "engine"), to=str(slow.path)))
        mine = authority.issue(tmp_path / "mine")
        variables = {"DOCKER_HOST": proxy.url, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(mine)}
        stack: DockerStack = make("dev")
        stack.ok("up", "dev", **variables)
        assert "BEGIN" not in stack.state()  # no key is in the state
        stack.ok("preview", "dev", "--expect-no-changes", **variables)
        stack.fill(500)
        stack.ok("backup", "create", "dev", **variables)
        stack.ok("backup", "drill", "dev", **variables)
        assert "upgrades PostgreSQL 17" in stack.ok("upgrade", "check", "dev", image(PG18), **variables)
        url = stack.outputs()["appUrlInternal"]  # as the line that `up` prints reads it
        assert container_command.run(stack.container, ["psql", url, "-XAtc", "SELECT 1"]).stdout == b"1\n"
        assert slow.answers > 10

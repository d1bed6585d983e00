"""The way to a database behind ssh: no other user of this machine can take it, or go it."""

from __future__ import annotations

import os
import secrets
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import psutil
import pytest

from components.certificate import generate_self_signed
from pgvector_stacks.common.errors import ConnectionFailed
from pgvector_stacks.connections import loopback, socket_relay, ssh_tunnel
from pgvector_stacks.connections.connection import Address, connect
from tests.docker.conftest import PG18
from tests.lacking import needed_image, needs_root
from tests.security.test_strangers import CLEARTEXT, PASSWORD, context, stranger
from tests.sshd import Host, sshd

NOBODY = 65534
SERVE = """
umask 077; D=/tmp/data; echo "$WORD" >/tmp/word
/usr/lib/postgresql/18/bin/initdb -D $D -U postgres --auth=scram-sha-256 --pwfile=/tmp/word >/dev/null
echo "$CERTIFICATE" >$D/server.crt; echo "$KEY" >$D/server.key; echo "hostssl all all all scram-sha-256" >$D/pg_hba.conf
exec /usr/lib/postgresql/18/bin/postgres -D $D -c ssl=on -c listen_addresses='*' -k /tmp -c fsync=off
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with sshd(tmp_path_factory.mktemp("host")) as found:
        yield found


@pytest.fixture
def there(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The ssh URL, with a PATH whose `ssh` knows it; the tunnels end with the test."""
    monkeypatch.setenv("PATH", f"{host.path}{os.pathsep}{os.environ['PATH']}")
    yield host.url
    for process, _ in ssh_tunnel._OPEN.values():
        process.kill()
        process.wait(5)
    ssh_tunnel._OPEN.clear()


@pytest.fixture(scope="module")
def tls_server() -> Iterator[tuple[Address, str]]:
    """A server that demands TLS of whoever comes by TCP, as the Docker engine's does; and its certificate."""
    image = needed_image(PG18)
    certificate, key = generate_self_signed(["db.example"])
    client = docker.from_env()
    container = client.containers.run(
        image, ["-ec", SERVE], entrypoint="sh", user="postgres", detach=True, ports={"5432/tcp": ("127.0.0.1", None)},
        environment={"CERTIFICATE": certificate, "KEY": key, "WORD": PASSWORD},
    )  # fmt: skip
    try:
        container.reload()
        port = int(container.ports["5432/tcp"][0]["HostPort"])
        found = Address("127.0.0.1", port, "postgres", "postgres", PASSWORD, sslmode="require", certificate=certificate)
        connect(found, wait_s=30).close()
        yield found, certificate
    finally:
        container.remove(force=True, v=True)
        client.close()


@pytest.mark.docker
def test_a_database_behind_ssh_is_reached_by_no_port_of_ssh(there: str, tls_server: tuple[Address, str]) -> None:
    address, certificate = tls_server
    mine = replace(address, via=there, certificate=certificate)
    with connect(mine) as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
        connection.cancel_safe(timeout=5)
    words = [line for process, _ in ssh_tunnel._OPEN.values() for line in psutil.Process(process.pid).cmdline()]
    forward = words[words.index("-L") + 1]
    path = Path(forward.split(":")[0])
    assert path.is_socket()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.parent.stat().st_uid == os.getuid()
    assert not [each for each in psutil.Process(next(iter(ssh_tunnel._OPEN.values()))[0].pid).net_connections()
                if each.status == psutil.CONN_LISTEN]  # fmt: skip
    other, _ = generate_self_signed(["db.example"])
    with pytest.raises(ConnectionFailed, match="not the stack's"):
        connect(replace(mine, certificate=other))


def test_a_database_without_tls_behind_ssh_is_reached_by_a_socket_alone(there: str) -> None:
    """No port of ours at all; and who answers over there gets no password either."""
    before = dict(socket_relay._PORTS)
    with stranger(CLEARTEXT) as he:
        with pytest.raises(ConnectionFailed, match="no server of pgstack's"):
            connect(Address("127.0.0.1", he.port, "app", "postgres", PASSWORD, via=there))
        assert he.clients
        assert not he.learnt(PASSWORD)
    assert before == socket_relay._PORTS


def test_a_stranger_over_there_hears_nothing_where_the_stack_has_a_certificate(there: str, tmp_path: Path) -> None:
    own, _ = generate_self_signed(["127.0.0.1"])
    with stranger(CLEARTEXT, tls=context(tmp_path, "127.0.0.1")) as he:
        address = Address("127.0.0.1", he.port, "a", "b", PASSWORD, sslmode="require", via=there, certificate=own)
        with pytest.raises(ConnectionFailed, match="not the stack's"):
            connect(address)
        assert not he.got


def test_a_tunnel_is_ready_only_while_its_ssh_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `ssh` that makes the socket and lives, is killed, and from then on ends at once."""
    fake = tmp_path / "ssh"
    code = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[sys.argv.index('-L')+1].split(':')[0]);"
        "sys.stdin.read()"
    )
    fake.write_text(f"#!{sys.executable}\n{code}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    asked = ("ssh://nobody@127.0.0.1:1", "127.0.0.1", 5432)
    folder = ssh_tunnel.to_port(*asked)
    assert ssh_tunnel.to_port(*asked) == folder
    (process,) = (process for process, found in ssh_tunnel._OPEN.values() if found == folder)
    process.kill()
    process.wait(timeout=60)
    fake.write_text("#!/bin/sh\necho refused >&2\nexit 255\n")
    with pytest.raises(ConnectionFailed, match=r"no ssh tunnel to .*: refused"):
        ssh_tunnel.to_port(*asked)


def test_another_user_gets_nowhere_through_our_port(tmp_path: Path) -> None:
    needs_root("another user")
    path = tmp_path / "s"
    come: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            near, _ = server.accept()
            with near:
                come.append(near.recv(100))
                near.sendall(b"hello")

        threading.Thread(target=serve, daemon=True).start()
        port = socket_relay.to_socket(str(path))
        words = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}; echo me >&3; timeout 5 cat <&3"]
        said = subprocess.run(words, user=NOBODY, capture_output=True, text=True, check=False)
        assert "hello" not in said.stdout
        assert not come
        with socket.create_connection(("127.0.0.1", port)) as ours:
            ours.send(b"ours")
            assert ours.recv(9) == b"hello"
        assert come == [b"ours"]


def test_whose_a_connection_is_is_read_with_both_ends() -> None:
    """A foreign connection of the same port on another loopback address is another one."""
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   0: {}:{:04X} {}:{:04X} 01 00000000:00000000 00:00000000 00000000  {}        0 1 1\n"
    one, two = secrets.randbelow(60000) + 1, 5432
    table = head + row.format("0200007F", one, "0100007F", two, 7) + row.format("0100007F", one, "0100007F", two, 8)
    assert loopback.find_owner(table, ("127.0.0.1", one), ("127.0.0.1", two)) == 8
    assert loopback.find_owner(table, ("127.0.0.1", one + 1), ("127.0.0.1", two)) is None

"""A stranger on the port of a server that is down: it asks for the password in every way there is, and gets none."""

from __future__ import annotations

import hashlib
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from components.certificate import generate_self_signed
from examples.search import store
from pgvector_stacks.common.errors import ConnectionFailed
from pgvector_stacks.connections import server_authentication
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.embedded import embedded_server, trust_lines

PASSWORD = secrets.token_urlsafe(24)
CLEARTEXT, MD5, OK = (
    b"R\x00\x00\x00\x08\x00\x00\x00\x03",
    b"R\x00\x00\x00\x0c\x00\x00\x00\x05salt",
    b"R\x00\x00\x00\x08\x00\x00\x00\x00",
)
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
GSS_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x30"


@dataclass
class Stranger:
    """A server that asks for a password by `question`. `got`: each byte that clients sent, as it was before TLS."""

    question: bytes
    port: int = 0
    tls: ssl.SSLContext | None = None
    got: bytearray = field(default_factory=bytearray)
    clients: int = 0

    def answer(self, client: socket.socket) -> None:
        client.settimeout(5)
        with suppress(OSError), client:
            self.clients += 1
            while (first := client.recv(4096)) in (SSL_REQUEST, GSS_REQUEST):
                if first == SSL_REQUEST and self.tls is not None:
                    client.send(b"S")
                    client = self.tls.wrap_socket(client, server_side=True)
                else:
                    client.send(b"N")
            self.got += first
            client.sendall(self.question)
            while more := client.recv(4096):
                self.got += more
            client.close()

    def learnt(self, *words: str, user: str = "postgres") -> bool:
        """Whether the password, or what MD5 makes of it, arrived."""
        for word in words:
            inner = hashlib.md5((word + user).encode()).hexdigest()
            salted = hashlib.md5(inner.encode() + b"salt").hexdigest()
            if any(each.encode() in self.got for each in (word, inner, salted)):
                return True
        return b"p\x00\x00" in self.got  # the kind of a message with a password


@contextmanager
def stranger(question: bytes, *, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Stranger]:
    found = Stranger(question, port, tls)
    with socket.create_server(("127.0.0.1", port)) as listener:
        found.port = listener.getsockname()[1]

        def serve() -> None:
            with suppress(OSError):
                while True:
                    found.answer(listener.accept()[0])

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield found
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def context(folder: Path, name: str) -> ssl.SSLContext:
    """TLS with a certificate for `name` that the stranger made himself."""
    certificate, key = generate_self_signed([name])
    (folder / "stranger.crt").write_text(certificate)
    (folder / "stranger.key").write_text(key)
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(folder / "stranger.crt", folder / "stranger.key")
    return made


@pytest.mark.promise("A stranger at the server's address gets no password")
@pytest.mark.parametrize("question", [CLEARTEXT, MD5, OK])
@pytest.mark.parametrize("sslmode", ["", "require"])
def test_a_stranger_gets_no_password(tmp_path: Path, question: bytes, sslmode: str) -> None:
    with stranger(question, tls=context(tmp_path, "nobody") if sslmode else None) as he:
        with pytest.raises(ConnectionFailed) as told:
            connect(Address("127.0.0.1", he.port, "app", "postgres", PASSWORD, sslmode=sslmode))
        assert he.clients, "nobody asked him"
        assert not he.learnt(PASSWORD), bytes(he.got)
        assert "no server of pgstack's" in " ".join(str(told.value).split())
        assert PASSWORD not in str(told.value)


@pytest.mark.parametrize("name", ["nobody", "127.0.0.1"])
def test_a_stranger_with_a_certificate_of_his_own_hears_not_even_who_asks(tmp_path: Path, name: str) -> None:
    own, _ = generate_self_signed(["127.0.0.1"])
    with stranger(CLEARTEXT, tls=context(tmp_path, name)) as he:
        address = Address("127.0.0.1", he.port, "app", "postgres", PASSWORD, sslmode="require", certificate=own)
        with pytest.raises(ConnectionFailed, match="not the stack's"):
            connect(address)
        assert he.clients
        assert not he.got
        with pytest.raises(ConnectionFailed):
            connect(replace(address, sslmode="verify-full"))
        assert not he.got


def test_an_upgraded_server_lets_nobody_in_without_a_password(tmp_path: Path) -> None:
    """Earlier releases left initdb's `trust` in pg_hba.conf: the next start, or `up`, closes it."""
    directory = embedded_server.Directory(tmp_path / "18", 18)
    embedded_server.initialise(directory, PASSWORD)
    rules = directory.path / "pg_hba.conf"
    rules.write_text(rules.read_text().replace("scram-sha-256\n", "trust\n"))
    _start(directory)
    try:
        assert directory.path.joinpath("pg_hba.conf").read_text().count("trust\n") == 0
        port = embedded_server.read_last_port(directory)
        assert port is not None
        connect(Address(embedded_server.HOST, port, "postgres", embedded_server.ADMIN, PASSWORD)).close()
        rules.write_text(rules.read_text().replace("scram-sha-256\n", "trust\n"))
        assert trust_lines.has_trust_lines(directory.path)
        _start(directory)  # it runs: it is told
        with pytest.raises(psycopg.OperationalError, match="fe_sendauth: no password supplied"):
            psycopg.connect(host=embedded_server.HOST, port=port, user=embedded_server.ADMIN, dbname="postgres")
    finally:
        embedded_server.stop(directory)


def _start(directory: embedded_server.Directory) -> None:
    embedded_server.start(directory, {"fsync": "off"})


@pytest.mark.parametrize(
    ("line", "closed"),
    [
        ("local all all trust", "local all all scram-sha-256"),
        ("host all all 127.0.0.1/32\ttrust  # all", "host all all 127.0.0.1/32\tscram-sha-256  # all"),
        ("hostssl trust all ::1/128 trust", "hostssl trust all ::1/128 scram-sha-256"),
        ("# local all all trust", "# local all all trust"),
        ("host all all 10.0.0.0/8 reject", "host all all 10.0.0.0/8 reject"),
    ],
)
def test_a_line_that_asks_for_nothing_asks_for_a_password(line: str, closed: str) -> None:
    assert trust_lines.replace_trust(f"{line}\n{line}\n") == f"{closed}\n{closed}\n"


@pytest.mark.parametrize("question", [CLEARTEXT, MD5, OK])
@pytest.mark.parametrize("sslmode", ["", "?sslmode=require"])
def test_the_example_gives_a_stranger_no_password(tmp_path: Path, question: bytes, sslmode: str) -> None:
    with stranger(question, tls=context(tmp_path, "nobody") if sslmode else None) as he:
        with pytest.raises(psycopg.OperationalError):
            store.connect(f"postgresql://app:{PASSWORD}@127.0.0.1:{he.port}/app{sslmode}")
        assert he.clients
        assert not he.learnt(PASSWORD, user="app")


def test_a_certificate_of_an_authority_we_do_not_have_is_no_root_and_its_own_is() -> None:
    """Then channel binding alone stands against strangers; a chain with its root is verified."""
    root, key = _certificate("a company", None, None)
    leaf, _ = _certificate("db.example", root, key)
    pem = [each.public_bytes(Encoding.PEM).decode() for each in (leaf, root)]
    assert server_authentication.extract_roots(pem[0]) == ""
    assert server_authentication.extract_roots("".join(pem)) == pem[1]
    assert server_authentication.extract_roots(pem[1]) == pem[1]
    assert server_authentication.extract_roots("no certificate") == ""
    assert server_authentication.build_parameters("require", pem[0], server_authentication.SCRAM) == {
        "require_auth": "scram-sha-256", "sslmode": "require", "channel_binding": "require",
    }  # fmt: skip


def _certificate(
    name: str, issuer: x509.Certificate | None, issuer_key: ec.EllipticCurvePrivateKey | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(issuer_key or key, hashes.SHA256())
    )
    return made, key

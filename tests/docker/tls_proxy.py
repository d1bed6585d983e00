"""TLS before a socket of the Docker Engine, which asks for a certificate as `dockerd --tlsverify` does."""

from __future__ import annotations

import datetime
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)


class Authority:
    """A CA of a test's own."""

    def __init__(self, name: str = "test") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} CA")])
        self.certificate = self._builder(self.name, self.key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        ).sign(self.key, hashes.SHA256())  # fmt: skip

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name).issuer_name(self.name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(BEGIN).not_valid_after(END)
        )  # fmt: skip

    def issue(self, folder: Path, host: str = "127.0.0.1") -> Path:
        """ca.pem, cert.pem and key.pem for a host and for a client."""
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(host))]
        except ValueError:
            names = [x509.DNSName(host)]
        made = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        ).sign(self.key, hashes.SHA256())  # fmt: skip
        (folder / "ca.pem").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return folder


class TlsProxy:
    """`url`: where it listens; each connection leads to the Unix socket `to`."""

    def __init__(self, certificates: Path, to: str) -> None:
        self.to = to
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
        self.context.load_verify_locations(certificates / "ca.pem")
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2  # a refused client learns it in the handshake
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with plain, socket.socket(socket.AF_UNIX) as far:
            try:
                secured = self.context.wrap_socket(plain, server_side=True)
            except OSError:
                return
            with secured:
                far.connect(self.to)
                _carry(secured, far)


def _carry(near: ssl.SSLSocket, far: socket.socket) -> None:
    """One thread, as an SSLSocket is not for two."""
    poll = select.poll()
    poll.register(near, select.POLLIN)
    poll.register(far, select.POLLIN)
    with suppress(OSError):
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if near.fileno() in ready:
                data = near.recv(65536)
                while near.pending():
                    data += near.recv(65536)
                if not data:
                    return
                far.sendall(data)
            if far.fileno() in ready:
                data = far.recv(65536)
                if not data:
                    return
                near.sendall(data)


@contextmanager
def tls_proxy(certificates: Path, to: str = "/var/run/docker.sock") -> Iterator[TlsProxy]:
    proxy = TlsProxy(certificates, to)
    try:
        yield proxy
    finally:
        proxy.close()

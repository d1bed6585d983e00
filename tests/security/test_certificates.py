"""The certificate that a stack makes: what libpq accepts with it as the root, how long, and when the next one comes."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from components import certificate
from components.certificate import GeneratedCertificateProvider, generate_self_signed
from pgvector_stacks.cli import deploy
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config.environment import from_config
from pgvector_stacks.connections import certificate_expiry

NAMES = ["pgvector-staging", "localhost", "127.0.0.1"]
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def of_the_old_kind(days: int = 3650) -> str:
    """As versions before made it: an authority, without a use, for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAMES[0])])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW - timedelta(days=400))
    builder = builder.not_valid_after(NOW + timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@contextmanager
def server(folder: Path, pem: tuple[str, str]) -> Iterator[tuple[int, list[bytes]]]:
    """PostgreSQL's TLS handshake, and nothing behind it. Yields the port and what clients sent after it."""
    (folder / "server.pem").write_text("".join(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    heard: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(8)  # SSLRequest
                connection.sendall(b"S")
                try:
                    with context.wrap_socket(connection, server_side=True) as secured:
                        if startup := secured.recv(4096):
                            heard.append(startup)
                except OSError:  # the client refuses the certificate
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], heard
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def trouble(port: int, root: Path, mode: str, host: str = "localhost") -> str:
    with pytest.raises(psycopg.OperationalError) as error:
        psycopg.connect(
            host=host, hostaddr="127.0.0.1", port=port, user="app", dbname="app", sslmode=mode, sslrootcert=str(root),
            sslcert="/nonexistent", connect_timeout=5,
        )  # fmt: skip
    return str(error.value)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_libpq_takes_the_certificate_itself_as_the_root_and_no_other(tmp_path: Path, mode: str) -> None:
    mine, anothers = generate_self_signed(NAMES), generate_self_signed(NAMES)
    root = tmp_path / "root.crt"
    with server(tmp_path, mine) as (port, heard):
        root.write_text(mine[0])
        assert "certificate" not in trouble(port, root, mode)
        assert len(heard) == 1
        assert b"user\0app\0" in heard[0]
        if mode == "verify-full":
            assert "does not match host name" in trouble(port, root, mode, host="elsewhere")
        root.write_text(anothers[0])
        assert "certificate verify failed" in trouble(port, root, mode)
        assert len(heard) == 1  # a stranger hears nothing


@pytest.mark.promise("The certificate a stack makes signs no other certificate")
def test_it_is_for_a_server_and_signs_no_other_certificate() -> None:
    made = x509.load_pem_x509_certificate(generate_self_signed(NAMES)[0].encode())
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert made.not_valid_after_utc - certificate_expiry.utc_now() < timedelta(days=731)


def test_what_a_thief_of_the_key_signs_for_another_name_is_refused(tmp_path: Path) -> None:
    """With an authority's certificate he could make one for any host that its clients trust."""
    pem, key_pem = generate_self_signed(NAMES)
    root, key = x509.load_pem_x509_certificate(pem.encode()), serialization.load_pem_private_key(key_pem.encode(), None)
    his = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bank.example")])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(root.subject).public_key(his.public_key())
    builder = builder.serial_number(2).not_valid_before(root.not_valid_before_utc)
    builder = builder.not_valid_after(root.not_valid_after_utc)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("bank.example")]), critical=False)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    forged = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    private = his.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    (tmp_path / "root.crt").write_text(pem)
    with server(tmp_path, (forged, private)) as (port, heard):
        assert "certificate" in trouble(port, tmp_path / "root.crt", "verify-full", host="bank.example")
        assert heard == []


@pytest.mark.parametrize(
    ("days", "asked", "why"),
    [
        (3650, False, ""), (3650, True, "asked for; the present one ends on 2036-11-24"), (31, False, ""),
        (29, False, "the present one ends on 2026-12-26"), (-1, False, "the present one ends on 2026-11-26"),
    ],
)  # fmt: skip
def test_the_next_one_is_made_within_a_month_of_the_end_or_when_asked_for(days: int, asked: bool, why: str) -> None:
    assert certificate_expiry.explain_renewal(of_the_old_kind(days), NOW, asked=asked) == why


def test_doctor_tells_a_month_before() -> None:
    def said(days: int, made: bool = True) -> tuple[str, str]:
        return certificate_expiry.describe_expiry(of_the_old_kind(days), NOW, "staging", made=made)

    assert said(700) == ("good until 2028-10-27", "")
    assert said(29) == ("ends on 2026-12-26, in 29 days", "pgstack up staging")
    assert said(29, made=False)[1].startswith("set pgvector:tlsCertificate and tlsKey")
    assert said(-1)[0] == "ended on 2026-11-26: clients that verify it are refused"
    assert said(3650)[0].endswith("pgstack up staging --rotate-certificate")
    assert certificate_expiry.describe_expiry("no PEM", NOW, "staging", made=False)[1]


def test_a_refresh_shows_what_up_will_do_and_the_update_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = GeneratedCertificateProvider()
    monkeypatch.delenv(certificate.ASKED, raising=False)
    made: dict[str, Any] = provider.create({"names": NAMES}).outs or {}

    def refreshed() -> tuple[dict[str, Any], dict[str, Any]]:
        read = provider.read("certificate", made)
        return read.outs or {}, read.inputs or {}

    assert refreshed() == (made, {"names": NAMES})  # unchanged
    monkeypatch.setenv(certificate.ASKED, "1")
    outs, inputs = refreshed()
    assert inputs["renew"].startswith("asked for")
    updated = provider.update("certificate", outs, {"names": NAMES}).outs or {}
    assert "renew" not in updated
    assert updated["certificate"] != made["certificate"]
    monkeypatch.delenv(certificate.ASKED)
    assert provider.update("certificate", made, {"names": NAMES}).outs == made


def test_a_rotation_that_would_change_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(deploy.ROTATE, "")
    assert deploy.ROTATE == certificate.ASKED
    with pytest.raises(PgstackError, match="dev has no TLS certificate: pgvector:tls is off"):
        deploy.rotate_certificate(from_config("dev", {"engine": "docker"}))
    deploy.rotate_certificate(from_config("staging", {"engine": "docker"}))

"""A TLS certificate for a server that was given none: made once, its key kept in the state, encrypted.

It is its own authority: a client that wants `sslmode=verify-full` takes the output `certificate` as its root.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

import pulumi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pulumi.dynamic import CreateResult, DiffResult, ResourceProvider, UpdateResult

from components.provider import DynamicResource

VALID = timedelta(days=3650)


def self_signed(names: list[str]) -> tuple[str, str]:
    """(certificate, key), PEM, for these host names and addresses; ECDSA on P-256, valid for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class GeneratedCertificateProvider(ResourceProvider):
    """Input: names. A changed list makes a new certificate."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult()

    def create(self, props: dict[str, Any]) -> CreateResult:
        certificate, key = self_signed(list(props["names"]))
        return CreateResult("certificate", props | {"certificate": certificate, "key": key})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        if list(_olds["names"]) == list(_news["names"]):
            return UpdateResult(_news | {"certificate": _olds["certificate"], "key": _olds["key"]})
        certificate, key = self_signed(list(_news["names"]))
        return UpdateResult(_news | {"certificate": certificate, "key": key})


class GeneratedCertificate(DynamicResource, module="pgvector", name="GeneratedCertificate"):
    """`certificate` and `key`: str, PEM; the key is always a secret."""

    certificate: pulumi.Output[str]
    key: pulumi.Output[str]

    def __init__(self, name: str, names: list[str], opts: pulumi.ResourceOptions | None = None) -> None:
        options = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(additional_secret_outputs=["key"]), opts)
        super().__init__(
            GeneratedCertificateProvider(), name, {"names": names, "certificate": None, "key": None}, options
        )
